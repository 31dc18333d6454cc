//! The classic attacks on tokens, each refused for its own reason.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value as Json, json};
use tenantry_core::{Action, Code, GrantedTenant, Role, RowPolicy};
use tenantry_kv::conformance::reference::{ManualClock, manual_env_with_clock};
use tenantry_kv::env::Env;
use tenantry_token::limits::{KEY_SET_SIZE_BYTES_MAX, RSA_BITS_MIN, TOKEN_SIZE_BYTES_MAX};
use tenantry_token::{Algorithm, ClaimedRole, KeySet, SigningKey, TokenClaims, Verifier};
use uuid::Uuid;

const ISSUER: &str = "https://login.example.com";
const AUDIENCE: &str = "tenantry";

/// An issuer with a key of each kind, and whoever takes its tokens.
struct World {
    env: Env,
    clock: Arc<ManualClock>,
    keys: Vec<SigningKey>,
    /// The first key once more, to sign what no issuer would.
    raw: Ed25519KeyPair,
    verifier: Verifier,
}

impl World {
    fn new() -> World {
        let (env, clock) = manual_env_with_clock();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let raw = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(pkcs8.as_ref())
        );
        let keys = vec![
            SigningKey::from_pem(&pem).unwrap(),
            SigningKey::generate(Algorithm::Es256).unwrap(),
            SigningKey::generate(Algorithm::Rs256).unwrap(),
        ];
        let set = KeySet::of(keys.iter().map(|key| key.verifying_key().unwrap()).collect()).unwrap();
        let verifier = Verifier::new(KeySet::from_json(&set.to_json()).unwrap(), ISSUER, AUDIENCE);
        World { env, clock, keys, raw, verifier }
    }

    fn now_s(&self) -> i64 {
        self.env.clock.wall_us() / 1_000_000
    }

    fn claims(&self) -> TokenClaims {
        TokenClaims::new(ISSUER, AUDIENCE, "ann", self.now_s(), 3_600)
            .role(Role::Writer)
            .tenant(GrantedTenant::new("acme", Uuid::from_u128(7), 1))
    }

    fn kid(&self) -> String {
        self.keys[0].verifying_key().unwrap().id().to_owned()
    }

    fn header(&self) -> String {
        json!({ "alg": "EdDSA", "kid": self.kid(), "typ": "at+jwt" }).to_string()
    }

    /// A token of any header and claims, signed by the first key.
    fn signed(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let signature = self.raw.sign(message.as_bytes());
        format!("{message}.{}", BASE64.encode(signature.as_ref()))
    }

    /// A token whose claims were changed before it was signed.
    fn changed(&self, change: impl FnOnce(&mut Json)) -> String {
        let mut claims = self.claims().to_json();
        change(&mut claims);
        self.signed(&self.header(), &claims.to_string())
    }

    #[track_caller]
    fn refused(&self, token: &str, code: Code, word: &str) {
        match self.verifier.verify(token, &self.env) {
            Ok(_) => panic!("it was taken: {word}"),
            Err(error) => {
                assert_eq!(error.code(), code, "{error}");
                assert!(error.detail().contains(word), "{error}, not {word}");
                assert!(error.to_string().len() < 1_000, "an answer of {} bytes", error.to_string().len());
            }
        }
    }

    #[track_caller]
    fn invalid(&self, token: &str, word: &str) {
        self.refused(token, Code::AccessTokenInvalid, word);
    }
}

#[test]
fn tokens_of_every_algorithm_are_taken() {
    let world = World::new();
    for key in &world.keys {
        // Also by way of the key's file.
        for key in [key, &SigningKey::from_pem(&key.to_pem()).unwrap()] {
            let token = key.sign(&world.claims()).unwrap();
            let verified = world.verifier.verify(&token, &world.env).unwrap();
            assert_eq!(verified.claims, world.claims());
            assert_eq!(verified.key_id, key.verifying_key().unwrap().id());
            let grant = verified.grant;
            assert_eq!((grant.subject(), grant.role()), ("ann", "writer"));
            assert_eq!(grant.tenants(), [GrantedTenant::new("acme", Uuid::from_u128(7), 1)]);
            assert!(grant.allows(Action::Insert) && !grant.allows(Action::Export));
            let inspected = Verifier::inspect(&token).unwrap();
            assert_eq!((inspected.algorithm, inspected.claims), (key.algorithm(), world.claims()));
        }
    }
}

