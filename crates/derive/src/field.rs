//! A field of a record or struct.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::quote_spanned;
use syn::spanned::Spanned;
use syn::{Error, Ident, Result, Type};

use crate::attribute::{self, Item, alone, check_once, unknown, value, whole_number};
use crate::json::{Table, of_node};
use crate::names;
use crate::rules;

/// What a field is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It stands in the record.
    Stored,
    /// It takes the version of a record that was read.
    Version,
    /// It is nobody's concern: read as its type's default.
    Skipped,
}

pub(crate) struct Field {
    pub(crate) ident: Ident,
    pub(crate) rust_type: Type,
    /// Its name in the schema.
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) is_key: bool,
    pub(crate) has_default: bool,
    /// Its table in the schema, but for the type.
    pub(crate) json: String,
    /// What makes indexes and references.
    pub(crate) rest: Vec<Item>,
}

/// Whether the field is a record's or that of a struct in one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Record,
    Struct,
}

const STRUCT_WORDS: [&str; 11] =
    ["name", "id", "default", "min", "max", "min_length", "max_length", "pattern", "check", "of", "skip"];
const RECORD_WORDS: [&str; 16] = [
    "primary_key",
    "name",
    "id",
    "default",
    "min",
    "max",
    "min_length",
    "max_length",
    "pattern",
    "check",
    "of",
    "index",
    "unique",
    "reference",
    "version",
    "skip",
];

impl Field {
    pub(crate) fn read(field: &syn::Field, owner: Owner) -> Result<Field> {
        let Some(ident) = field.ident.clone() else {
            return Err(Error::new(field.span(), "a field has a name"));
        };
        let items = attribute::read(&field.attrs)?;
        check_once(&items, &["index", "unique", "reference"])?;
        let mut read = Field {
            name: names::of_field(&ident),
            rust_type: field.ty.clone(),
            role: Role::Stored,
            is_key: false,
            has_default: false,
            json: String::new(),
            rest: Vec::new(),
            ident,
        };
        let mut table = Table::default();
        for item in items {
            let word = item.name();
            match (word.as_str(), owner) {
                ("name", _) => read.name = names::given(&item)?,
                ("id", _) => table.add("id", whole_number(&item)?.to_string()),
                ("default", _) => {
                    table.add("default", of_node(value(&item, "a value")?)?);
                    read.has_default = true;
                }
                ("skip", _) => read.set_role(Role::Skipped, &item)?,
                ("version", Owner::Record) => read.set_role(Role::Version, &item)?,
                ("primary_key", Owner::Record) => {
                    alone(&item)?;
                    read.is_key = true;
                }
                ("index" | "unique" | "reference", Owner::Record) => read.rest.push(item),
                (_, owner) => {
                    if !rules::add(&item, &mut table)? {
                        let (what, known): (_, &[&str]) = match owner {
                            Owner::Record => ("a field of a record", &RECORD_WORDS),
                            Owner::Struct => ("a field of a struct", &STRUCT_WORDS),
                        };
                        return Err(unknown(&item, what, known));
                    }
                }
            }
        }
        read.json = table.json();
        read.check_role(&table)?;
        Ok(read)
    }

    fn set_role(&mut self, role: Role, item: &Item) -> Result<()> {
        alone(item)?;
        if self.role != Role::Stored {
            return Err(item.error("a field has either \"version\" or \"skip\""));
        }
        self.role = role;
        Ok(())
    }

    /// Fails for a field that does not stand in the record and has words for one that does.
    fn check_role(&self, table: &Table) -> Result<()> {
        let is_stored = self.role == Role::Stored;
        let has_words = self.is_key || table.json() != "{}" || !self.rest.is_empty();
        if !is_stored && has_words {
            return Err(Error::new(
                self.span(),
                "a field with \"version\" or \"skip\" does not stand in the record: it has no other words",
            ));
        }
        if is_stored {
            names::check(&self.name, self.span())?;
        }
        Ok(())
    }

    pub(crate) fn span(&self) -> Span {
        self.ident.span()
    }

    /// `ident: ...,` of the struct that is read.
    pub(crate) fn taken(&self, module: &TokenStream) -> TokenStream {
        let (ident, name, rust_type) = (&self.ident, &self.name, &self.rust_type);
        match self.role {
            Role::Stored => {
                quote_spanned! {rust_type.span()=> #ident: #module::Fields::take::<#rust_type>(fields, #name)?, }
            }
            Role::Version => {
                let module = located(module, rust_type.span());
                quote_spanned! {rust_type.span()=> #ident: #module::Fields::version(fields), }
            }
            Role::Skipped => {
                quote_spanned! {rust_type.span()=> #ident: ::core::default::Default::default(), }
            }
        }
    }

    /// The statement that writes it.
    pub(crate) fn put(&self, module: &TokenStream) -> TokenStream {
        let Field { ident, name, rust_type, has_default, .. } = self;
        match self.role {
            Role::Stored => quote_spanned! {rust_type.span()=>
                #module::Fields::set::<#rust_type>(fields, #name, &self.#ident, #has_default)?;
            },
            _ => TokenStream::new(),
        }
    }
}

/// The tokens at another place: an expression that begins elsewhere is told of at the derive.
fn located(tokens: &TokenStream, span: Span) -> TokenStream {
    let located = |mut token: TokenTree| {
        token.set_span(span);
        token
    };
    tokens.clone().into_iter().map(located).collect()
}

/// Reads the fields, each name once.
pub(crate) fn read_all<'a>(
    fields: impl IntoIterator<Item = &'a syn::Field>,
    owner: Owner,
) -> Result<Vec<Field>> {
    let mut read: Vec<Field> = Vec::new();
    for field in fields {
        let field = Field::read(field, owner)?;
        let is_stored = |other: &&Field| other.role == Role::Stored && field.role == Role::Stored;
        if let Some(same) = read.iter().filter(is_stored).find(|other| other.name == field.name) {
            let message = format!("the field {} has the name \"{}\" as well", same.ident, field.name);
            return Err(Error::new(field.span(), message));
        }
        read.push(field);
    }
    Ok(read)
}
