//! What a tenant, counter or sequence may be called.

use unicode_normalization::is_nfc;

use crate::error::{Code, Error, Result, shown};
use crate::limits::NAME_SIZE_BYTES_MAX;

/// Fails for a name that people could not tell from another, or that could not stand in a URL.
///
/// Any script is allowed, in Unicode's normalisation form C; no control characters, no invisible ones, no spaces at the ends, not `.` or `..`.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    let refused = |why: &str| {
        Err(Error::new(Code::TenantNameInvalid, format!("the {what} name {} {why}", shown(name))))
    };
    if name.is_empty() {
        return refused("is empty");
    }
    if name.len() > NAME_SIZE_BYTES_MAX {
        return refused(&format!("has {} bytes, the limit is {NAME_SIZE_BYTES_MAX}", name.len()));
    }
    if let Some(character) = name.chars().find(|character| character.is_control() || is_invisible(*character))
    {
        return refused(&format!("holds the character U+{:04X}, which cannot be seen", u32::from(character)));
    }
    if name.trim() != name {
        return refused("begins or ends with a space");
    }
    if matches!(name, "." | "..") {
        return refused("means something else in a path");
    }
    if !is_nfc(name) {
        return refused(
            "is not in Unicode's normalisation form C: it looks like a name that is written with other characters",
        );
    }
    Ok(())
}

/// Characters that leave no mark, or turn the direction of those around them.
fn is_invisible(character: char) -> bool {
    matches!(u32::from(character),
        0x00ad | 0x034f | 0x061c | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f | 0x2028..=0x202e
        | 0x2060..=0x206f | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xfffb | 0xe0000..=0xe0fff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_script_are_names() {
        for name in ["acme", "Sony/TriStar", "Ünïcödé", "東京", "Привет", "a..b", "..c", "émile", "🎬"]
        {
            assert!(check_name("tenant", name).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused() {
        let long = "x".repeat(10_000);
        for name in [
            "",
            ".",
            "..",
            " a",
            "a ",
            "a\0b",
            "a\nb",
            "a\u{200b}b",
            "\u{202e}a",
            "e\u{301}mile",
            "\u{feff}a",
            &long,
        ] {
            let error = check_name("tenant", name).unwrap_err();
            assert_eq!(error.code(), Code::TenantNameInvalid);
            assert!(error.detail().len() < 400);
        }
    }
}
