//! Words by table; the words of every character; what no text does.

use proptest::prelude::*;
use twox_hash::XxHash3_64;

use super::*;

fn words(language: Option<Language>, text: &str) -> Vec<String> {
    Tokenizer::new(language).tokens(text).into_iter().map(|token| token.text).collect()
}

#[test]
fn texts_are_cut_into_words() {
    let cases: &[(Option<Language>, &str, &[&str])] = &[
        (None, "", &[]),
        (None, " ... -- !?", &[]),
        (None, "Hello, World!", &["hello", "world"]),
        (None, "don't can\u{2019}t", &["don't", "can't"]),
        (None, "e-mail me@example.com 3.14 1,000", &["e", "mail", "me", "example.com", "3.14", "1,000"]),
        (None, "snake_case x\u{0}y", &["snake_case", "x", "y"]),
        // Composed or not, full width or not, one form.
        (None, "Cafe\u{301} CAFÉ ｃａｆé ﬁn Ⅻ", &["café", "café", "café", "fin", "xii"]),
        (None, "ΟΔΟΣ οδος", &["οδοσ", "οδοσ"]),
        (None, "İstanbul Straße", &["istanbul", "straße"]),
        (Some(Language::Turkish), "IŞIK İYİ", &["ışık", "i"]),
        (None, "日本語 カタカナ", &["日", "本", "語", "カタカナ"]),
        (None, "한국어 текст עברית", &["한국어", "текст", "עברית"]),
        (Some(Language::English), "running runs ran generously", &["run", "run", "ran", "generous"]),
        (Some(Language::German), "Häuser Haus laufen läuft", &["haus", "haus", "lauf", "lauft"]),
        (Some(Language::French), "continuellement", &["continuel"]),
        (Some(Language::Russian), "книги книга", &["книг", "книг"]),
    ];
    for (language, text, expected) in cases {
        assert_eq!(words(*language, text), *expected, "{text:?} {language:?}");
    }
    let positions: Vec<u32> =
        Tokenizer::new(None).tokens("a b - a").iter().map(|token| token.position).collect();
    assert_eq!(positions, [0, 1, 2]);
}

#[test]
fn words_and_texts_are_bounded() {
    let long = "ä".repeat(1_000);
    let found = words(None, &long);
    assert_eq!(found, ["ä".repeat(TOKEN_SIZE_BYTES_MAX / 2)]);
    assert_eq!(words(Some(Language::English), &"a".repeat(1_000_000))[0].len(), TOKEN_SIZE_BYTES_MAX);
    assert_eq!(words(None, &"a ".repeat(TEXT_TOKENS_MAX + 1)).len(), TEXT_TOKENS_MAX);
    let error = TextQuery::new(MatchKind::Any, Tokenizer::new(None), &"a ".repeat(1_000)).unwrap_err();
    assert_eq!(error.code(), crate::error::Code::LimitPassed);
}

/// Words stand in indexes: a change here is a new version of the tokenizer, never an edit of this number.
#[test]
fn the_words_of_every_character_are_those_of_this_version() {
    let mut hash = 0u64;
    for code in 0..=0x0010_ffff {
        let Some(character) = char::from_u32(code) else { continue };
        let text = format!("a{character}b {character}");
        let found = words(None, &text).join("|");
        hash = XxHash3_64::oneshot_with_seed(hash, found.as_bytes());
    }
    assert_eq!((Tokenizer::VERSION, hash), (1, 14_740_468_543_515_541_424));
}

#[test]
fn languages_have_names() {
    for language in Language::ALL {
        assert_eq!(Language::of_name(language.name()), Some(*language));
        assert_eq!(language.name(), format!("{language:?}").to_lowercase());
    }
    assert_eq!(Language::of_name("klingon"), None);
}

#[test]
fn matches_are_of_words() {
    use MatchKind::{All, Any, Phrase, Prefix};
    let text = "The quick brown fox; the quick red fox jumps over running dogs.";
    let english = Some(Language::English);
    let cases = [
        (All, None, "fox QUICK", true),
        (All, None, "fox wolf", false),
        (All, None, "jump", false),
        (All, english, "jumped dog", true),
        (Any, None, "wolf, fox", true),
        (Any, None, "wolf bear", false),
        (Phrase, None, "quick brown fox", true),
        (Phrase, None, "quick red FOX jumps", true),
        (Phrase, None, "quick fox", false),
        (Phrase, None, "the quick red", true),
        (Phrase, None, "dogs", true),
        (Phrase, None, "dogs the", false),
        (Phrase, english, "runs dog", true),
        (Prefix, None, "jum", true),
        (Prefix, None, "fox jum", true),
        (Prefix, None, "jum fox", false),
        (Prefix, None, "umps", false),
        (Prefix, english, "runn", false),
        (Prefix, english, "running", true),
        (Prefix, english, "ru", true),
    ];
    for (kind, language, wanted, expected) in cases {
        let query = TextQuery::new(kind, Tokenizer::new(language), wanted).unwrap();
        assert_eq!(query.matches(text), expected, "{kind:?} {wanted:?} {language:?}");
        assert!(!query.matches(""));
    }
    assert!(TextQuery::new(Any, Tokenizer::new(None), " - ").is_err());
    let query = TextQuery::new(Phrase, Tokenizer::new(None), "a a b").unwrap();
    assert!(query.matches("a a a b") && !query.matches("a b a b"));
}

proptest! {
    /// No text makes a stemmer panic, and words keep within their bounds.
    #[test]
    fn every_text_has_words(text in any::<String>(), word in "\\p{L}{0,12}", picked in 0..Language::ALL.len()) {
        let tokenizer = Tokenizer::new(Some(Language::ALL[picked]));
        for text in [&text, &word, &format!("{word} {text}{word}")] {
            for token in tokenizer.tokens(text) {
                prop_assert!(!token.text.is_empty() && token.text.len() <= TOKEN_SIZE_BYTES_MAX);
            }
        }
    }

    /// Every text has its own words, in every kind of match.
    #[test]
    fn a_text_matches_itself(text in "[a-zäöüß .,']{1,40}", picked in 0..=Language::ALL.len()) {
        let tokenizer = Tokenizer::new(Language::ALL.get(picked).copied());
        for kind in [MatchKind::All, MatchKind::Any, MatchKind::Phrase, MatchKind::Prefix] {
            if let Ok(query) = TextQuery::new(kind, tokenizer, &text) {
                prop_assert!(query.matches(&text), "{:?} {:?}", kind, text);
                prop_assert!(query.matches(&format!("before {text} behind")), "{:?} {:?}", kind, text);
            }
        }
    }
}
