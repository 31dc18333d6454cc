//! `#[derive(Value)]`: structs in records, enums without data, newtypes.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, Ident, Result, Token, Type, Variant};

use crate::attribute::{self, Item, check_once, text, unknown, whole_number};
use crate::field::{self, Field, Owner, Role};
use crate::json::Table;
use crate::names;
use crate::record::{check_no_generics, module};
use crate::rules;

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    check_no_generics(&input.generics, "a value")?;
    let items = attribute::read(&input.attrs)?;
    check_once(&items, &[])?;
    let module = module(&items)?;
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(named) => {
                let fields = field::read_all(&named.named, Owner::Struct)?;
                let rules = own_rules(&items, "a struct in a record", &["check", "crate"])?;
                expand_struct(&input.ident, &fields, &rules, &module)
            }
            Fields::Unnamed(unnamed) if unnamed.unnamed.len() == 1 => {
                let known = ["min", "max", "min_length", "max_length", "pattern", "check", "of", "crate"];
                let rules = own_rules(&items, "a newtype", &known)?;
                Ok(expand_newtype(&input.ident, &unnamed.unnamed[0].ty, &rules, &module))
            }
            _ => Err(Error::new(
                input.ident.span(),
                "a value is a struct whose fields have names, a struct around one value, or an enum without data",
            )),
        },
        Data::Enum(data) => {
            own_rules(&items, "an enum", &["crate"])?;
            expand_enum(&input.ident, &data.variants, &module)
        }
        Data::Union(_) => Err(Error::new(input.ident.span(), "a value is a struct or an enum without data")),
    }
}

/// The rules that a type has wherever it stands.
fn own_rules(items: &[Item], what: &str, known: &[&str]) -> Result<String> {
    let mut table = Table::default();
    for item in items {
        let is_known = known.contains(&item.name().as_str());
        if !is_known || (item.name() != "crate" && !rules::add(item, &mut table)?) {
            return Err(unknown(item, what, known));
        }
    }
    Ok(table.json())
}

fn expand_struct(ident: &Ident, fields: &[Field], rules: &str, module: &TokenStream) -> Result<TokenStream> {
    let stored: Vec<&Field> = fields.iter().filter(|field| field.role == Role::Stored).collect();
    if stored.is_empty() {
        return Err(Error::new(ident.span(), "a struct in a record has a field at least"));
    }
    let type_name = ident.unraw().to_string();
    let defined = stored.iter().map(|field| {
        let Field { name, json, rust_type, .. } = field;
        quote_spanned! {rust_type.span()=>
            #module::Definition::field::<#rust_type>(definition, #name, #json, depth_left)?;
        }
    });
    let noted = stored.iter().map(|field| {
        let Field { ident, name, rust_type, has_default, .. } = field;
        quote_spanned! {rust_type.span()=>
            <#rust_type as #module::TypedField>::note_nulls(&self.#ident, place.field(#name), #has_default, nulls);
        }
    });
    let merged = stored.iter().map(|field| {
        let Field { name, rust_type, .. } = field;
        quote_spanned! {rust_type.span()=> (#name, <#rust_type as #module::TypedField>::merged as _) }
    });
    let taken = fields.iter().map(|field| field.taken(module));
    let put = fields.iter().map(|field| field.put(module));
    Ok(quote! {
        #[automatically_derived]
        impl #module::TypedValue for #ident {
            const HAS_FIELDS: bool = true;

            fn definition(depth_left: usize) -> #module::Result<#module::Definition> {
                let mut defined = #module::Definition::struct_of(depth_left, |definition, depth_left| {
                    #(#defined)*
                    ::core::result::Result::Ok(())
                })?;
                #module::Definition::refine(&mut defined, #rules, #type_name)?;
                ::core::result::Result::Ok(defined)
            }

            fn to_value(&self) -> ::core::result::Result<#module::Value, #module::Misfit> {
                let mut made = #module::Fields::new();
                let fields = &mut made;
                #(#put)*
                ::core::result::Result::Ok(#module::Fields::into_struct(made))
            }

            fn from_value(value: #module::Value) -> ::core::result::Result<Self, #module::Misfit> {
                let mut given = #module::Fields::of_struct(value)?;
                let fields = &mut given;
                ::core::result::Result::Ok(#ident { #(#taken)* })
            }

            fn merged(old: #module::Value, new: #module::Value) -> #module::Value {
                const KNOWN: &[#module::Merging] = &[#(#merged),*];
                #module::merge_structs(old, new, KNOWN)
            }

            fn note_nulls(
                &self,
                place: #module::Place<'_>,
                nulls: &mut ::std::vec::Vec<::std::boxed::Box<str>>,
            ) {
                #(#noted)*
            }
        }
    })
}