/// What a token says of types, policies, actions and claims comes to the grant as it was said.
#[test]
fn all_that_a_token_can_say_arrives() {
    let world = World::new();
    let mut claims = world.claims().tenant(GrantedTenant::new("globex", Uuid::from_u128(8), 5));
    claims.role = ClaimedRole::Actions("collector".to_owned(), [Action::Read, Action::Insert].into());
    claims.types = Some(["order".to_owned()].into());
    claims.policies =
        vec![("order".to_owned(), RowPolicy::new("owner in claims.teams").write("owner == claims.sub"))];
    claims.claims.insert("teams".to_owned(), json!(["red", "blue"]));
    claims.claims.insert("level".to_owned(), json!(3));
    claims.id = Some("token-1".to_owned());
    claims.not_before_s = Some(world.now_s() - 10);
    let token = world.keys[0].sign(&claims).unwrap();
    let verified = world.verifier.verify(&token, &world.env).unwrap();
    assert_eq!(verified.claims, claims);
    let grant = verified.grant;
    assert_eq!(grant.actions(), &[Action::Read, Action::Insert].into());
    assert_eq!(grant.granted_types().unwrap().iter().collect::<Vec<_>>(), ["order"]);
    assert_eq!(grant.policies().get("order"), Some(&claims.policies[0].1));
    assert_eq!(grant.claims().get("level"), Some(&3.into()));
    assert_eq!(grant.claims().get("sub"), Some(&"ann".into()));
    let validity = ((world.now_s() - 15) * 1_000_000, (claims.expires_s + 5) * 1_000_000);
    assert_eq!(grant.validity_us(), (Some(validity.0), Some(validity.1)));
}

#[test]
fn algorithm_none() {
    let world = World::new();
    let claims = world.claims().to_json().to_string();
    for name in
        ["none", "None", "NONE", "nOnE", "", "HS256", "HS512", "RS384", "PS256", "ES384", "eddsa", "EdDSA "]
    {
        let header = json!({ "alg": name, "kid": world.kid() }).to_string();
        world.invalid(&world.signed(&header, &claims), "alg");
        let bare = format!("{}.{}.", BASE64.encode(&header), BASE64.encode(&claims));
        world.invalid(&bare, "a token is signed");
    }
}

#[test]
fn signature_taken_off() {
    let world = World::new();
    let token = world.keys[0].sign(&world.claims()).unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    world.invalid(message, "three parts");
    world.invalid(&format!("{message}."), "a token is signed");
    world.invalid(&format!("{message}.{signature}."), "three parts");
    world.invalid(&format!(".{message}.{signature}"), "three parts");
    world.invalid(&format!("{message}.AA"), "the signature is not that of the key");
    world.invalid("", "three parts");
    world.invalid("..", "a part of the token is empty");
}

/// A public key is no secret of an HMAC, in whatever form it is written.
#[test]
fn a_public_key_taken_for_a_secret() {
    let world = World::new();
    for key in &world.keys {
        let public = key.verifying_key().unwrap();
        let json = public.to_json();
        let secrets = [
            json.to_string(),
            json["x"].as_str().or(json["n"].as_str()).unwrap().to_owned(),
            public.thumbprint(),
        ];
        for secret in secrets {
            for name in ["HS256", "EdDSA", "RS256", "ES256"] {
                let header = json!({ "alg": name, "kid": public.id() }).to_string();
                let message = format!(
                    "{}.{}",
                    BASE64.encode(header),
                    BASE64.encode(world.claims().to_json().to_string())
                );
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
                let token = format!("{message}.{}", BASE64.encode(hmac::sign(&key, message.as_bytes())));
                let error = world.verifier.verify(&token, &world.env).unwrap_err();
                assert_eq!(error.code(), Code::AccessTokenInvalid, "{name}: {error}");
            }
        }
    }
}

