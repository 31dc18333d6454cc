//! `#[derive(Record)]`.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, Generics, Result};

use crate::attribute::{self, Item, check_once, text, texts, unknown, whole_number};
use crate::columns::Known;
use crate::field::{self, Field, Owner, Role};
use crate::index::{self, Index, Reference, Target};
use crate::json::{Table, list, quoted};
use crate::names;

const WORDS: [&str; 7] = ["name", "id", "primary_key", "index", "reference", "check", "crate"];
/// As many as a schema may have columns in a key.
const KEY_FIELDS_MAX: usize = 16;

/// What a struct says of itself.
struct Record {
    name: String,
    id: Option<u64>,
    fields: Vec<Field>,
    key: Vec<usize>,
    indexes: Vec<Index>,
    references: Vec<Reference>,
    checks: Vec<(String, String)>,
}

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let items = attribute::read(&input.attrs)?;
    let module = module(&items)?;
    let record = read(input, items)?;
    let (ident, name) = (&input.ident, &record.name);
    let (key_type, key) = record.key();
    let definition = record.definition(&module);
    let taken = record.fields.iter().map(|field| field.taken(&module));
    let put = record.fields.iter().map(|field| field.put(&module));
    Ok(quote! {
        #[automatically_derived]
        impl #module::TypedRecord for #ident {
            const NAME: &'static str = #name;
            type Key = #key_type;

            fn definition() -> #module::Result<#module::TypeDefinition> {
                #definition
            }

            fn key(&self) -> Self::Key {
                #key
            }

            fn take(fields: &mut #module::Fields) -> ::core::result::Result<Self, #module::Misfit> {
                ::core::result::Result::Ok(#ident { #(#taken)* })
            }

            fn put(&self, fields: &mut #module::Fields) -> ::core::result::Result<(), #module::Misfit> {
                #(#put)*
                ::core::result::Result::Ok(())
            }
        }
    })
}

/// Where the generated code finds what it needs: `crate = "path"` for those who take it from elsewhere.
pub(crate) fn module(items: &[Item]) -> Result<TokenStream> {
    match items.iter().find(|item| item.name() == "crate") {
        None => Ok(quote!(::tenantry::typed)),
        Some(item) => {
            let (path, span) = text(item)?;
            let path: syn::Path =
                syn::parse_str(&path).map_err(|_| Error::new(span, "\"crate\" takes a path"))?;
            Ok(quote!(#path::typed))
        }
    }
}

pub(crate) fn check_no_generics(generics: &Generics, what: &str) -> Result<()> {
    match generics.params.first() {
        None => Ok(()),
        Some(parameter) => Err(Error::new(
            parameter.span(),
            format!(
                "{what} has no parameters: its fields own what they hold, and each type stands in a schema by itself"
            ),
        )),
    }
}

fn read(input: &DeriveInput, items: Vec<Item>) -> Result<Record> {
    check_no_generics(&input.generics, "a record")?;
    let named = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(named) => &named.named,
            _ => return Err(Error::new(input.ident.span(), "a record is a struct whose fields have names")),
        },
        _ => {
            return Err(Error::new(
                input.ident.span(),
                "a record is a struct; an enum without data is a value: #[derive(Value)]",
            ));
        }
    };
    let fields = field::read_all(named, Owner::Record)?;
    check_once(&items, &["index", "reference", "check"])?;
    let known = Known(
        fields.iter().filter(|field| field.role == Role::Stored).map(|field| field.name.clone()).collect(),
    );
    let mut record = Record {
        name: names::snake_case(&names::of_field(&input.ident)),
        id: None,
        key: Vec::new(),
        indexes: Vec::new(),
        references: Vec::new(),
        checks: Vec::new(),
        fields,
    };
    let mut key_names = None;
    let mut found_checks: Vec<(String, Span, String)> = Vec::new();
    for item in &items {
        match item.name().as_str() {
            "name" => record.name = names::given(item)?,
            "id" => record.id = Some(whole_number(item)?),
            "primary_key" => key_names = Some((texts(item)?, item)),
            "index" => record.indexes.push(index::index(item, &known, None, false)?),
            "reference" => record.references.push(index::reference(item, &known, None)?),
            "check" => found_checks.extend(index::checks(item)?),
            "crate" => {}
            _ => return Err(unknown(item, "a record", &WORDS)),
        }
    }
    names::check(&record.name, input.ident.span())?;
    record.read_of_fields(&known)?;
    record.key = read_key(&record.fields, key_names, input.ident.span())?;
    check_names("checks", found_checks.iter().map(|(name, span, _)| (name, *span)))?;
    check_names("indexes", record.indexes.iter().map(|index| (&index.name, index.span)))?;
    check_names("references", record.references.iter().map(|reference| (&reference.name, reference.span)))?;
    record.checks = found_checks.into_iter().map(|(name, _, check)| (name, check)).collect();
    Ok(record)
}

