//! What attributes say, as the JSON of a schema file.

use syn::ext::IdentExt;
use syn::{Error, Result};

use crate::attribute::Node;

/// A table of a schema file in JSON, in the making.
#[derive(Default)]
pub(crate) struct Table {
    entries: Vec<(String, String)>,
}

impl Table {
    /// Adds an entry whose value is JSON.
    pub(crate) fn add(&mut self, word: &str, json: impl Into<String>) {
        self.entries.push((word.to_owned(), json.into()));
    }

    pub(crate) fn has(&self, word: &str) -> bool {
        self.entries.iter().any(|(known, _)| known == word)
    }

    pub(crate) fn json(&self) -> String {
        let entries = self.entries.iter().map(|(word, json)| format!("{}:{json}", quoted(word)));
        format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
    }
}

/// A text in JSON.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if u32::from(control) < 0x20 => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(control)))
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// A list in JSON.
pub(crate) fn list<Text: AsRef<str>>(elements: impl IntoIterator<Item = Text>) -> String {
    let elements: Vec<String> = elements.into_iter().map(|element| element.as_ref().to_owned()).collect();
    format!("[{}]", elements.join(","))
}

/// A value in JSON.
pub(crate) fn of_node(node: &Node) -> Result<String> {
    match node {
        Node::Text(text, _) => Ok(quoted(text)),
        Node::Bool(value, _) => Ok(value.to_string()),
        Node::Number(digits, _) => Ok(digits.clone()),
        Node::List(nodes, _) => Ok(list(nodes.iter().map(of_node).collect::<Result<Vec<_>>>()?)),
        Node::Table(entries, _) => {
            let mut table = Table::default();
            for (name, node) in entries {
                let word = name.unraw().to_string();
                if table.has(&word) {
                    return Err(Error::new(name.span(), format!("\"{word}\" stands twice")));
                }
                table.add(&word, of_node(node)?);
            }
            Ok(table.json())
        }
        Node::Path(_) => Err(Error::new(
            node.span(),
            "expected a text, a number, true, false, a list in [], or a table in {}",
        )),
    }
}
