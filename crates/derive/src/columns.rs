//! The columns of indexes, checked against the fields as far as that can be without reading expressions.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::{Error, Result};

use crate::attribute::{Item, Node, value};
use crate::json::{Table, list, of_node, quoted};
use crate::names::is_name;

/// The names of a record's fields.
pub(crate) struct Known(pub(crate) Vec<String>);

impl Known {
    /// Fails for what is no field.
    pub(crate) fn check(&self, name: &str, span: Span) -> Result<()> {
        match self.0.iter().any(|known| known == name) {
            true => Ok(()),
            false => {
                let known = self.0.join(", ");
                Err(Error::new(span, format!("the record has no field \"{name}\"; there are {known}")))
            }
        }
    }

    /// Fails for a column that is a name and no field. Whether an expression fits is told when the schema is built.
    fn check_column(&self, text: &str, span: Span) -> Result<()> {
        let without_direction = match text.rsplit_once(':') {
            Some((column, "asc" | "desc")) => column,
            _ => text,
        };
        let first = without_direction.split('.').next().unwrap_or_default();
        match without_direction.split('.').all(is_name) {
            true => self.check(first, span),
            false => Ok(()),
        }
    }

    /// The columns of a list, in JSON.
    pub(crate) fn columns(&self, item: &Item) -> Result<String> {
        let takes = "a list of columns: [\"account\", \"due:desc\", { each = \"tags\" }]";
        match value(item, takes)? {
            Node::List(nodes, _) => {
                let columns = nodes.iter().map(|node| self.column(node)).collect::<Result<Vec<_>>>()?;
                Ok(list(columns))
            }
            other => Err(Error::new(other.span(), format!("\"{}\" takes {takes}", item.name()))),
        }
    }

    /// A column, in JSON.
    pub(crate) fn column(&self, node: &Node) -> Result<String> {
        match node {
            Node::Text(text, span) => {
                self.check_column(text, *span)?;
                Ok(quoted(text))
            }
            Node::Table(entries, _) => {
                let mut table = Table::default();
                for (name, node) in entries {
                    let word = name.unraw().to_string();
                    match (word.as_str(), node) {
                        ("field" | "each", Node::Text(text, span)) => self.check_column(text, *span)?,
                        ("order" | "missing", Node::Text(..)) => {}
                        ("field" | "each" | "order" | "missing", other) => {
                            return Err(Error::new(other.span(), format!("\"{word}\" takes a text")));
                        }
                        _ => {
                            let known = "field, each, order, missing";
                            let message = format!("a column has no word \"{word}\"; there are {known}");
                            return Err(Error::new(name.span(), message));
                        }
                    }
                    table.add(&word, of_node(node)?);
                }
                Ok(table.json())
            }
            other => Err(Error::new(
                other.span(),
                "a column is a text (\"due:desc\", \"lower(email)\") or a table ({ each = \"tags\" })",
            )),
        }
    }
}