/// The header neither chooses the algorithm of a key nor brings a key along.
#[test]
fn a_header_that_wants_to_decide() {
    let world = World::new();
    let claims = world.claims().to_json().to_string();
    for (name, key) in [("ES256", 0), ("RS256", 0), ("EdDSA", 1), ("RS256", 1), ("EdDSA", 2), ("ES256", 2)] {
        let kid = world.keys[key].verifying_key().unwrap().id().to_owned();
        let header = json!({ "alg": name, "kid": kid }).to_string();
        world.invalid(&world.signed(&header, &claims), "its key is for");
    }
    let own = SigningKey::generate(Algorithm::EdDsa).unwrap().verifying_key().unwrap().to_json();
    for (member, value) in [
        ("jwk", own),
        ("jku", json!("https://evil.example.com/keys")),
        ("x5u", json!("https://evil.example.com/chain")),
        ("x5c", json!(["AA=="])),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("cty", json!("JWT")),
    ] {
        let mut header: Json = serde_json::from_str(&world.header()).unwrap();
        header[member] = value;
        world.invalid(&world.signed(&header.to_string(), &claims), member);
    }
    for header in [
        json!({ "alg": "EdDSA" }),
        json!({ "alg": "EdDSA", "kid": 1 }),
        json!({ "alg": "EdDSA", "kid": "" }),
        json!({ "alg": "EdDSA", "kid": "x".repeat(300) }),
        json!({ "alg": "EdDSA", "kid": null }),
    ] {
        world.invalid(&world.signed(&header.to_string(), &claims), "kid");
    }
    for kid in
        ["other", "../../dev/null", "' or 1=1 --", &world.kid().to_lowercase(), &format!("{} ", world.kid())]
    {
        let header = json!({ "alg": "EdDSA", "kid": kid }).to_string();
        world.invalid(&world.signed(&header, &claims), "a key that is not known");
    }
    let header = json!({ "alg": "EdDSA", "kid": world.kid(), "typ": "dpop+jwt" }).to_string();
    world.invalid(&world.signed(&header, &claims), "no access token's");
}

#[test]
fn a_signature_of_another_key_message_or_form() {
    let world = World::new();
    let tokens: Vec<String> = world.keys.iter().map(|key| key.sign(&world.claims()).unwrap()).collect();
    let stranger = SigningKey::generate(Algorithm::EdDsa).unwrap().sign(&world.claims()).unwrap();
    world.invalid(&stranger, "a key that is not known");
    let signature = |token: &str| token.rsplit_once('.').unwrap().1.to_owned();
    let message = |token: &str| token.rsplit_once('.').unwrap().0.to_owned();
    world.invalid(&format!("{}.{}", message(&tokens[0]), signature(&stranger)), "not that of the key");
    // That of the same key under other claims.
    let other = world.keys[1].sign(&world.claims().role(Role::Admin)).unwrap();
    world.invalid(&format!("{}.{}", message(&other), signature(&tokens[1])), "not that of the key");
    for token in &tokens {
        for place in (0..token.len()).step_by(7) {
            let mut changed = token.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            let error = world.verifier.verify(&changed, &world.env).unwrap_err();
            assert_eq!(error.code(), Code::AccessTokenInvalid, "{place}");
        }
        // Zeros, which careless curves take for everything.
        let zeros = BASE64.encode(vec![0; BASE64.decode(signature(token)).unwrap().len()]);
        world.invalid(&format!("{}.{zeros}", message(token)), "not that of the key");
    }
    // An ECDSA signature as certificates have it: the same number in another form.
    let pem = world.keys[1].to_pem();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &STANDARD.decode(body).unwrap()).unwrap();
    let der = pair.sign(&SystemRandom::new(), message(&tokens[1]).as_bytes()).unwrap();
    world.invalid(&format!("{}.{}", message(&tokens[1]), BASE64.encode(der)), "not that of the key");
}

