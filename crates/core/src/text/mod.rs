//! Words of texts: what a text match compares and a text index holds.
//!
//! A text is brought to Unicode's NFKC form and cut at the word boundaries of UAX #29; every word that has a letter or digit is put in lowercase and, if the
//! tokenizer has a language, reduced to its stem by that language's Snowball algorithm. The same is done to the words that are looked for.
//!
//! Words are what stands in an index: whatever changes them for any text, a table of a new Unicode version included, is another version of the tokenizer. A
//! test holds the words of every character.

mod language;
mod query;

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfkc};
use unicode_segmentation::UnicodeSegmentation;

pub use self::language::Language;
pub(crate) use self::query::{MatchKind, TextQuery};
use crate::limits::{TEXT_TOKENS_MAX, TOKEN_SIZE_BYTES_MAX};

/// How texts are cut into words.
///
/// ```
/// use tenantry_core::{Language, Tokenizer};
///
/// let words = |tokenizer: Tokenizer, text| -> Vec<String> {
///     tokenizer.tokens(text).into_iter().map(|token| token.text).collect()
/// };
/// assert_eq!(words(Tokenizer::new(None), "The ﬁve BOXES"), ["the", "five", "boxes"]);
/// assert_eq!(words(Tokenizer::new(Some(Language::English)), "The ﬁve BOXES"), ["the", "five", "box"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tokenizer {
    /// Which rules it follows.
    pub version: u32,
    /// The language that words are stemmed in; without one they stay as they are.
    pub language: Option<Language>,
}

/// A word of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The word as it is compared; at most 128 bytes.
    pub text: String,
    /// Its place among the words of the text, from 0.
    pub position: u32,
}

impl Tokenizer {
    /// The version that this build makes.
    pub const VERSION: u32 = 1;

    /// A tokenizer of the newest version.
    pub fn new(language: Option<Language>) -> Tokenizer {
        Tokenizer { version: Tokenizer::VERSION, language }
    }

    /// The words of a text in their order. A word is cut after 128 bytes; words behind the first 100,000 are left out.
    pub fn tokens(&self, text: &str) -> Vec<Token> {
        let mut tokens = Vec::new();
        self.each(text, |token| {
            let position = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
            tokens.push(Token { text: token, position });
            true
        });
        tokens
    }

    /// Shows the words of a text in their order, until the function says false.
    pub(crate) fn each(&self, text: &str, mut show: impl FnMut(String) -> bool) {
        let text = match is_nfkc(text) {
            true => Cow::Borrowed(text),
            false => Cow::Owned(text.nfkc().collect::<String>()),
        };
        let stemmer = self.language.map(Language::stemmer);
        for word in text.unicode_words().take(TEXT_TOKENS_MAX) {
            let word = self.lowercase(word);
            let stem = stemmer.as_ref().map(|stemmer| stemmer.stem(&word).into_owned());
            if !show(cut(stem.filter(|stem| !stem.is_empty()).unwrap_or(word))) {
                return;
            }
        }
    }

    /// A word in lowercase, at its greatest size. Letters that have two forms of lowercase by their place or by language have one here.
    fn lowercase(&self, word: &str) -> String {
        let mut lower = String::with_capacity(word.len().min(TOKEN_SIZE_BYTES_MAX));
        for character in word.chars() {
            if lower.len() >= TOKEN_SIZE_BYTES_MAX {
                break;
            }
            match character {
                'I' if self.language == Some(Language::Turkish) => lower.push('ı'),
                'İ' => lower.push('i'),
                'ς' => lower.push('σ'),
                '\u{2019}' => lower.push('\''),
                character => lower.extend(character.to_lowercase()),
            }
        }
        cut(if is_nfkc(&lower) { lower } else { lower.nfkc().collect() })
    }
}

/// A word without what is over the limit.
fn cut(mut word: String) -> String {
    if word.len() > TOKEN_SIZE_BYTES_MAX {
        word.truncate(word.floor_char_boundary(TOKEN_SIZE_BYTES_MAX));
    }
    word
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests;
