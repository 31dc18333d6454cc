//! What a query takes as its condition.

use std::collections::BTreeMap;
use std::fmt;

use super::check::Names;
use super::{Expression, Term, check, condition, parse};
use crate::error::Result;
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
        type_name: &str,
        fields: &[Field],
        parameters: &BTreeMap<String, Value>,
    ) -> Result<Expression> {
        let names = Names { type_name, fields, parameters };
        let typed = match &self.source {
            Source::Text(text) => check::check(&parse::parse(text)?, &names)?,
            Source::Built(term) => check::check(&term.tree, &names)?,
        };
        condition(typed)
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