/// One token has one text.
#[test]
fn parts_in_another_writing() {
    let world = World::new();
    let token = world.keys[0].sign(&world.claims()).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let signature = BASE64.decode(parts[2]).unwrap();
    let with = |signature: &str| format!("{}.{}.{signature}", parts[0], parts[1]);
    world.invalid(&with(&URL_SAFE.encode(&signature)), "base64url");
    world.invalid(&with(&format!("{} ", parts[2])), "base64url");
    world.invalid(&with(&format!("{}\n", parts[2])), "base64url");
    world.invalid(&format!(" {token}"), "base64url");
    world.invalid(&format!("Bearer {token}"), "base64url");
    // 64 bytes leave four bits over, which have to be none.
    let last = parts[2].chars().last().unwrap();
    assert!("AQgw".contains(last), "{last}");
    let odd = format!("{}{}", &parts[2][..parts[2].len() - 1], char::from(last as u8 + 1));
    world.invalid(&with(&odd), "base64url");
}

#[test]
fn times_that_have_not_come_or_are_over() {
    let world = World::new();
    let now_s = world.now_s();
    let verify = |token: &str| world.verifier.verify(token, &world.env);
    let at = |member: &str, second: i64| world.changed(|claims| claims[member] = second.into());
    // Five seconds of leeway, and not one more.
    assert!(verify(&at("nbf", now_s + 5)).is_ok());
    world.refused(&at("nbf", now_s + 6), Code::GrantExpired, "not good yet");
    assert!(verify(&at("iat", now_s + 5)).is_ok());
    world.refused(&at("iat", now_s + 6), Code::GrantExpired, "not good yet");
    let token = world.keys[0].sign(&world.claims()).unwrap();
    world.clock.advance(Duration::from_secs(3_604));
    assert!(verify(&token).is_ok());
    world.clock.advance(Duration::from_secs(1));
    world.refused(&token, Code::GrantExpired, "over");
    // What is no time, and what cannot be meant.
    for member in ["iat", "exp", "nbf"] {
        let values = [
            json!("1"),
            json!(null),
            json!(1.5),
            json!(-1),
            json!(1e300),
            json!([]),
            json!(253_402_300_800_i64),
        ];
        for value in values {
            world.invalid(&world.changed(|claims| claims[member] = value), member);
        }
    }
    for member in ["iat", "exp", "iss", "sub", "aud", "role", "tenants"] {
        let without = world.changed(|claims| drop(claims.as_object_mut().unwrap().remove(member)));
        world.invalid(&without, member);
    }
    world.invalid(&at("exp", now_s), "ends before it begins");
    world.invalid(&at("exp", now_s + 400 * 24 * 3_600), "the limit is");
    world.invalid(&at("nbf", world.now_s() + 4_000), "ends before it begins");
}

#[test]
fn another_issuer_or_audience() {
    let world = World::new();
    for (member, value, word) in [
        ("iss", json!("https://login.example.com/"), "another issuer"),
        ("iss", json!("https://evil.example.com"), "another issuer"),
        ("iss", json!(["https://login.example.com"]), "iss"),
        ("iss", json!(""), "iss"),
        ("aud", json!("other"), "another audience"),
        ("aud", json!("Tenantry"), "another audience"),
        ("aud", json!("tenantry2"), "another audience"),
        ("aud", json!(["other", "another"]), "another audience"),
        ("aud", json!([]), "audiences"),
        ("aud", json!([["tenantry"]]), "aud"),
        ("aud", json!({ "tenantry": true }), "aud"),
        ("aud", json!((0..21).map(|n| n.to_string()).collect::<Vec<_>>()), "audiences"),
    ] {
        world.invalid(&world.changed(|claims| claims[member] = value.clone()), word);
    }
    let many = world.changed(|claims| claims["aud"] = json!(["other", "tenantry"]));
    assert!(world.verifier.verify(&many, &world.env).is_ok());
}

