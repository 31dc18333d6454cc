//! The cipher of all that is sealed: AES-256-GCM-SIV (RFC 8452), with a random nonce for each message.
//!
//! Two messages with one nonce, should chance give them, tell whether they are the same message and nothing else, so that 96 random bits are enough for as many as anybody seals.
//!
//! It is the crate `aws-lc-rs`, in assembly for what processors have. `chacha20poly1305`, which was here first, opens forty bytes in eight times the time, most of what a sealed record cost:
//! its vector instructions are calls of functions unless the whole program is compiled for one processor.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};

/// The bytes of a key.
pub(crate) const KEY_SIZE_BYTES: usize = 32;
/// The bytes of a nonce.
pub(crate) const NONCE_SIZE_BYTES: usize = 12;
/// How much longer a sealed message is.
pub(crate) const TAG_SIZE_BYTES: usize = 16;

/// A key, ready to be used. The library wipes it when it is dropped.
pub(crate) struct Cipher(LessSafeKey);

impl fmt::Debug for Cipher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Cipher(..)")
    }
}

impl Cipher {
    /// `None` where the library has no memory for it.
    pub(crate) fn new(key: &[u8; KEY_SIZE_BYTES]) -> Option<Cipher> {
        UnboundKey::new(&AES_256_GCM_SIV, key).ok().map(|key| Cipher(LessSafeKey::new(key)))
    }

    /// Appends a message and its tag, sealed and bound to `associated`. `None` for one of more than 2^36 bytes.
    pub(crate) fn seal(
        &self,
        nonce: [u8; NONCE_SIZE_BYTES],
        associated: &[u8],
        message: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Option<()> {
        bytes.reserve_exact(message.len() + TAG_SIZE_BYTES);
        let begin = bytes.len();
        bytes.extend_from_slice(message);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = bytes.get_mut(begin..)?;
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(associated), sealed).ok()?;
        bytes.extend_from_slice(tag.as_ref());
        Some(())
    }

    /// What [`seal`](Cipher::seal) appended; `None` if it is not from this key, or not with this nonce and these associated data.
    pub(crate) fn open(
        &self,
        nonce: [u8; NONCE_SIZE_BYTES],
        associated: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let mut bytes = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let size_bytes = self.0.open_in_place(nonce, Aad::from(associated), &mut bytes).ok()?.len();
        bytes.truncate(size_bytes);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// RFC 8452, appendix C.2, and a message longer than a block.
    #[test]
    fn it_is_the_rfcs() {
        let key = |first: u8| {
            let mut key = [0; KEY_SIZE_BYTES];
            key[0] = first;
            key
        };
        let nonce = |first: u8| {
            let mut nonce = [0; NONCE_SIZE_BYTES];
            nonce[0] = first;
            nonce
        };
        let cases = [
            ("", "", "07f5f4169bbf55a8400cd47ea6fd400f"),
            ("0100000000000000", "", "c2ef328e5c71c83b843122130f7364b761e0b97427e3df28"),
            ("0200000000000000", "01", "1de22967237a813291213f267e3b452f02d01ae33e4ec854"),
            // Made by another implementation.
            (
                "020000000000000000000000000000000300000000000000000000000000000004",
                "01",
                "7cbef10881b1b01d7856d25677772070fac9defc5a7b117b1980192d7a8a67a8e4ea55df94ccc64a3ffcd3ad8087c2b824",
            ),
        ];
        for (message, associated, sealed) in cases {
            let cipher = Cipher::new(&key(1)).unwrap();
            let mut out = b"before".to_vec();
            cipher.seal(nonce(3), &bytes(associated), &bytes(message), &mut out).unwrap();
            assert_eq!(out[6..], bytes(sealed));
            assert_eq!(cipher.open(nonce(3), &bytes(associated), &out[6..]).unwrap(), bytes(message));
            assert_eq!(cipher.open(nonce(4), &bytes(associated), &out[6..]), None);
            assert_eq!(cipher.open(nonce(3), b"other", &out[6..]), None);
            assert_eq!(Cipher::new(&key(2)).unwrap().open(nonce(3), &bytes(associated), &out[6..]), None);
            for bit in 0..(out.len() - 6) * 8 {
                let mut damaged = out[6..].to_vec();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(cipher.open(nonce(3), &bytes(associated), &damaged), None);
            }
            for length in 0..out.len() - 6 {
                assert_eq!(cipher.open(nonce(3), &bytes(associated), &out[6..6 + length]), None);
            }
        }
    }
}
