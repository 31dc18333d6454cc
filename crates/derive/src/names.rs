//! Names in Rust and names in a schema.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::{Error, Ident, Result};

use crate::attribute::{Item, text};

/// `ProjectMember` as `project_member`, `HTTPLog` as `http_log`.
pub(crate) fn snake_case(name: &str) -> String {
    let characters: Vec<char> = name.chars().collect();
    let mut snake = String::with_capacity(name.len() + 4);
    for (index, character) in characters.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| characters[before]);
        let after = characters.get(index + 1);
        let begins_word = character.is_uppercase()
            && before.is_some_and(|before| {
                before != '_' && (!before.is_uppercase() || after.is_some_and(|after| after.is_lowercase()))
            });
        if begins_word {
            snake.push('_');
        }
        snake.extend(character.to_lowercase());
    }
    snake
}

/// The name of a field in the schema, if nothing else is said.
pub(crate) fn of_field(ident: &Ident) -> String {
    ident.unraw().to_string()
}

/// The name that an attribute gives, which has to be one.
pub(crate) fn given(item: &Item) -> Result<String> {
    let (name, span) = text(item)?;
    check(&name, span)?;
    Ok(name)
}

/// Fails for what cannot be the name of a record type, field, index, check or reference.
pub(crate) fn check(name: &str, span: Span) -> Result<()> {
    match is_name(name) && name.len() <= 255 {
        true => Ok(()),
        false => Err(Error::new(
            span,
            format!(
                "\"{name}\" is no name: names are letters a-z, digits and underscores, begin with no digit, and have 1 to 255 bytes"
            ),
        )),
    }
}

/// Whether a text is a name and nothing more.
pub(crate) fn is_name(text: &str) -> bool {
    text.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
        && text.chars().next().is_some_and(|first| !first.is_ascii_digit())
}