#[test]
fn names_twice_and_names_that_are_not_known() {
    let world = World::new();
    let claims = world.claims().to_json().to_string();
    let twice = |extra: &str| format!("{},{extra}}}", claims.strip_suffix('}').unwrap());
    for extra in [
        r#""role":"admin""#,
        r#""sub":"root""#,
        r#""exp":253402300799"#,
        r#""\u0072ole":"admin""#,
        r#""aud":"tenantry""#,
    ] {
        world.invalid(&world.signed(&world.header(), &twice(extra)), "twice");
    }
    let header = world.header();
    let header = format!("{},\"alg\":\"EdDSA\"}}", header.strip_suffix('}').unwrap());
    world.invalid(&world.signed(&header, &claims), "twice");
    for extra in [r#""admin":true"#, r#""scope":"all""#, r#""Role":"admin""#, r#""":1"#] {
        world.invalid(&world.signed(&world.header(), &twice(extra)), "not known");
    }
    for inner in [
        json!([{ "name": "acme", "uuid": Uuid::from_u128(7).to_string(), "epoch": 1, "role": "admin" }]),
        json!({ "all": Uuid::from_u128(7).to_string(), "epoch": 1, "but": [] }),
    ] {
        world.invalid(&world.changed(|claims| claims["tenants"] = inner), "not known");
    }
    let policy = json!({ "film": { "read": "true", "delete": "true" } });
    world.invalid(&world.changed(|claims| claims["policies"] = policy), "not known");
}

#[test]
fn what_no_grant_can_say() {
    let world = World::new();
    let uuid = Uuid::from_u128(0xabc).to_string();
    let tenant =
        |name: Json, uuid: Json, epoch: Json| json!([{ "name": name, "uuid": uuid, "epoch": epoch }]);
    for (member, value, word) in [
        ("role", json!("root"), "root"),
        ("role", json!("Admin"), "Admin"),
        ("role", json!(["admin"]), "role"),
        ("actions", json!(["read", "export"]), "export"),
        ("actions", json!(["read", "read"]), "twice"),
        ("actions", json!(["everything"]), "everything"),
        ("actions", json!("read"), "list"),
        ("actions", json!([1]), "actions"),
        ("tenants", json!("acme"), "tenants"),
        ("tenants", json!("*"), "tenants"),
        ("tenants", json!(["acme"]), "object"),
        ("tenants", tenant(json!("acme"), json!(uuid), json!(-1)), "epoch"),
        ("tenants", tenant(json!("acme"), json!(uuid), json!(4_294_967_296_i64)), "epoch"),
        ("tenants", tenant(json!("acme"), json!(uuid), json!("1")), "epoch"),
        ("tenants", tenant(json!("acme"), json!(uuid), json!(null)), "epoch"),
        ("tenants", tenant(json!("acme"), json!(uuid.to_uppercase()), json!(1)), "UUID"),
        ("tenants", tenant(json!("acme"), json!(uuid.replace('-', "")), json!(1)), "UUID"),
        ("tenants", tenant(json!("acme"), json!(null), json!(1)), "uuid"),
        ("tenants", tenant(json!(""), json!(uuid), json!(1)), "name"),
        ("tenants", json!([{ "name": "acme", "epoch": 1 }]), "uuid"),
        ("tenants", json!([{ "name": "acme", "uuid": uuid }]), "epoch"),
        ("tenants", json!({ "all": true, "epoch": 1 }), "all"),
        ("tenants", json!({ "all": uuid }), "epoch"),
        ("types", json!("film"), "list"),
        ("types", json!([1]), "types"),
        ("types", json!((0..300).map(|n| n.to_string()).collect::<Vec<_>>()), "the limit is"),
        ("policies", json!([]), "policies"),
        ("policies", json!({ "film": 1 }), "object"),
        ("policies", json!({ "film": "owner ==" }), "film"),
        ("policies", json!({ "film": { "write": "true" } }), "read"),
        ("policies", json!({ "film": format!("{}true{}", "(".repeat(200), ")".repeat(200)) }), "film"),
        ("claims", json!([]), "claims"),
        ("claims", json!({ "sub": "root" }), "sub"),
        ("claims", json!({ "a": null }), "null"),
        ("claims", json!({ "a": { "b": 1 } }), "object"),
        ("claims", json!({ "a": [[1]] }), "list"),
        (
            "claims",
            json!((0..70).map(|n| (n.to_string(), n.into())).collect::<serde_json::Map<_, _>>()),
            "limit",
        ),
        ("sub", json!(""), "sub"),
        ("sub", json!("a\nb"), "subject"),
        ("jti", json!("x".repeat(256)), "jti"),
    ] {
        world.invalid(&world.changed(|claims| claims[member] = value.clone()), word);
    }
    let outside = world.changed(|claims| {
        claims["types"] = json!(["note"]);
        claims["policies"] = json!({ "film": "true" });
    });
    world.invalid(&outside, "film");
    for text in ["", "null", "[]", "\"x\"", "{}x", "{", "{\"a\":1,}", "\u{feff}{}"] {
        let error = world.verifier.verify(&world.signed(&world.header(), text), &world.env).unwrap_err();
        assert_eq!(error.code(), Code::AccessTokenInvalid, "{text}");
    }
    let deep = format!("{{\"claims\":{}}}", "[".repeat(5_000));
    world.invalid(&world.signed(&world.header(), &deep), "token");
}

