//! The keys that tokens are checked with: a JWKS file (RFC 7517).
//!
//! To rotate a key is to add the new one to the file, to sign with it, and to take the old one out when the last token that it signed is over. To take it out at once revokes all of these.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use serde_json::{Value as Json, json};
use tenantry_core::Result;

use crate::algorithm::Algorithm;
use crate::key_invalid;
use crate::limits::{KEY_SET_SIZE_BYTES_MAX, KEYS_MAX, NAME_SIZE_BYTES_MAX, RSA_BITS_MAX, RSA_BITS_MIN};
use crate::reading::{Object, encode};

/// The public half of a key, which checks tokens and cannot make them.
#[derive(Clone)]
pub struct VerifyingKey {
    id: String,
    material: Material,
}

#[derive(Clone)]
enum Material {
    /// The key as the library reads it: 32 bytes, or a point behind 04.
    Parsed(Algorithm, ParsedPublicKey, Vec<u8>),
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "VerifyingKey({:?}, {})", self.id, self.algorithm().name())
    }
}

impl VerifyingKey {
    pub(crate) fn ed25519(id: Option<String>, x: &[u8]) -> Result<VerifyingKey> {
        let parsed = ParsedPublicKey::new(&ED25519, x).ok().filter(|_| x.len() == 32);
        let parsed = parsed.ok_or_else(|| key_invalid("the point is none of Ed25519"))?;
        VerifyingKey::with_id(id, Material::Parsed(Algorithm::EdDsa, parsed, x.to_vec()))
    }

    /// `point` is 04 and both coordinates.
    pub(crate) fn p256(id: Option<String>, point: &[u8]) -> Result<VerifyingKey> {
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok();
        let parsed = parsed.filter(|_| point.len() == 65 && point.first() == Some(&4));
        let parsed = parsed.ok_or_else(|| key_invalid("the point is none of P-256"))?;
        VerifyingKey::with_id(id, Material::Parsed(Algorithm::Es256, parsed, point.to_vec()))
    }

    pub(crate) fn rsa(id: Option<String>, modulus: &[u8], exponent: &[u8]) -> Result<VerifyingKey> {
        let first = modulus.first().copied().unwrap_or_default();
        let bits = (modulus.len() * 8).saturating_sub(first.leading_zeros() as usize);
        if first == 0 || !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            let detail = format!(
                "an RSA key has {RSA_BITS_MIN} to {RSA_BITS_MAX} bits without zeros before them, not {bits}"
            );
            return Err(key_invalid(detail));
        }
        // 65,537: what everybody has. Small ones, and ones that take long, are not needed.
        if exponent != [1, 0, 1] {
            return Err(key_invalid("the public exponent of an RSA key is 65537"));
        }
        let material = Material::Rsa { modulus: modulus.to_vec(), exponent: exponent.to_vec() };
        VerifyingKey::with_id(id, material)
    }

    /// Without an id it has its thumbprint.
    fn with_id(id: Option<String>, material: Material) -> Result<VerifyingKey> {
        let mut key = VerifyingKey { id: id.unwrap_or_default(), material };
        if key.id.is_empty() {
            key.id = key.thumbprint();
        }
        Ok(key)
    }

    /// Its id, which the header of a token names.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The one algorithm that it is used with.
    pub fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Parsed(algorithm, ..) => algorithm,
            Material::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// The members that make the key, in the order of RFC 7638.
    fn members(&self) -> Vec<(&'static str, String)> {
        match &self.material {
            Material::Parsed(Algorithm::EdDsa, _, x) => {
                vec![("crv", "Ed25519".to_owned()), ("kty", "OKP".to_owned()), ("x", encode(x))]
            }
            Material::Parsed(_, _, point) => {
                let (x, y) = point.get(1..).unwrap_or_default().split_at_checked(32).unwrap_or_default();
                let (curve, kind) = ("P-256".to_owned(), "EC".to_owned());
                vec![("crv", curve), ("kty", kind), ("x", encode(x)), ("y", encode(y))]
            }
            Material::Rsa { modulus, exponent } => {
                vec![("e", encode(exponent)), ("kty", "RSA".to_owned()), ("n", encode(modulus))]
            }
        }
    }

    /// The key's thumbprint (RFC 7638, SHA-256): what it is called if nobody called it anything else.
    pub fn thumbprint(&self) -> String {
        let members: Vec<String> =
            self.members().iter().map(|(name, value)| format!("{name:?}:{value:?}")).collect();
        let text = format!("{{{}}}", members.join(","));
        encode(digest::digest(&digest::SHA256, text.as_bytes()))
    }

    /// The key as a member of a JWKS.
    pub fn to_json(&self) -> Json {
        let mut json = json!({ "kid": self.id, "alg": self.algorithm().name(), "use": "sig" });
        for (name, value) in self.members() {
            json[name] = value.into();
        }
        json
    }

    /// Whether it made a signature. A signature of another form is none.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Parsed(_, parsed, _) => parsed.verify_sig(message, signature).is_ok(),
            Material::Rsa { modulus, exponent } => RsaPublicKeyComponents { n: modulus, e: exponent }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
        }
    }

    fn read(json: Json) -> Result<VerifyingKey> {
        let mut object = Object::of("a key", json, key_invalid)?;
        let id = object.text("kid", NAME_SIZE_BYTES_MAX)?;
        let mut object = object.called(format!("the key {id:?}"));
        let private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
        if let Some(name) = private.iter().find(|name| object.has(name)) {
            return Err(
                object.error(&format!("has {name:?}: a secret does not belong into a set of public keys"))
            );
        }
        let kind = object.text("kty", NAME_SIZE_BYTES_MAX)?;
        let curve = object.optional_text("crv", NAME_SIZE_BYTES_MAX)?;
        let algorithm = match (kind.as_str(), curve.as_deref()) {
            ("OKP", Some("Ed25519")) => Algorithm::EdDsa,
            ("EC", Some("P-256")) => Algorithm::Es256,
            ("RSA", None) => Algorithm::Rs256,
            (kind, curve) => {
                let of = curve.map(|curve| format!(" of {curve:?}")).unwrap_or_default();
                return Err(object.error(&format!("is a {kind:?}{of}: there are Ed25519, P-256 and RSA")));
            }
        };
        if let Some(named) = object.optional_text("alg", NAME_SIZE_BYTES_MAX)?
            && named != algorithm.name()
        {
            return Err(
                object.error(&format!("is for {named:?}, and keys of its kind for {}", algorithm.name()))
            );
        }
        if let Some(usage) = object.optional_text("use", NAME_SIZE_BYTES_MAX)?
            && usage != "sig"
        {
            return Err(object.error(&format!("is used for {usage:?}, not for signatures")));
        }
        if let Some(usages) = object.texts("key_ops", 8, NAME_SIZE_BYTES_MAX)?
            && usages != ["verify"]
        {
            return Err(object.error("has other \"key_ops\" than \"verify\""));
        }
        // What providers add to their keys, and says nothing of how a token is checked.
        for known in ["x5c", "x5t", "x5t#S256"] {
            object.take(known);
        }
        let named = Some(id);
        let key = match algorithm {
            Algorithm::EdDsa => VerifyingKey::ed25519(named, &object.bytes("x", 32)?),
            Algorithm::Es256 => {
                let (x, y) = (object.bytes("x", 32)?, object.bytes("y", 32)?);
                if x.len() != 32 || y.len() != 32 {
                    return Err(object.error("has coordinates that are not of 32 bytes"));
                }
                VerifyingKey::p256(named, &[&[4], &x[..], &y[..]].concat())
            }
            Algorithm::Rs256 => {
                VerifyingKey::rsa(named, &object.bytes("n", RSA_BITS_MAX / 8 + 1)?, &object.bytes("e", 8)?)
            }
        };
        let key = key.map_err(|error| object.error(&format!(": {}", error.detail())))?;
        object.finish()?;
        Ok(key)
    }
}

