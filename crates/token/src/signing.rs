//! Keys that sign tokens: PKCS #8 in PEM, as other tools write them.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use tenantry_core::Result;

use crate::algorithm::Algorithm;
use crate::claims::TokenClaims;
use crate::key_invalid;
use crate::key_set::VerifyingKey;
use crate::limits::TOKEN_SIZE_BYTES_MAX;
use crate::reading::encode;

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// A key file, in bytes.
const PEM_SIZE_BYTES_MAX: usize = 16_384;

/// A key that signs tokens. Whoever has it can give anybody every right: it belongs to the issuer alone.
pub struct SigningKey {
    pair: Pair,
    pkcs8: Vec<u8>,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey({})", self.algorithm().name())
    }
}

fn failed<T>(_: T) -> tenantry_core::Error {
    key_invalid("the key cannot be made or used")
}

impl SigningKey {
    /// A new key, from the cryptographic library's own randomness. RSA keys have 3,072 bits.
    ///
    /// # Errors
    ///
    /// 20128 when the library fails.
    pub fn generate(algorithm: Algorithm) -> Result<SigningKey> {
        let pkcs8 = match algorithm {
            Algorithm::EdDsa => {
                Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(failed)?.as_ref().to_vec()
            }
            Algorithm::Es256 => {
                let made =
                    EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
                made.map_err(failed)?.as_ref().to_vec()
            }
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa3072).map_err(failed)?;
                pair.as_der().map_err(failed)?.as_ref().to_vec()
            }
        };
        SigningKey::from_pkcs8(pkcs8)
    }

    fn from_pkcs8(pkcs8: Vec<u8>) -> Result<SigningKey> {
        let ed25519 = || Ed25519KeyPair::from_pkcs8(&pkcs8).ok().map(Pair::Ed25519);
        let p256 = || EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).ok().map(Pair::P256);
        let rsa = || RsaKeyPair::from_pkcs8(&pkcs8).ok().map(Pair::Rsa);
        match ed25519().or_else(p256).or_else(rsa) {
            Some(pair) => Ok(SigningKey { pair, pkcs8 }),
            None => Err(key_invalid("the key is none of Ed25519, P-256 or RSA of 2,048 bits and more")),
        }
    }

    /// Reads a key in PEM (PKCS #8), as `openssl genpkey` writes them.
    ///
    /// # Errors
    ///
    /// 20128 for what is none.
    pub fn from_pem(text: &str) -> Result<SigningKey> {
        if text.len() > PEM_SIZE_BYTES_MAX {
            return Err(key_invalid(format!("the file of the key has more than {PEM_SIZE_BYTES_MAX} bytes")));
        }
        let inner = text.trim().strip_prefix(PEM_BEGIN).and_then(|rest| rest.strip_suffix(PEM_END));
        let inner =
            inner.ok_or_else(|| key_invalid(format!("a key is one block that begins with {PEM_BEGIN}")))?;
        let joined: String = inner.split_ascii_whitespace().collect();
        SigningKey::from_pkcs8(BASE64.decode(joined).map_err(|_| key_invalid("the key is no base64"))?)
    }

    /// The key in PEM (PKCS #8).
    pub fn to_pem(&self) -> String {
        let text = BASE64.encode(&self.pkcs8);
        let mut pem = format!("{PEM_BEGIN}\n");
        for line in text.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem + PEM_END + "\n"
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::Ed25519(_) => Algorithm::EdDsa,
            Pair::P256(_) => Algorithm::Es256,
            Pair::Rsa(_) => Algorithm::Rs256,
        }
    }

    /// Its public half, called by its thumbprint.
    ///
    /// # Errors
    ///
    /// 20128 for a key that tokens are not checked with, such as an RSA key of 1,024 bits.
    pub fn verifying_key(&self) -> Result<VerifyingKey> {
        match &self.pair {
            Pair::Ed25519(pair) => VerifyingKey::ed25519(None, pair.public_key().as_ref()),
            Pair::P256(pair) => VerifyingKey::p256(None, pair.public_key().as_ref()),
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                let (modulus, exponent) = (public.modulus(), public.exponent());
                VerifyingKey::rsa(
                    None,
                    modulus.big_endian_without_leading_zero(),
                    exponent.big_endian_without_leading_zero(),
                )
            }
        }
    }

    /// Signs claims: the token names this key by its thumbprint.
    ///
    /// # Errors
    ///
    /// 20127 for claims that no verifier would accept, or of which the token would be over [`TOKEN_SIZE_BYTES_MAX`]; 20128.
    pub fn sign(&self, claims: &TokenClaims) -> Result<String> {
        claims.check()?;
        let header =
            json!({ "alg": self.algorithm().name(), "kid": self.verifying_key()?.id(), "typ": "at+jwt" });
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_json().to_string()));
        let token = format!("{message}.{}", encode(self.signature(message.as_bytes())?));
        if token.len() > TOKEN_SIZE_BYTES_MAX {
            let detail = format!(
                "the token has {} bytes, the limit is {TOKEN_SIZE_BYTES_MAX}: leave claims out",
                token.len()
            );
            return Err(crate::invalid(detail));
        }
        Ok(token)
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>> {
        match &self.pair {
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::P256(pair) => {
                Ok(pair.sign(&SystemRandom::new(), message).map_err(failed)?.as_ref().to_vec())
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
        }
    }
}