#[test]
fn tokens_as_large_as_they_may_be_and_larger() {
    let world = World::new();
    let mut claims = world.claims();
    claims.claims.insert("a".to_owned(), "x".repeat(11_000).into());
    let token = world.keys[0].sign(&claims).unwrap();
    assert!(token.len() <= TOKEN_SIZE_BYTES_MAX && world.verifier.verify(&token, &world.env).is_ok());
    claims.claims.insert("a".to_owned(), "x".repeat(13_000).into());
    assert_eq!(world.keys[0].sign(&claims).unwrap_err().code(), Code::AccessTokenInvalid);
    world.invalid(&world.signed(&world.header(), &claims.to_json().to_string()), "the limit is");
    world.invalid(&"a".repeat(100_000_000), "the limit is");
    world.invalid(&".".repeat(TOKEN_SIZE_BYTES_MAX), "three parts");
}

/// A key that is taken out is of no use any more; one that is added is, beside the old one.
#[test]
fn keys_are_rotated() {
    let world = World::new();
    let (old, new) = (&world.keys[0], SigningKey::generate(Algorithm::EdDsa).unwrap());
    let sets = [
        vec![old.verifying_key().unwrap()],
        vec![old.verifying_key().unwrap(), new.verifying_key().unwrap()],
        vec![new.verifying_key().unwrap()],
    ];
    let taken = sets.map(|keys| {
        let verifier = Verifier::new(KeySet::of(keys).unwrap(), ISSUER, AUDIENCE);
        [old, &new].map(|key| verifier.verify(&key.sign(&world.claims()).unwrap(), &world.env).is_ok())
    });
    assert_eq!(taken, [[true, false], [true, true], [false, true]]);
}

