//! Text indexes: for each different word of a record one entry, with its positions in the text.
//!
//! An entry has the whole primary key behind the word, so that the records of one word come in its order. Its value is the positions of the word, from 0: each as a
//! varint of how far it is behind the one before. A word of so many positions that they would take too much room has none, and an empty value.

use std::collections::BTreeMap;

use prost::encoding::encode_varint;
use tenantry_kv::tuple::Element;

use super::contributions::Contributions;
use super::{Maintainer, Subject, rest_elements};
use crate::error::Result;
use crate::index_form::{each_text, rows};
use crate::key_form;
use crate::key_space::behind;
use crate::limits::TEXT_POSITIONS_SIZE_BYTES_MAX;
use crate::schema::{Column, IndexKind};
use crate::text::Tokenizer;
use crate::value::{Name, Value};

pub(super) struct Texts;

impl Maintainer for Texts {
    fn contribute(&self, subject: &Subject<'_>, contributions: &mut Contributions) -> Result<()> {
        let index = subject.index;
        let (IndexKind::Text { tokenizer }, Some((column, group))) =
            (&index.kind, index.columns.split_last())
        else {
            return Ok(());
        };
        let words = positions_by_word(*tokenizer, column, &subject.record.values);
        let prefix = subject.keys.index(index.id)?;
        let rest = key_form::pack(&rest_elements(subject)?)?;
        for mut row in rows(group, &subject.record.values)? {
            for (word, positions) in &words {
                row.push(Element::String(word.clone()));
                let key = behind(&prefix, &behind(&key_form::pack(&row)?, &rest));
                row.pop();
                contributions.put(key, positions.to_bytes().into(), false)?;
            }
        }
        Ok(())
    }
}

/// Where a word stands.
#[derive(Default)]
struct Positions {
    last: u64,
    deltas: Vec<u8>,
}

impl Positions {
    fn push(&mut self, position: u64) {
        // What is over the limit is not kept, so it need not grow either.
        if self.deltas.len() <= TEXT_POSITIONS_SIZE_BYTES_MAX {
            encode_varint(position - self.last, &mut self.deltas);
            self.last = position;
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        match self.deltas.len() <= TEXT_POSITIONS_SIZE_BYTES_MAX {
            true => self.deltas.clone(),
            false => Vec::new(),
        }
    }
}

/// The words of a record in their order.
fn positions_by_word(
    tokenizer: Tokenizer,
    column: &Column,
    values: &[(Name, Value)],
) -> BTreeMap<String, Positions> {
    let mut words: BTreeMap<String, Positions> = BTreeMap::new();
    let mut position = 0;
    each_text(column, values, |text| {
        tokenizer.each(text, |word| {
            words.entry(word).or_default().push(position);
            position += 1;
            true
        });
        // The last word of one element of a list and the first of the next are no neighbours.
        position += 1;
    });
    words
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use crate::schema::SchemaDefinition;

    fn words(name: &str, value: Value) -> BTreeMap<String, Vec<u8>> {
        let text = r#"
            name = "s"
            [types.t]
            primary_key = ["k"]
            fields = { k = "int", body = "string", notes = { type = "list", of = "string" } }
            [types.t.indexes]
            body = { kind = "text", fields = ["body"], language = "english" }
            notes = { kind = "text", fields = [{ each = "notes" }] }
        "#;
        let schema = SchemaDefinition::from_toml(text).unwrap();
        let index = schema.types[0].indexes.iter().find(|index| index.name == name).unwrap();
        let IndexKind::Text { tokenizer } = index.kind else { unreachable!() };
        let found = positions_by_word(tokenizer, index.columns.last().unwrap(), &[(name.into(), value)]);
        found.into_iter().map(|(word, positions)| (word, positions.to_bytes())).collect()
    }

    #[test]
    fn positions_are_kept_as_distances() {
        let found = words("body", "Runs, ran; running! run".into());
        assert_eq!(found, BTreeMap::from([("ran".to_owned(), vec![1]), ("run".to_owned(), vec![0, 2, 1])]));
        let far = format!("{}end", "a ".repeat(300));
        assert_eq!(words("body", far.as_str().into())["end"], [0xac, 2]);
        assert!(words("body", "".into()).is_empty());
        let notes = words("notes", vec![Value::from("a b"), "".into(), "b".into()].into());
        assert_eq!(notes, BTreeMap::from([("a".to_owned(), vec![0]), ("b".to_owned(), vec![1, 3])]));
    }

    #[test]
    fn too_many_positions_are_none() {
        let most = "a ".repeat(TEXT_POSITIONS_SIZE_BYTES_MAX);
        assert_eq!(words("body", most.as_str().into())["a"].len(), TEXT_POSITIONS_SIZE_BYTES_MAX);
        let more = format!("{most} a a");
        assert!(words("body", more.as_str().into())["a"].is_empty());
    }
}
