//! What a text may hold before the parser sees it. The parser recurses over brackets, signs and operators in a row: how deep is bounded here, by a walk that
//! knows just enough of the language.

use super::{invalid, unsupported};
use crate::error::{Result, limit};
use crate::limits::{EXPRESSION_CHAIN_MAX, EXPRESSION_DEPTH_MAX, EXPRESSION_SIZE_BYTES_MAX};

/// What is open: the whole text, or a bracket in it.
#[derive(Default)]
struct Level {
    /// How deep the operators in a row nest, with what is in the brackets between them.
    height: usize,
    /// The same of what a comma, `&&` or `||` has ended.
    height_max: usize,
}

impl Level {
    fn end_chain(&mut self) {
        self.height_max = self.height_max.max(self.height);
        self.height = 0;
    }
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    level: Level,
    outer: Vec<Level>,
    /// Signs in a row.
    signs: usize,
    conditionals: usize,
    /// Whether a value has just ended, so that a minus is an operator and no sign.
    is_behind_value: bool,
}

/// Fails for a text that is too long or too deep for the parser, or that hides how deep it is.
pub(super) fn check(text: &str) -> Result<()> {
    if text.len() > EXPRESSION_SIZE_BYTES_MAX {
        return Err(limit("the bytes of an expression", text.len(), EXPRESSION_SIZE_BYTES_MAX));
    }
    let mut walk = Walk {
        bytes: text.as_bytes(),
        at: 0,
        level: Level::default(),
        outer: Vec::new(),
        signs: 0,
        conditionals: 0,
        is_behind_value: false,
    };
    while let Some(byte) = walk.bytes.get(walk.at).copied() {
        walk.step(byte)?;
    }
    walk.check_height()
}

impl Walk<'_> {
    fn step(&mut self, byte: u8) -> Result<()> {
        let next = self.bytes.get(self.at + 1).copied();
        self.at += 1;
        match byte {
            b'"' | b'\'' => {
                self.at = end_of_text(self.bytes, self.at - 1)? + 1;
                self.value_ends();
            }
            b'/' if next == Some(b'/') => return Err(unsupported("a comment")),
            b'$' => return Err(unsupported("a $: a parameter is written param.NAME, and")),
            b'(' | b'[' | b'{' => self.open()?,
            b')' | b']' | b'}' => self.close(),
            b',' | b'&' | b'|' | b':' => self.end_chain(),
            b'?' => {
                self.conditionals += 1;
                check_depth(self.conditionals)?;
                self.end_chain();
            }
            b'=' | b'<' | b'>' | b'!' if next == Some(b'=') => {
                self.at += 1;
                self.operator()?;
            }
            b'-' if self.is_behind_value => self.operator()?,
            b'-' | b'!' => {
                self.signs += 1;
                check_depth(self.signs)?;
            }
            b'+' | b'*' | b'/' | b'%' | b'=' | b'<' | b'>' | b'.' => self.operator()?,
            byte if byte.is_ascii_alphanumeric() || byte == b'_' => self.word()?,
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self) -> Result<()> {
        self.signs = 0;
        self.is_behind_value = false;
        self.outer.push(std::mem::take(&mut self.level));
        check_depth(self.outer.len())
    }

    fn close(&mut self) {
        self.value_ends();
        self.level.end_chain();
        // A bracket too many is for the parser to tell.
        if let Some(outer) = self.outer.pop() {
            let inner = std::mem::replace(&mut self.level, outer);
            self.level.height = self.level.height.max(inner.height_max + 1);
        }
    }

    fn end_chain(&mut self) {
        self.signs = 0;
        self.is_behind_value = false;
        self.level.end_chain();
    }

    fn value_ends(&mut self) {
        self.signs = 0;
        self.is_behind_value = true;
    }

    fn operator(&mut self) -> Result<()> {
        self.signs = 0;
        self.is_behind_value = false;
        self.level.height += 1;
        self.check_height()
    }

    fn check_height(&self) -> Result<()> {
        let height = self.level.height.max(self.level.height_max);
        match height <= EXPRESSION_CHAIN_MAX {
            true => Ok(()),
            false => Err(limit("the operators in a row of an expression", height, EXPRESSION_CHAIN_MAX)),
        }
    }

    /// A name or a number with its fraction, or the operator `in`.
    fn word(&mut self) -> Result<()> {
        let begin = self.at - 1;
        let is_number = self.bytes[begin].is_ascii_digit();
        while let Some(byte) = self.bytes.get(self.at) {
            let is_fraction =
                is_number && *byte == b'.' && self.bytes.get(self.at + 1).is_some_and(u8::is_ascii_digit);
            if !byte.is_ascii_alphanumeric() && *byte != b'_' && !is_fraction {
                break;
            }
            self.at += 1;
        }
        match &self.bytes[begin..self.at] {
            b"in" => self.operator(),
            _ => {
                self.value_ends();
                Ok(())
            }
        }
    }
}

fn check_depth(depth: usize) -> Result<()> {
    match depth <= EXPRESSION_DEPTH_MAX {
        true => Ok(()),
        false => Err(limit("the depth of an expression", depth, EXPRESSION_DEPTH_MAX)),
    }
}

/// The place of the quote that ends the text that begins at a place.
fn end_of_text(bytes: &[u8], begin: usize) -> Result<usize> {
    let refused = |what: &str| Err(invalid(format!("the text in quotes at byte {begin} {what}")));
    let quote = bytes[begin];
    // Quotes of these kinds end elsewhere than this walk would think.
    if bytes[begin..].starts_with(&[quote; 3]) {
        return Err(unsupported("a text in triple quotes"));
    }
    if begin > 0 && matches!(bytes[begin - 1], b'r' | b'R') {
        return Err(unsupported("a raw text (r\"...\")"));
    }
    let mut at = begin + 1;
    loop {
        match bytes.get(at) {
            None => return refused("has no end"),
            Some(b'\n' | b'\r') => return refused("goes over the end of its line: write \\n"),
            Some(byte) if *byte == quote => return Ok(at),
            Some(b'\\') => match size_of_escape(&bytes[at + 1..]) {
                Some(size) => at += 1 + size,
                None => return refused("has a \\ before what cannot be escaped: write \\\\"),
            },
            Some(_) => at += 1,
        }
    }
}

/// How many bytes an escape has behind its backslash.
fn size_of_escape(bytes: &[u8]) -> Option<usize> {
    let digits = match bytes.first()? {
        b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`' => {
            return Some(1);
        }
        b'x' | b'X' => 2,
        b'u' => 4,
        b'U' => 8,
        b'0'..=b'3' => {
            let is_octal = bytes.len() >= 3 && bytes[1..3].iter().all(|digit| matches!(digit, b'0'..=b'7'));
            return is_octal.then_some(3);
        }
        _ => return None,
    };
    let is_whole = bytes.len() > digits && bytes[1..=digits].iter().all(u8::is_ascii_hexdigit);
    is_whole.then_some(1 + digits)
}