#[test]
fn sets_of_keys_that_cannot_be_used() {
    let world = World::new();
    let json = |place: usize| world.keys[place].verifying_key().unwrap().to_json();
    let refused = |keys: Json, word: &str| {
        let error = KeySet::from_json(&json!({ "keys": keys }).to_string()).unwrap_err();
        assert_eq!(error.code(), Code::AccessKeyInvalid, "{error}");
        assert!(error.detail().contains(word), "{error}, not {word}");
    };
    let changed = |place: usize, member: &str, value: Json| {
        let mut key = json(place);
        key[member] = value;
        json!([key])
    };
    let zero_point = BASE64.encode([0; 32]);
    let ones = |bits: usize| BASE64.encode(vec![0xff; bits / 8]);
    for (place, member, value, word) in [
        (0, "kid", json!(null), "kid"),
        (0, "kid", json!(""), "kid"),
        (0, "kid", json!("x".repeat(300)), "kid"),
        (0, "kty", json!("oct"), "oct"),
        (0, "kty", json!("EC"), "Ed25519"),
        (0, "crv", json!("X25519"), "X25519"),
        (0, "crv", json!("Ed448"), "Ed448"),
        (0, "alg", json!("HS256"), "HS256"),
        (0, "alg", json!("RS256"), "RS256"),
        (0, "alg", json!("none"), "none"),
        (0, "use", json!("enc"), "enc"),
        (0, "key_ops", json!(["sign"]), "key_ops"),
        (0, "d", json!(zero_point), "secret"),
        (0, "k", json!(zero_point), "secret"),
        (0, "x", json!("AAAA"), "Ed25519"),
        (0, "x", json!("not base64!"), "base64url"),
        (0, "x", json!(STANDARD.encode([0xff; 32])), "\"x\""),
        (0, "what", json!(1), "not known"),
        (1, "crv", json!("P-384"), "P-384"),
        (1, "crv", json!("secp256k1"), "secp256k1"),
        (1, "x", json!(zero_point), "P-256"),
        (1, "y", json!(ones(256)), "P-256"),
        (1, "y", json!("AAAA"), "32 bytes"),
        (2, "n", json!(ones(RSA_BITS_MIN - 8)), "bits"),
        (2, "n", json!(ones(8_192)), "\"n\""),
        (2, "n", json!(BASE64.encode([&[0][..], &[0xff; 384]].concat())), "bits"),
        (2, "e", json!("AQ"), "65537"),
        (2, "e", json!("Aw"), "65537"),
        (2, "crv", json!("P-256"), "RSA"),
        (2, "p", json!("AQAB"), "secret"),
    ] {
        refused(changed(place, member, value), word);
    }
    refused(json!([json(0), json(0)]), "two keys");
    refused(json!((0..101).map(|_| json(0)).collect::<Vec<_>>()), "the limit is");
    refused(json!([1]), "object");
    refused(json!({}), "list");
    for text in ["", "[]", "{}", "{\"keys\":[],\"keys\":[]}", "{\"keys\":[],\"more\":1}", "null"] {
        assert_eq!(KeySet::from_json(text).unwrap_err().code(), Code::AccessKeyInvalid, "{text}");
    }
    let long = " ".repeat(KEY_SET_SIZE_BYTES_MAX + 1);
    assert_eq!(KeySet::from_json(&long).unwrap_err().code(), Code::AccessKeyInvalid);
    // What providers add is passed over; an empty set takes nothing.
    assert!(KeySet::from_json(&json!({ "keys": changed(2, "x5t", json!("AA")) }).to_string()).is_ok());
    let nothing = Verifier::new(KeySet::from_json("{\"keys\":[]}").unwrap(), ISSUER, AUDIENCE);
    assert!(nothing.verify(&world.keys[0].sign(&world.claims()).unwrap(), &world.env).is_err());
    for pem in [
        "",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----",
    ] {
        assert_eq!(SigningKey::from_pem(pem).unwrap_err().code(), Code::AccessKeyInvalid, "{pem}");
    }
}

/// The thumbprint is that of RFC 8037, appendix A.3.
#[test]
fn keys_are_called_by_their_thumbprints() {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let text = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "a", "x": x }] }).to_string();
    let set = KeySet::from_json(&text).unwrap();
    let prints: Vec<String> = set.keys().map(|key| key.thumbprint()).collect();
    assert_eq!(prints, ["kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"]);
}

/// No text makes the verifier do anything but refuse.
#[test]
fn random_changes_are_refused() {
    let world = World::new();
    let token = world.keys[0].sign(&world.claims()).unwrap();
    let mut state = 7u64;
    let mut next = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    for _ in 0..3_000 {
        let mut bytes = token.clone().into_bytes();
        for _ in 0..1 + next(4) {
            match next(3) {
                0 => drop(bytes.remove(next(bytes.len()))),
                1 => bytes.insert(next(bytes.len()), b" .-_AZaz09=\x00"[next(12)]),
                _ => {
                    let place = next(bytes.len());
                    bytes[place] = b".-_AZaz09"[next(9)];
                }
            }
        }
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        if changed != token {
            assert!(world.verifier.verify(&changed, &world.env).is_err(), "{changed}");
        }
        let _ = Verifier::inspect(&changed);
    }
}
