//! Indexes, references and checks.

use proc_macro2::Span;
use syn::{Error, Path, Result};

use crate::attribute::{Form, Item, Node, check_once, flag, text, texts, unknown, value, whole_number};
use crate::columns::Known;
use crate::json::{Table, list, quoted};
use crate::names;

/// The kinds of index that a schema can name.
const KINDS: [&str; 9] = ["value", "count", "sum", "min", "max", "rank", "version", "text", "time_to_live"];

const INDEX_WORDS: [&str; 13] = [
    "id",
    "kind",
    "group",
    "fields",
    "of",
    "covering",
    "where",
    "unique",
    "hashed",
    "missing",
    "language",
    "tokenizer_version",
    "after_s",
];

/// An index: its name and its table in JSON.
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) span: Span,
    pub(crate) json: String,
}

/// The items in the brackets of a word, and the name that comes first among them, if there is one.
fn named<'a>(item: &'a Item, words: &[&str]) -> Result<(Option<(String, Span)>, &'a [Item])> {
    let items = match &item.form {
        Form::List(items) => items.as_slice(),
        Form::Word => &[],
        Form::Equals(_) => {
            let name = item.name();
            return Err(item.error(format!("\"{name}\" takes brackets: {name}(NAME, ...)")));
        }
    };
    match items.split_first() {
        Some((first, rest))
            if matches!(first.form, Form::Word) && !words.contains(&first.name().as_str()) =>
        {
            names::check(&first.name(), first.word.span())?;
            check_once(rest, &[])?;
            Ok((Some((first.name(), first.word.span())), rest))
        }
        _ => {
            check_once(items, &[])?;
            Ok((None, items))
        }
    }
}

/// Reads `index(NAME, ...)` of a record, or of the field whose name is `of_field`; `is_unique` for `unique(...)`.
pub(crate) fn index(item: &Item, known: &Known, of_field: Option<&str>, is_unique: bool) -> Result<Index> {
    let (name, items) = named(item, &INDEX_WORDS)?;
    let mut table = Table::default();
    let mut kind = "value".to_owned();
    for item in items {
        let word = item.name();
        match word.as_str() {
            "kind" => kind = known_kind(item)?,
            "id" | "after_s" | "tokenizer_version" => table.add(&word, whole_number(item)?.to_string()),
            "group" | "fields" => table.add(&word, known.columns(item)?),
            "of" => table.add(&word, known.column(value(item, "a column")?)?),
            "covering" => table.add(&word, field_names(item, known)?),
            "where" | "language" => table.add(&word, quoted(&text(item)?.0)),
            "missing" => table.add(&word, quoted(&one_of(item, &["distinct", "equal"])?)),
            "unique" if !is_unique => table.add(&word, flag(item)?.to_string()),
            "hashed" => table.add(&word, flag(item)?.to_string()),
            _ => return Err(unknown(item, "an index", &INDEX_WORDS)),
        }
    }
    if kind != "value" {
        table.add("kind", quoted(&kind));
    }
    if is_unique {
        table.add("unique", "true");
    }
    if let Some(field) = of_field {
        let (word, json) = match kind.as_str() {
            "sum" | "min" | "max" => ("of", quoted(field)),
            "count" => ("group", list([quoted(field)])),
            "version" => return Err(item.error("an index of kind version is the record's, not a field's")),
            _ => ("fields", list([quoted(field)])),
        };
        if !table.has(word) {
            table.add(word, json);
        }
    }
    let name = name.or_else(|| of_field.map(|field| (format!("by_{field}"), item.word.span())));
    match name {
        Some((name, span)) => Ok(Index { name, span, json: table.json() }),
        None => Err(item.error("an index has a name first: index(by_name, fields = [\"name\"])")),
    }
}

fn known_kind(item: &Item) -> Result<String> {
    one_of(item, &KINDS)
}

/// A text that is one of some.
fn one_of(item: &Item, known: &[&str]) -> Result<String> {
    let (found, span) = text(item)?;
    match known.contains(&found.as_str()) {
        true => Ok(found),
        false => {
            let message = format!("\"{}\" is \"{found}\"; there are {}", item.name(), known.join(", "));
            Err(Error::new(span, message))
        }
    }
}

/// A list of names of fields, in JSON.
fn field_names(item: &Item, known: &Known) -> Result<String> {
    let found = texts(item)?;
    for (name, span) in &found {
        known.check(name, *span)?;
    }
    Ok(list(found.iter().map(|(name, _)| quoted(name))))
}

/// A reference: its name, the type that it is to, and the rest of its table in JSON.
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) span: Span,
    pub(crate) to: Target,
    pub(crate) json: String,
}

/// The record type that a reference is to.
pub(crate) enum Target {
    Name(String),
    Type(Path),
}

const REFERENCE_WORDS: [&str; 3] = ["to", "fields", "on_delete"];

/// Reads `reference(NAME, ...)` of a record, or of the field whose name is `of_field`.
pub(crate) fn reference(item: &Item, known: &Known, of_field: Option<&str>) -> Result<Reference> {
    let (name, items) = named(item, &REFERENCE_WORDS)?;
    let (mut table, mut to) = (Table::default(), None);
    for item in items {
        let word = item.name();
        match word.as_str() {
            "to" => to = Some(target(item)?),
            "fields" => table.add(&word, field_names(item, known)?),
            "on_delete" => {
                table.add(&word, quoted(&one_of(item, &["restrict", "cascade", "set_null"])?));
            }
            _ => return Err(unknown(item, "a reference", &REFERENCE_WORDS)),
        }
    }
    match of_field {
        Some(field) if !table.has("fields") => table.add("fields", list([quoted(field)])),
        None if !table.has("fields") => {
            return Err(item.error("a reference names its fields: fields = [\"account\"]"));
        }
        _ => {}
    }
    let name = name.or_else(|| of_field.map(|field| (field.to_owned(), item.word.span())));
    match (name, to) {
        (Some((name, span)), Some(to)) => Ok(Reference { name, span, to, json: table.json() }),
        (None, _) => {
            Err(item.error("a reference has a name first: reference(owner, fields = [\"owner\"], to = User)"))
        }
        (_, None) => Err(item.error("a reference is to a record type: to = User, or to = \"user\"")),
    }
}

fn target(item: &Item) -> Result<Target> {
    let takes = "a struct with #[derive(Record)], or a record type's name as a text";
    match value(item, takes)? {
        Node::Path(path) => Ok(Target::Type(path.clone())),
        Node::Text(name, span) => {
            names::check(name, *span)?;
            Ok(Target::Name(name.clone()))
        }
        other => Err(Error::new(other.span(), format!("\"to\" takes {takes}"))),
    }
}

/// Reads `check(NAME = "expression")` of a record.
pub(crate) fn checks(item: &Item) -> Result<Vec<(String, Span, String)>> {
    let Form::List(items) = &item.form else {
        return Err(item.error("\"check\" of a record takes a name: check(dates = \"ends >= begins\")"));
    };
    items
        .iter()
        .map(|item| {
            let name = item.name();
            names::check(&name, item.word.span())?;
            Ok((name, item.word.span(), text(item)?.0))
        })
        .collect()
}
