//! The rules of fields, and of types that have rules of their own.

use syn::{Error, Result};

use crate::attribute::{Form, Item, Node, check_once, text, unknown, value, whole_number};
use crate::json::{Table, of_node, quoted};

/// The words of rules.
pub(crate) const RULES: [&str; 7] = ["min", "max", "min_length", "max_length", "pattern", "check", "of"];

/// Adds a rule to the table of a field; false for a word that is none.
pub(crate) fn add(item: &Item, table: &mut Table) -> Result<bool> {
    let name = item.name();
    match name.as_str() {
        "min" | "max" => table.add(&name, bound(item)?),
        "min_length" | "max_length" => table.add(&name, whole_number(item)?.to_string()),
        "pattern" | "check" => table.add(&name, quoted(&text(item)?.0)),
        "of" => table.add(&name, of_elements(item)?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn bound(item: &Item) -> Result<String> {
    let takes = "a number, or a text for decimals, dates and timestamps";
    match value(item, takes)? {
        node @ (Node::Number(..) | Node::Text(..)) => of_node(node),
        other => Err(Error::new(other.span(), format!("\"{}\" takes {takes}", item.name()))),
    }
}

/// The rules of a list's elements: `of(max_length = 20)`.
fn of_elements(item: &Item) -> Result<String> {
    let Form::List(items) = &item.form else {
        return Err(item.error("\"of\" takes the rules of a list's elements: of(max_length = 20)"));
    };
    check_once(items, &[])?;
    let mut table = Table::default();
    for item in items {
        if !add(item, &mut table)? {
            return Err(unknown(item, "an element of a list", &RULES));
        }
    }
    Ok(table.json())
}
