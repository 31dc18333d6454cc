//! `tenantry kv`.

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tenantry::RawRange;

use super::{Target, open_existing};
use crate::arguments::{KvArguments, KvCommand};
use crate::output::{Exit, Failure, Outcome, Printer};

pub(crate) async fn run(arguments: KvArguments, target: &Target, printer: Printer) -> Outcome {
    let tenant = open_existing(target).await?.tenant(&arguments.tenant).await?;
    match arguments.command {
        KvCommand::Get { key } => {
            let bytes = &unescape(&key)?;
            let value = tenant.read(|transaction| async move { transaction.raw_get(bytes).await }).await?;
            let Some(value) = value else {
                return Err(Failure::NotFound(format!("there is no key {}", escape(bytes))));
            };
            printer.document(&row(bytes, &value), || escape(&value))?;
        }
        KvCommand::Set { key, value } => {
            let (key, value) = (&unescape(&key)?, &unescape(&value)?);
            tenant.run(|transaction| async move { transaction.raw_set(key, value) }).await?;
            printer.document(&json!({ "set": row(key, value) }), || format!("{} set", escape(key)))?;
        }
        KvCommand::Clear { key } => {
            let key = &unescape(&key)?;
            tenant.run(|transaction| async move { transaction.raw_clear(key) }).await?;
            printer.document(&json!({ "cleared": escape(key) }), || format!("{} cleared", escape(key)))?;
        }
        KvCommand::Range { begin, end, prefix, limit, reverse } => {
            let mut range = match prefix {
                Some(prefix) => RawRange::prefix(&unescape(&prefix)?),
                None => RawRange::all(),
            };
            if !begin.is_empty() {
                range.begin = Bytes::from(unescape(&begin)?);
            }
            if let Some(end) = end {
                range.end = Some(Bytes::from(unescape(&end)?));
            }
            let range = &range.rows_max(limit).reverse(reverse);
            let page = tenant.read(|transaction| async move { transaction.raw_range(range).await }).await?;
            let rows: Vec<Json> = page.rows.iter().map(|(key, value)| row(key, value)).collect();
            let has_more = page.next.is_some();
            printer.document(&json!({ "rows": rows, "more": has_more }), || {
                let rows: Vec<Vec<String>> =
                    page.rows.iter().map(|(key, value)| vec![escape(key), escape(value)]).collect();
                printer.table(&["key", "value"], &rows)
            })?;
            if has_more {
                printer.note("there may be more: raise --limit, or move --begin behind the last key");
            }
        }
    }
    Ok(Exit::Done)
}

fn row(key: &[u8], value: &[u8]) -> Json {
    json!({ "key": escape(key), "value": escape(value) })
}

/// Bytes as text: what is not printable, and the backslash, as an escape.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                character if character.is_control() => {
                    let mut buffer = [0; 4];
                    character
                        .encode_utf8(&mut buffer)
                        .bytes()
                        .for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
                }
                character => text.push(character),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

fn unescape(text: &str) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match behind {
            [b'\\', after @ ..] => {
                bytes.push(b'\\');
                rest = after;
            }
            [b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |digit: u8| (digit as char).to_digit(16).unwrap_or_default() as u8;
                bytes.push(digit(*high) * 16 + digit(*low));
                rest = after;
            }
            _ => {
                let detail = "in a key or value, a backslash is written \\\\ and any byte \\xNN";
                return Err(Failure::Usage(detail.to_owned()));
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_can_be_written_and_read() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&escape(&all)).unwrap(), all);
        assert_eq!(escape("é\n\\".as_bytes()), "é\\x0a\\\\");
        for text in ["\\", "\\x", "\\x0", "\\xzz", "\\n"] {
            assert!(unescape(text).is_err());
        }
    }
}
