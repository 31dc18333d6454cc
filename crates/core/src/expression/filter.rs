//! What a query takes as its condition.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::check::Names;
use super::tree::Tree;
use super::{Expression, Term, check, condition, parse};
use crate::error::Result;
use crate::limits::{PARSED_FILTER_SIZE_BYTES_MAX, PARSED_FILTERS_MAX};
use crate::value::{Field, Value};

/// A condition as it was given: a text in CEL, or a [`Term`].
///
/// ```
/// use tenantry_core::{Filter, field};
///
/// assert_eq!(Filter::from("rating > 8.0").to_string(), Filter::from(field("rating").gt(8.0)).to_string());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    source: Source,
}

#[derive(Clone, Debug, PartialEq)]
enum Source {
    Text(String),
    Built(Term),
}

impl Filter {
    /// The condition on a type's fields.
    ///
    /// # Errors
    ///
    /// As [`Expression::parse_with_parameters`].
    pub(crate) fn compile(
        &self,
        parsed: &ParsedFilters,
        type_name: &str,
        fields: &[Field],
        parameters: &BTreeMap<String, Value>,
    ) -> Result<Expression> {
        let names = Names { type_name, fields, parameters, claims: None };
        let typed = match &self.source {
            Source::Text(text) => check::check(&*parsed.tree(text)?, &names)?,
            Source::Built(term) => check::check(&term.tree, &names)?,
        };
        condition(typed)
    }
}

/// The texts that were parsed lately, so that a condition with parameters is parsed once: that takes longer than to find a record by it.
///
/// Each handle of a tenant has its own, so that no tenant can tell by the time it takes what another one asks for.
#[derive(Default)]
pub(crate) struct ParsedFilters(Mutex<BTreeMap<Box<str>, Arc<Tree>>>);

impl ParsedFilters {
    fn tree(&self, text: &str) -> Result<Arc<Tree>> {
        if let Some(tree) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(text) {
            return Ok(tree.clone());
        }
        let tree = Arc::new(parse::parse(text)?);
        if text.len() <= PARSED_FILTER_SIZE_BYTES_MAX {
            let mut trees = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Who writes values into the text fills it with what never comes again.
            if trees.len() >= PARSED_FILTERS_MAX {
                trees.clear();
            }
            trees.insert(text.into(), tree.clone());
        }
        Ok(tree)
    }
}

impl From<&str> for Filter {
    fn from(text: &str) -> Filter {
        Filter { source: Source::Text(text.to_owned()) }
    }
}

impl From<&String> for Filter {
    fn from(text: &String) -> Filter {
        Filter::from(text.as_str())
    }
}

impl From<String> for Filter {
    fn from(text: String) -> Filter {
        Filter { source: Source::Text(text) }
    }
}

impl From<Term> for Filter {
    fn from(term: Term) -> Filter {
        Filter { source: Source::Built(term) }
    }
}

impl fmt::Display for Filter {
    /// The condition in CEL.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Text(text) => formatter.write_str(text),
            Source::Built(term) => term.fmt(formatter),
        }
    }
}