/// Public keys by their ids.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: BTreeMap<String, VerifyingKey>,
}

impl KeySet {
    /// A set of keys.
    ///
    /// # Errors
    ///
    /// 20128 for more than [`KEYS_MAX`], or two of one id.
    pub fn of(keys: Vec<VerifyingKey>) -> Result<KeySet> {
        if keys.len() > KEYS_MAX {
            return Err(key_invalid(format!("there are {} keys, the limit is {KEYS_MAX}", keys.len())));
        }
        let mut set = KeySet::default();
        for key in keys {
            if let Some(other) = set.keys.insert(key.id.clone(), key) {
                return Err(key_invalid(format!("two keys have the id {:?}", other.id)));
            }
        }
        Ok(set)
    }

    /// Reads a JWKS file. One key that cannot be used refuses the whole: a set that is not what it seems is none to go by.
    ///
    /// # Errors
    ///
    /// 20128 for a text of more than 262,144 bytes, that is no set of keys, or holds one that is secret, of another kind, too short, or not known.
    pub fn from_json(text: &str) -> Result<KeySet> {
        if text.len() > KEY_SET_SIZE_BYTES_MAX {
            let detail =
                format!("the set of keys has {} bytes, the limit is {KEY_SET_SIZE_BYTES_MAX}", text.len());
            return Err(key_invalid(detail));
        }
        let mut object = Object::parse("the set of keys", text.as_bytes(), key_invalid)?;
        let keys = match object.needed("keys")? {
            Json::Array(keys) if keys.len() <= KEYS_MAX => keys,
            Json::Array(keys) => {
                return Err(object.error(&format!("has {} keys, the limit is {KEYS_MAX}", keys.len())));
            }
            _ => return Err(object.error("has \"keys\" that are no list")),
        };
        object.finish()?;
        KeySet::of(keys.into_iter().map(VerifyingKey::read).collect::<Result<_>>()?)
    }

    /// The set as a JWKS file.
    pub fn to_json(&self) -> String {
        let keys: Vec<Json> = self.keys.values().map(VerifyingKey::to_json).collect();
        format!("{:#}\n", json!({ "keys": keys }))
    }

    /// The keys, by their ids.
    pub fn keys(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.keys.values()
    }

    /// The same with a key more, which takes the place of one of its id.
    #[must_use]
    pub fn with(mut self, key: VerifyingKey) -> KeySet {
        self.keys.insert(key.id.clone(), key);
        self
    }

    pub(crate) fn key(&self, id: &str) -> Option<&VerifyingKey> {
        self.keys.get(id)
    }
}
