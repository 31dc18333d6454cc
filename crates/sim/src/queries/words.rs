//! Texts of a few words whose stems are known, and what a match of words means.

use crate::random::Stream;

/// Words, and their stems in English.
const WORDS: &[(&str, &str)] = &[
    ("run", "run"),
    ("runs", "run"),
    ("running", "run"),
    ("fox", "fox"),
    ("foxes", "fox"),
    ("quick", "quick"),
    ("quickly", "quick"),
    ("dog", "dog"),
    ("dogs", "dog"),
    ("red", "red"),
    ("7", "7"),
    ("café", "café"),
];
/// How words may begin; each is its own stem.
const BEGINNINGS: &[&str] = &["r", "ru", "fo", "qu", "d", "caf", "x"];
const BETWEEN: &[&str] = &[" ", ", ", "! ", "\n", " - "];

/// The most words of a text.
const WORDS_MAX: u64 = 7;

/// A text.
pub(super) fn text(random: &mut Stream) -> String {
    let mut text = String::new();
    for place in 0..random.below(WORDS_MAX + 1) {
        if place > 0 {
            text.push_str(random.pick::<&str>(BETWEEN));
        }
        let word = random.pick(WORDS).0;
        match random.below(3) {
            0 => text.push_str(&word.to_uppercase()),
            _ => text.push_str(word),
        }
    }
    text
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    All,
    Any,
    Phrase,
    Prefix,
}

/// A condition on the words of a text.
#[derive(Clone, Debug)]
pub(super) struct Match {
    kind: Kind,
    words: Vec<&'static str>,
    is_english: bool,
}

impl Match {
    pub(super) fn random(random: &mut Stream, is_english: bool) -> Match {
        let kind = *random.pick(&[Kind::All, Kind::All, Kind::Any, Kind::Phrase, Kind::Prefix]);
        let mut words: Vec<&'static str> = (0..1 + random.below(3)).map(|_| random.pick(WORDS).0).collect();
        if kind == Kind::Prefix && random.percent(70) {
            words.truncate(random.below(2) as usize);
            words.push(*random.pick(BEGINNINGS));
        }
        Match { kind, words, is_english }
    }

    /// The condition on a text that `of` stands for.
    pub(super) fn text(&self, of: &str) -> String {
        let function = match self.kind {
            Kind::All => "matches",
            Kind::Any => "matchesAny",
            Kind::Phrase => "matchesPhrase",
            Kind::Prefix => "matchesPrefix",
        };
        let language = if self.is_english { ", \"english\"" } else { "" };
        format!("{function}({of}, \"{}\"{language})", self.words.join(" "))
    }

    /// Whether it holds for a text.
    pub(super) fn holds(&self, text: &str) -> bool {
        let lower = text.to_lowercase();
        let found: Vec<&str> = lower
            .split(|character: char| !character.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(|word| self.form(word))
            .collect();
        let wanted: Vec<&str> = self.words.iter().map(|word| self.form(word)).collect();
        match self.kind {
            Kind::All => wanted.iter().all(|word| found.contains(word)),
            Kind::Any => wanted.iter().any(|word| found.contains(word)),
            Kind::Phrase => found.windows(wanted.len()).any(|words| words == wanted),
            Kind::Prefix => {
                let (Some((_, whole)), Some(last)) = (wanted.split_last(), self.words.last()) else {
                    return false;
                };
                let begins = |word: &&str| word.starts_with(last) || *word == self.form(last);
                whole.iter().all(|word| found.contains(word)) && found.iter().any(begins)
            }
        }
    }

    /// A word as it is compared.
    fn form<'a>(&self, word: &'a str) -> &'a str {
        match WORDS.iter().find(|(known, _)| *known == word) {
            Some((_, stem)) if self.is_english => stem,
            _ => word,
        }
    }
}