fn expand_newtype(ident: &Ident, inner: &Type, rules: &str, module: &TokenStream) -> TokenStream {
    let type_name = ident.unraw().to_string();
    quote_spanned! {inner.span()=>
        #[automatically_derived]
        impl #module::TypedValue for #ident {
            const HAS_FIELDS: bool = <#inner as #module::TypedValue>::HAS_FIELDS;

            fn definition(depth_left: usize) -> #module::Result<#module::Definition> {
                let mut defined = <#inner as #module::TypedValue>::definition(depth_left)?;
                #module::Definition::refine(&mut defined, #rules, #type_name)?;
                ::core::result::Result::Ok(defined)
            }

            fn to_value(&self) -> ::core::result::Result<#module::Value, #module::Misfit> {
                #module::TypedValue::to_value(&self.0)
            }

            fn from_value(value: #module::Value) -> ::core::result::Result<Self, #module::Misfit> {
                <#inner as #module::TypedValue>::from_value(value).map(#ident)
            }

            fn merged(old: #module::Value, new: #module::Value) -> #module::Value {
                <#inner as #module::TypedValue>::merged(old, new)
            }

            fn note_nulls(
                &self,
                place: #module::Place<'_>,
                nulls: &mut ::std::vec::Vec<::std::boxed::Box<str>>,
            ) {
                #module::TypedValue::note_nulls(&self.0, place, nulls);
            }
        }
    }
}

/// A value of an enum.
struct EnumValue {
    ident: Ident,
    name: String,
    id: Option<u32>,
}

const VARIANT_WORDS: [&str; 2] = ["name", "id"];

fn read_variant(variant: &Variant) -> Result<EnumValue> {
    if !matches!(variant.fields, Fields::Unit) {
        return Err(Error::new(
            variant.fields.span(),
            "a value of an enum has no data: what belongs to it stands in fields of the record",
        ));
    }
    let items = attribute::read(&variant.attrs)?;
    check_once(&items, &[])?;
    let mut value = EnumValue {
        name: names::snake_case(&variant.ident.unraw().to_string()),
        ident: variant.ident.clone(),
        id: None,
    };
    for item in &items {
        match item.name().as_str() {
            "name" => {
                let (name, span) = text(item)?;
                if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
                    let message = "the name of an enum's value has 1 to 255 bytes and no control characters";
                    return Err(Error::new(span, message));
                }
                value.name = name;
            }
            "id" => {
                let id = u32::try_from(whole_number(item)?).ok().filter(|id| *id > 0);
                value.id = Some(
                    id.ok_or_else(|| item.error("the id of an enum's value goes from 1 to 4294967295"))?,
                );
            }
            _ => return Err(unknown(item, "a value of an enum", &VARIANT_WORDS)),
        }
    }
    Ok(value)
}

fn read_variants(ident: &Ident, variants: &Punctuated<Variant, Token![,]>) -> Result<Vec<EnumValue>> {
    let values: Vec<EnumValue> = variants.iter().map(read_variant).collect::<Result<_>>()?;
    if values.is_empty() {
        return Err(Error::new(ident.span(), "an enum has a value at least"));
    }
    for (index, value) in values.iter().enumerate() {
        let refused = |message: String| Err(Error::new(value.ident.span(), message));
        if let Some(same) = values[..index].iter().find(|earlier| earlier.name == value.name) {
            return refused(format!("{} has the name \"{}\" as well", same.ident, value.name));
        }
        if let Some(same) =
            values[..index].iter().find(|earlier| value.id.is_some() && earlier.id == value.id)
        {
            return refused(format!("{} has the same id", same.ident));
        }
        if value.id.is_some() != values[0].id.is_some() {
            return refused("either all values of an enum have an id, or none".to_owned());
        }
    }
    Ok(values)
}

fn expand_enum(
    ident: &Ident,
    variants: &Punctuated<Variant, Token![,]>,
    module: &TokenStream,
) -> Result<TokenStream> {
    let values = read_variants(ident, variants)?;
    let type_name = ident.unraw().to_string();
    let names: Vec<&String> = values.iter().map(|value| &value.name).collect();
    let idents: Vec<&Ident> = values.iter().map(|value| &value.ident).collect();
    let ids = values.iter().map(|value| match value.id {
        Some(id) => quote!(::core::option::Option::Some(#id)),
        None => quote!(::core::option::Option::None),
    });
    let span = Span::call_site();
    Ok(quote_spanned! {span=>
        #[automatically_derived]
        impl #module::TypedValue for #ident {
            fn definition(_depth_left: usize) -> #module::Result<#module::Definition> {
                ::core::result::Result::Ok(#module::Definition::enum_of(&[#((#names, #ids)),*]))
            }

            fn to_value(&self) -> ::core::result::Result<#module::Value, #module::Misfit> {
                let name: &str = match self {
                    #(#ident::#idents => #names,)*
                };
                ::core::result::Result::Ok(#module::Value::Enum(name.into()))
            }

            fn from_value(value: #module::Value) -> ::core::result::Result<Self, #module::Misfit> {
                match #module::name_of(&value)? {
                    #(#names => ::core::result::Result::Ok(#ident::#idents),)*
                    _ => ::core::result::Result::Err(#module::Misfit::of_enum(&value, #type_name, &[#(#names),*])),
                }
            }
        }

        #[automatically_derived]
        impl ::core::convert::From<#ident> for #module::Value {
            fn from(value: #ident) -> #module::Value {
                let name: &str = match value {
                    #(#ident::#idents => #names,)*
                };
                #module::Value::Enum(name.into())
            }
        }
    })
}
