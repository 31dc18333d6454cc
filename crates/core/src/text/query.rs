//! What is looked for in texts.

use std::collections::BTreeSet;

use super::Tokenizer;
use crate::error::{Code, Error, Result, limit, shown};
use crate::limits::TEXT_QUERY_TOKENS_MAX;

/// Which of the words have to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MatchKind {
    All,
    Any,
    /// All of them, one behind the other.
    Phrase,
    /// All of them; of the last one only its beginning.
    Prefix,
}

/// Words to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextQuery {
    pub(crate) kind: MatchKind,
    pub(crate) tokenizer: Tokenizer,
    /// For a phrase in their order; else sorted, each once. At least one, except for a prefix.
    pub(crate) words: Vec<String>,
    /// For a prefix: how the last word begins.
    pub(crate) prefix: Option<Prefix>,
}

/// A word that may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// How a word begins, without stemming: a stem is shorter than what the words have in common.
    pub(crate) begin: String,
    /// The stem if it is a whole word: a word that begins so may have a stem that does not.
    pub(crate) whole: String,
}

impl TextQuery {
    /// Reads words to look for.
    ///
    /// # Errors
    ///
    /// 20040 for a text without a word, 20060 for too many.
    pub(crate) fn new(kind: MatchKind, tokenizer: Tokenizer, text: &str) -> Result<TextQuery> {
        let mut words: Vec<String> = tokenizer.tokens(text).into_iter().map(|token| token.text).collect();
        if words.len() > TEXT_QUERY_TOKENS_MAX {
            return Err(limit("the words of a text match", words.len(), TEXT_QUERY_TOKENS_MAX));
        }
        let Some(last) = words.last() else {
            let detail = format!("{} has no word to look for", shown(text));
            return Err(Error::new(Code::ExpressionInvalid, detail));
        };
        let mut prefix = None;
        if kind == MatchKind::Prefix {
            let begin = Tokenizer { language: None, ..tokenizer }.tokens(text).pop();
            let whole = last.clone();
            prefix = Some(Prefix { begin: begin.map_or_else(|| whole.clone(), |token| token.text), whole });
            words.pop();
        }
        if kind != MatchKind::Phrase {
            words.sort();
            words.dedup();
        }
        Ok(TextQuery { kind, tokenizer, words, prefix })
    }

    /// Looks for one word alone.
    pub(crate) fn of_word(&self, word: &str) -> TextQuery {
        let words = vec![word.to_owned()];
        TextQuery { kind: MatchKind::All, tokenizer: self.tokenizer, words, prefix: None }
    }

    /// Looks for one word that begins so, and nothing else.
    pub(crate) fn of_begin(&self, begin: &str) -> TextQuery {
        let prefix = Some(Prefix { begin: begin.to_owned(), whole: begin.to_owned() });
        TextQuery { kind: MatchKind::Prefix, tokenizer: self.tokenizer, words: Vec::new(), prefix }
    }

    /// Whether a text has what is looked for.
    pub(crate) fn matches(&self, text: &str) -> bool {
        match self.kind {
            MatchKind::Phrase => self.has_phrase(text),
            MatchKind::Any => {
                let mut is_found = false;
                self.tokenizer.each(text, |token| {
                    is_found = self.words.binary_search(&token).is_ok();
                    !is_found
                });
                is_found
            }
            MatchKind::All | MatchKind::Prefix => self.has_all(text),
        }
    }

    fn has_all(&self, text: &str) -> bool {
        let mut missing: BTreeSet<&str> = self.words.iter().map(String::as_str).collect();
        let mut prefix = self.prefix.as_ref();
        self.tokenizer.each(text, |token| {
            prefix = prefix.filter(|prefix| !prefix.fits(&token));
            missing.remove(token.as_str());
            !missing.is_empty() || prefix.is_some()
        });
        missing.is_empty() && prefix.is_none()
    }

    /// Compares the last words of the text with the phrase, word by word: as the words overlap themselves in a phrase, how far each place came is kept.
    fn has_phrase(&self, text: &str) -> bool {
        let mut reached: Vec<usize> = Vec::new();
        let mut is_found = false;
        self.tokenizer.each(text, |token| {
            reached.push(0);
            reached.retain_mut(|length| {
                let fits = self.words[*length] == token;
                *length += 1;
                is_found |= fits && *length == self.words.len();
                fits && *length < self.words.len()
            });
            !is_found
        });
        is_found
    }
}

impl Prefix {
    /// Whether every word that fits begins so, a stem included.
    pub(crate) fn is_one_range(&self) -> bool {
        self.whole.starts_with(&self.begin)
    }

    /// Whether a word of a text is one that begins so.
    pub(crate) fn fits(&self, token: &str) -> bool {
        token.starts_with(&self.begin) || token == self.whole
    }
}
