//! `#[derive(Record)]` and `#[derive(Value)]`: structs as record types, structs and enums as the values of fields.
//!
//! Users take them from the crate `tenantry`. What an attribute can say has the words of a schema file, which `docs/derive.md` lists; what is not one of them is a
//! compile error at the word, with the words that there are.
//!
//! The macros know names and words alone. What the words mean, and whether they fit together, is for the record layer to say when the schema is built: it reads what
//! a struct says of itself as it reads a file.
#![forbid(unsafe_code)]

mod attribute;
mod columns;
mod field;
mod index;
mod json;
mod names;
mod record;
mod rules;
#[cfg(test)]
mod tests;
mod value;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct a record type. See the guide and `docs/derive.md` of Tenantry.
#[proc_macro_derive(Record, attributes(record))]
pub fn derive_record(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    record::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a struct, an enum without data or a newtype the value of a field. See the guide and `docs/derive.md` of Tenantry.
#[proc_macro_derive(Value, attributes(record))]
pub fn derive_value(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    value::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
