//! Keys in memory: wiped when they are dropped, and never printed.

use std::fmt;

use tenantry_kv::env::Entropy;
use zeroize::Zeroize;

use crate::cipher::{Cipher, NONCE_SIZE_BYTES};
use crate::error::{Code, Error, Result};

/// The bytes of a key.
pub const KEY_SIZE_BYTES: usize = crate::cipher::KEY_SIZE_BYTES;
/// The form of a wrapped key, its first byte.
const WRAPPED_FORMAT: u8 = 1;

/// A key of 256 bits. It is wiped when it is dropped.
pub struct SecretKey(Box<[u8; KEY_SIZE_BYTES]>);

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretKey(..)")
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl SecretKey {
    /// A new one, from cryptographic randomness.
    pub fn random(entropy: &dyn Entropy) -> SecretKey {
        let mut key = SecretKey(Box::new([0; KEY_SIZE_BYTES]));
        entropy.fill(&mut key.0[..]);
        key
    }

    /// The key with these bytes; `None` unless there are 32 of them.
    pub fn from_bytes(bytes: &[u8]) -> Option<SecretKey> {
        let mut key = SecretKey(Box::new([0; KEY_SIZE_BYTES]));
        let fits = bytes.len() == KEY_SIZE_BYTES;
        if fits {
            key.0.copy_from_slice(bytes);
        }
        fits.then_some(key)
    }

    /// The bytes, for whoever wraps them.
    pub fn bytes(&self) -> &[u8; KEY_SIZE_BYTES] {
        &self.0
    }

    /// A hash that tells the key from others and nothing else about it.
    pub fn fingerprint(&self) -> [u8; 32] {
        blake3::derive_key("tenantry 2026 fingerprint of a key", &self.0[..])
    }

    /// A key for something else, made from this one; `context` says for what.
    pub(super) fn derived(&self, context: &str) -> SecretKey {
        let mut derived = blake3::derive_key(context, &self.0[..]);
        let key = SecretKey(Box::new(derived));
        derived.zeroize();
        key
    }

    /// A cipher that uses the key. It wipes its copy as well.
    ///
    /// # Errors
    ///
    /// 20060 where there is no memory for it.
    pub(super) fn cipher(&self) -> Result<Cipher> {
        Cipher::new(&self.0).ok_or_else(|| Error::new(Code::LimitPassed, "no memory for a cipher"))
    }

    /// Wraps another key: a format byte, a nonce, and the key, sealed and bound to `context`.
    pub(super) fn wrap(&self, key: &SecretKey, context: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>> {
        let mut wrapped = vec![WRAPPED_FORMAT];
        seal(&self.cipher()?, entropy, &mut wrapped, context, &key.0[..])?;
        Ok(wrapped)
    }

    /// What [`wrap`](SecretKey::wrap) wrapped with this key and this context; `None` for everything else.
    pub(super) fn unwrap(&self, wrapped: &[u8], context: &[u8]) -> Option<SecretKey> {
        let (_, sealed) = wrapped.split_first().filter(|(format, _)| **format == WRAPPED_FORMAT)?;
        let mut opened = open(&self.cipher().ok()?, sealed, context)?;
        let key = SecretKey::from_bytes(&opened);
        opened.zeroize();
        key
    }
}

/// Appends a nonce and what is sealed with it.
pub(super) fn seal(
    cipher: &Cipher,
    entropy: &dyn Entropy,
    bytes: &mut Vec<u8>,
    associated: &[u8],
    plain: &[u8],
) -> Result<()> {
    let mut nonce = [0; NONCE_SIZE_BYTES];
    entropy.fill(&mut nonce);
    bytes.extend_from_slice(&nonce);
    cipher
        .seal(nonce, associated, plain, bytes)
        .ok_or_else(|| Error::new(Code::LimitPassed, "what is to be sealed is too long for the cipher"))
}

/// What [`seal`] appended; `None` if it is not from this key, or not with these associated data.
pub(super) fn open(cipher: &Cipher, bytes: &[u8], associated: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = bytes.split_first_chunk::<NONCE_SIZE_BYTES>()?;
    cipher.open(*nonce, associated, sealed)
}
