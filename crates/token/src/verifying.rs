//! Tokens are taken, or refused.

use tenantry_core::{Code, Error, Grant, Result};
use tenantry_kv::env::Env;

use crate::algorithm::Algorithm;
use crate::claims::TokenClaims;
use crate::invalid;
use crate::key_set::KeySet;
use crate::limits::{LEEWAY, NAME_SIZE_BYTES_MAX, TOKEN_SIZE_BYTES_MAX};
use crate::reading::{Object, decode};

/// Takes the tokens of one issuer for one audience, signed by keys of one set.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: KeySet,
    issuer: String,
    audience: String,
}

/// A token that was taken.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Verified {
    /// What it allows.
    pub grant: Grant,
    /// What it says.
    pub claims: TokenClaims,
    /// The key that signed it.
    pub key_id: String,
}

/// What stands in a token, whoever signed it: see [`Verifier::inspect`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Inspected {
    /// The algorithm that its header names.
    pub algorithm: Algorithm,
    /// The key that its header names.
    pub key_id: String,
    /// What it says.
    pub claims: TokenClaims,
}

/// A token in its parts.
struct Parts<'a> {
    /// What is signed.
    message: &'a str,
    algorithm: Algorithm,
    key_id: String,
    claims: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Result<Parts<'a>> {
        if token.len() > TOKEN_SIZE_BYTES_MAX {
            let detail = format!("the token has {} bytes, the limit is {TOKEN_SIZE_BYTES_MAX}", token.len());
            return Err(invalid(detail));
        }
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid("a token has three parts with a dot between them"));
        };
        if header.is_empty() || claims.is_empty() || signature.is_empty() {
            return Err(invalid("a part of the token is empty: a token is signed"));
        }
        let mut object = Object::parse("the token's header", &decode("token's header", header)?, |detail| {
            invalid(detail)
        })?;
        let named = object.text("alg", NAME_SIZE_BYTES_MAX)?;
        let Some(algorithm) = Algorithm::of_name(&named) else {
            return Err(
                object.error(&format!("names the algorithm {named:?}: there are EdDSA, ES256 and RS256"))
            );
        };
        let key_id = object.text("kid", NAME_SIZE_BYTES_MAX)?;
        if let Some(kind) = object.optional_text("typ", NAME_SIZE_BYTES_MAX)?
            && !["jwt", "at+jwt", "application/at+jwt"].contains(&kind.to_ascii_lowercase().as_str())
        {
            return Err(object.error(&format!("names the type {kind:?}, which is no access token's")));
        }
        // Whatever else it asks for (crit, jwk, jku, x5c, ...) nobody does.
        object.finish()?;
        let message = token.get(..header.len() + 1 + claims.len()).unwrap_or_default();
        Ok(Parts { message, algorithm, key_id, claims, signature })
    }
}

impl Verifier {
    /// A verifier. Tokens have to name the issuer, and the audience among theirs.
    pub fn new(keys: KeySet, issuer: impl Into<String>, audience: impl Into<String>) -> Verifier {
        Verifier { keys, issuer: issuer.into(), audience: audience.into() }
    }

    /// Takes a token, at the time of the environment's clock, with a leeway of [`LEEWAY`]. Whether it was revoked is not asked here: the grant does, in every transaction.
    ///
    /// # Errors
    ///
    /// 20127 for a token that is not this issuer's, for another audience, in another form, or with anything that is not known; 20125 for one whose time is over or has not come.
    pub fn verify(&self, token: &str, env: &Env) -> Result<Verified> {
        let parts = Parts::of(token)?;
        let Some(key) = self.keys.key(&parts.key_id) else {
            return Err(invalid("the token was signed by a key that is not known here"));
        };
        // The key decides how the token is checked.
        if parts.algorithm != key.algorithm() {
            let detail = format!(
                "the token names {}, its key is for {}",
                parts.algorithm.name(),
                key.algorithm().name()
            );
            return Err(invalid(detail));
        }
        let signature = decode("signature", parts.signature)?;
        if !key.verifies(parts.message.as_bytes(), &signature) {
            return Err(invalid("the signature is not that of the key"));
        }
        let claims = TokenClaims::parse(&decode("token's second part", parts.claims)?)?;
        if claims.issuer != self.issuer {
            return Err(invalid("the token is another issuer's"));
        }
        if !claims.audience.contains(&self.audience) {
            return Err(invalid("the token is for another audience"));
        }
        check_time(&claims, env.clock.wall_us().div_euclid(1_000_000))?;
        let grant = claims.grant(LEEWAY.as_secs() as i64)?;
        Ok(Verified { grant, claims, key_id: parts.key_id })
    }

    /// What stands in a token, without a question who signed it: for people alone.
    ///
    /// # Errors
    ///
    /// 20127 for what is no token, or says what no token may.
    pub fn inspect(token: &str) -> Result<Inspected> {
        let parts = Parts::of(token)?;
        let claims = TokenClaims::parse(&decode("token's second part", parts.claims)?)?;
        Ok(Inspected { algorithm: parts.algorithm, key_id: parts.key_id, claims })
    }
}

fn check_time(claims: &TokenClaims, now_s: i64) -> Result<()> {
    let refused = |detail: &str| Err(Error::new(Code::GrantExpired, detail));
    let leeway_s = LEEWAY.as_secs() as i64;
    let begin_s = claims.not_before_s.unwrap_or(claims.issued_s).max(claims.issued_s);
    match () {
        () if begin_s > now_s.saturating_add(leeway_s) => refused("the token is not good yet"),
        () if claims.expires_s.saturating_add(leeway_s) <= now_s => {
            refused("the token's time is over: ask for a new one")
        }
        () => Ok(()),
    }
}
