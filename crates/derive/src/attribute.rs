//! What stands in `#[record(...)]`: words, words with a value, words with a list of words.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Ident, Lit, Path, Result, Token, braced, bracketed, parenthesized, token};

/// A value in an attribute: what a schema file can have in its place.
pub(crate) enum Node {
    Text(String, Span),
    Bool(bool, Span),
    /// The digits, as JSON has them.
    Number(String, Span),
    List(Vec<Node>, Span),
    Table(Vec<(Ident, Node)>, Span),
    /// A Rust type.
    Path(Path),
}

impl Node {
    pub(crate) fn span(&self) -> Span {
        match self {
            Node::Text(_, span)
            | Node::Bool(_, span)
            | Node::Number(_, span)
            | Node::List(_, span)
            | Node::Table(_, span) => *span,
            Node::Path(path) => {
                path.segments.first().map_or_else(Span::call_site, |first| first.ident.span())
            }
        }
    }
}

/// One entry of an attribute.
pub(crate) struct Item {
    pub(crate) word: Ident,
    pub(crate) form: Form,
}

pub(crate) enum Form {
    /// `unique`
    Word,
    /// `max = 3`
    Equals(Node),
    /// `index(by_name, unique)`
    List(Vec<Item>),
}

impl Item {
    /// The word as text; a keyword as well.
    pub(crate) fn name(&self) -> String {
        self.word.unraw().to_string()
    }

    pub(crate) fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::new(self.word.span(), message)
    }
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> Result<Item> {
        let word = Ident::parse_any(input)?;
        let form = if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            Form::Equals(input.parse()?)
        } else if input.peek(token::Paren) {
            let content;
            parenthesized!(content in input);
            Form::List(items(&content)?)
        } else {
            Form::Word
        };
        Ok(Item { word, form })
    }
}

fn items(input: ParseStream<'_>) -> Result<Vec<Item>> {
    Ok(Punctuated::<Item, Token![,]>::parse_terminated(input)?.into_iter().collect())
}

impl Parse for Node {
    fn parse(input: ParseStream<'_>) -> Result<Node> {
        let span = input.span();
        if input.peek(token::Bracket) {
            let content;
            bracketed!(content in input);
            let nodes = Punctuated::<Node, Token![,]>::parse_terminated(&content)?;
            return Ok(Node::List(nodes.into_iter().collect(), span));
        }
        if input.peek(token::Brace) {
            let content;
            braced!(content in input);
            let entries = Punctuated::<Entry, Token![,]>::parse_terminated(&content)?;
            return Ok(Node::Table(
                entries.into_iter().map(|Entry(name, node)| (name, node)).collect(),
                span,
            ));
        }
        if input.peek(Token![-]) {
            input.parse::<Token![-]>()?;
            return match literal(&input.parse()?)? {
                Node::Number(digits, _) => Ok(Node::Number(format!("-{digits}"), span)),
                _ => Err(Error::new(span, "a minus stands before a number")),
            };
        }
        if input.peek(Lit) {
            return literal(&input.parse()?);
        }
        if input.peek(Ident::peek_any) || input.peek(Token![::]) {
            return Ok(Node::Path(Path::parse_mod_style(input)?));
        }
        Err(input.error("expected a text, a number, true, false, a list in [], or a table in {}"))
    }
}

fn literal(literal: &Lit) -> Result<Node> {
    let span = literal.span();
    match literal {
        Lit::Str(text) => Ok(Node::Text(text.value(), span)),
        Lit::Bool(value) => Ok(Node::Bool(value.value, span)),
        Lit::Int(number) if number.suffix().is_empty() => {
            Ok(Node::Number(number.base10_digits().to_owned(), span))
        }
        Lit::Float(number) if number.suffix().is_empty() => {
            // Rust reads `1.`, JSON does not.
            let digits = number.base10_digits();
            let zero = if digits.ends_with('.') { "0" } else { "" };
            Ok(Node::Number(format!("{digits}{zero}"), span))
        }
        _ => Err(Error::new(span, "expected a text, a number without a suffix, true or false")),
    }
}

/// `name = value` in a table.
struct Entry(Ident, Node);

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> Result<Entry> {
        let name = Ident::parse_any(input)?;
        input.parse::<Token![=]>()?;
        Ok(Entry(name, input.parse()?))
    }
}

/// Everything that stands in the attributes `#[record(...)]`.
pub(crate) fn read(attributes: &[Attribute]) -> Result<Vec<Item>> {
    let mut read = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("record")) {
        read.extend(attribute.parse_args_with(items)?);
    }
    Ok(read)
}

/// The error for a word that is none of those there are.
pub(crate) fn unknown(item: &Item, what: &str, known: &[&str]) -> Error {
    item.error(format!("{what} has no word \"{}\"; there are {}", item.name(), known.join(", ")))
}

/// A word that stands alone.
pub(crate) fn alone(item: &Item) -> Result<()> {
    match &item.form {
        Form::Word => Ok(()),
        _ => Err(item.error(format!("\"{}\" stands alone, without a value", item.name()))),
    }
}

/// The value of a word.
pub(crate) fn value<'a>(item: &'a Item, takes: &str) -> Result<&'a Node> {
    match &item.form {
        Form::Equals(node) => Ok(node),
        _ => Err(item.error(format!("\"{0}\" takes {takes}: {0} = ...", item.name()))),
    }
}

/// A text.
pub(crate) fn text(item: &Item) -> Result<(String, Span)> {
    match value(item, "a text")? {
        Node::Text(text, span) => Ok((text.clone(), *span)),
        other => Err(Error::new(other.span(), format!("\"{}\" takes a text", item.name()))),
    }
}

/// A number without a sign and a point.
pub(crate) fn whole_number(item: &Item) -> Result<u64> {
    let takes = "a whole number from 0";
    match value(item, takes)? {
        Node::Number(digits, span) => {
            digits.parse().map_err(|_| Error::new(*span, format!("\"{}\" takes {takes}", item.name())))
        }
        other => Err(Error::new(other.span(), format!("\"{}\" takes {takes}", item.name()))),
    }
}

/// `word`, `word = true` or `word = false`.
pub(crate) fn flag(item: &Item) -> Result<bool> {
    match &item.form {
        Form::Word => Ok(true),
        Form::Equals(Node::Bool(value, _)) => Ok(*value),
        _ => Err(item.error(format!("\"{}\" stands alone, or is true or false", item.name()))),
    }
}

/// A list of texts.
pub(crate) fn texts(item: &Item) -> Result<Vec<(String, Span)>> {
    let takes = "a list of texts";
    let Node::List(nodes, _) = value(item, takes)? else {
        return Err(item.error(format!("\"{}\" takes {takes}: [\"...\"]", item.name())));
    };
    nodes
        .iter()
        .map(|node| match node {
            Node::Text(text, span) => Ok((text.clone(), *span)),
            other => Err(Error::new(other.span(), format!("\"{}\" takes {takes}", item.name()))),
        })
        .collect()
}

/// Fails for a word that stands twice.
pub(crate) fn check_once(items: &[Item], may_repeat: &[&str]) -> Result<()> {
    for (index, item) in items.iter().enumerate() {
        let name = item.name();
        if !may_repeat.contains(&name.as_str()) && items[..index].iter().any(|earlier| earlier.name() == name)
        {
            return Err(item.error(format!("\"{name}\" stands twice")));
        }
    }
    Ok(())
}