/// The places of the fields of the primary key, in its order.
fn read_key(fields: &[Field], named: Option<(Vec<(String, Span)>, &Item)>, span: Span) -> Result<Vec<usize>> {
    let marked: Vec<usize> =
        fields.iter().enumerate().filter(|(_, field)| field.is_key).map(|(place, _)| place).collect();
    let key = match named {
        None => marked,
        Some((_, item)) if !marked.is_empty() => {
            return Err(item.error("the primary key is said twice: here and at a field"));
        }
        Some((names, _)) => {
            let mut key = Vec::new();
            for (name, span) in names {
                let place = fields.iter().position(|field| field.role == Role::Stored && field.name == name);
                match place {
                    Some(place) if key.contains(&place) => {
                        return Err(Error::new(span, format!("\"{name}\" stands twice in the primary key")));
                    }
                    Some(place) => key.push(place),
                    None => {
                        return Err(Error::new(
                            span,
                            format!("the record has no field \"{name}\" for its primary key"),
                        ));
                    }
                }
            }
            key
        }
    };
    match key.len() {
        0 => Err(Error::new(
            span,
            "a record has a primary key: #[record(primary_key)] at its fields, or #[record(primary_key = [\"account\", \"id\"])] at the struct",
        )),
        found if found > KEY_FIELDS_MAX => Err(Error::new(
            span,
            format!("the primary key has {found} fields: it has up to {KEY_FIELDS_MAX}"),
        )),
        _ => Ok(key),
    }
}

/// Fails for a name that stands twice.
fn check_names<'a>(what: &str, named: impl Iterator<Item = (&'a String, Span)>) -> Result<()> {
    let mut seen: Vec<&String> = Vec::new();
    for (name, span) in named {
        if seen.contains(&name) {
            return Err(Error::new(
                span,
                format!("two {what} have the name \"{name}\": give one another name, first in its brackets"),
            ));
        }
        seen.push(name);
    }
    Ok(())
}

impl Record {
    /// Adds the indexes and references that stand at fields, in the order of the fields.
    fn read_of_fields(&mut self, known: &Known) -> Result<()> {
        for field in &self.fields {
            for item in &field.rest {
                match item.name().as_str() {
                    "reference" => {
                        self.references.push(index::reference(item, known, Some(&field.name))?);
                    }
                    word => {
                        let is_unique = word == "unique";
                        self.indexes.push(index::index(item, known, Some(&field.name), is_unique)?);
                    }
                }
            }
        }
        Ok(())
    }

    /// The key's type, and the expression that makes it.
    fn key(&self) -> (TokenStream, TokenStream) {
        let fields: Vec<&Field> = self.key.iter().map(|place| &self.fields[*place]).collect();
        let types = fields.iter().map(|field| &field.rust_type);
        let values = fields.iter().map(|field| {
            let ident = &field.ident;
            quote!(::core::clone::Clone::clone(&self.#ident))
        });
        match fields.len() {
            1 => (quote!(#(#types)*), quote!(#(#values)*)),
            _ => (quote!((#(#types),*)), quote!((#(#values),*))),
        }
    }

    fn definition(&self, module: &TokenStream) -> TokenStream {
        let name = &self.name;
        let mut table = Table::default();
        if let Some(id) = self.id {
            table.add("id", id.to_string());
        }
        table.add("primary_key", list(self.key.iter().map(|place| quoted(&self.fields[*place].name))));
        let table = table.json();
        let fields = self.fields.iter().filter(|field| field.role == Role::Stored).map(|field| {
            let Field { name, json, rust_type, .. } = field;
            quote_spanned! {rust_type.span()=>
                #module::TypeDefinition::field::<#rust_type>(&mut definition, #name, #json)?;
            }
        });
        let indexes = self.indexes.iter().map(|Index { name, json, .. }| {
            quote! { #module::TypeDefinition::index(&mut definition, #name, #json)?; }
        });
        let checks = self.checks.iter().map(|(name, check)| {
            quote! { #module::TypeDefinition::check(&mut definition, #name, #check)?; }
        });
        let references = self.references.iter().map(|Reference { name, to, json, .. }| {
            let to = match to {
                Target::Name(to) => quote!(#to),
                Target::Type(to) => quote_spanned!(to.span()=> <#to as #module::TypedRecord>::NAME),
            };
            quote! { #module::TypeDefinition::reference(&mut definition, #name, #to, #json)?; }
        });
        quote! {
            let mut definition = #module::TypeDefinition::of(#name, #table)?;
            #(#fields)*
            #(#indexes)*
            #(#checks)*
            #(#references)*
            ::core::result::Result::Ok(definition)
        }
    }
}
