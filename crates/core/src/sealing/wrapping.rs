//! What wraps the keys of tenants: a root key, or a service that has one.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tenantry_kv::env::Entropy;
use zeroize::Zeroizing;

use super::secret::{KEY_SIZE_BYTES, SecretKey};
use crate::error::{Code, Error, Result};

/// What a store of keys, or whoever wraps them, answers.
pub type KeyFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// Whoever wraps the keys of tenants. A [`RootKey`] does it in memory; a key management service does it with a key that it never gives away.
pub trait KeyWrapper: Send + Sync {
    /// Names the key that wraps. It stands beside everything that is wrapped with it.
    fn id(&self) -> &str;

    /// Wraps a key, bound to a context.
    ///
    /// # Errors
    ///
    /// 20117 when a service does not answer.
    fn wrap<'a>(&'a self, key: &'a SecretKey, context: &'a [u8]) -> KeyFuture<'a, Vec<u8>>;

    /// The key that was wrapped with the same context.
    ///
    /// # Errors
    ///
    /// 20112 when it was wrapped by another key or with another context, or was altered; 20117 when a service does not answer.
    fn unwrap<'a>(&'a self, wrapped: &'a [u8], context: &'a [u8]) -> KeyFuture<'a, SecretKey>;
}

/// A root key in memory.
pub struct RootKey {
    key: SecretKey,
    id: String,
    entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for RootKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RootKey({})", self.id)
    }
}

impl RootKey {
    /// The root key that a key is. Its id is made from its fingerprint.
    pub fn new(key: SecretKey, entropy: Arc<dyn Entropy>) -> RootKey {
        let id = format!("root-{}", hexadecimal(&key.fingerprint()[..8]));
        RootKey { key, id, entropy }
    }

    /// Reads a root key from a text: 64 hexadecimal digits, or base64 of 32 bytes. White space around it counts for nothing.
    ///
    /// # Errors
    ///
    /// 20118 for every other text. The error does not repeat it.
    pub fn parse(text: &str, entropy: Arc<dyn Entropy>) -> Result<RootKey> {
        let text = text.trim();
        let bytes = match text.len() == 2 * KEY_SIZE_BYTES {
            true => from_hexadecimal(text),
            false => BASE64.decode(text).ok(),
        };
        let key = bytes.map(Zeroizing::new).and_then(|bytes| SecretKey::from_bytes(&bytes));
        match key {
            Some(key) => Ok(RootKey::new(key, entropy)),
            None => Err(Error::new(
                Code::RootKeyInvalid,
                "a root key is 32 random bytes: as 64 hexadecimal digits, or in base64",
            )),
        }
    }

    /// The text of a new key, as [`parse`](RootKey::parse) reads it.
    pub fn generate(entropy: &dyn Entropy) -> Zeroizing<String> {
        Zeroizing::new(hexadecimal(SecretKey::random(entropy).bytes()))
    }
}

impl KeyWrapper for RootKey {
    fn id(&self) -> &str {
        &self.id
    }

    fn wrap<'a>(&'a self, key: &'a SecretKey, context: &'a [u8]) -> KeyFuture<'a, Vec<u8>> {
        Box::pin(async move { self.key.wrap(key, context, &*self.entropy) })
    }

    fn unwrap<'a>(&'a self, wrapped: &'a [u8], context: &'a [u8]) -> KeyFuture<'a, SecretKey> {
        Box::pin(async move {
            self.key.unwrap(wrapped, context).ok_or_else(|| {
                let detail = format!("the key does not open with {}, or it was altered", self.id);
                Error::new(Code::RootKeyDiffers, detail)
            })
        })
    }
}

/// Bytes in hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// What [`hexadecimal`] wrote, in either case of letters.
pub(super) fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    match rest.is_empty() {
        true => pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect(),
        false => None,
    }
}
