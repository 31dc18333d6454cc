//! Expressions on the records of a type.

use std::collections::BTreeMap;

use super::RecordType;
use crate::error::Result;
use crate::expression::Expression;
use crate::value::{FieldType, Value};

impl Expression {
    /// Reads a condition.
    ///
    /// # Errors
    ///
    /// 20040 for what is no CEL, does not fit the types, or is no condition; 20041 for what is not supported; 20024 for an unknown field; 20044 for a
    /// parameter; 20060 for more than 8,192 bytes, a depth over 24 or more than 1,000 parts.
    pub fn parse(text: &str, record_type: &RecordType) -> Result<Expression> {
        Expression::parse_with_parameters(text, record_type, &BTreeMap::new())
    }

    /// Reads a condition in which `param.NAME` stands for a value, as if it were written there.
    ///
    /// # Errors
    ///
    /// As [`parse`](Expression::parse); 20044 naming the parameter without a value, the value that is not used, or whose type no literal has.
    pub fn parse_with_parameters(
        text: &str,
        record_type: &RecordType,
        parameters: &BTreeMap<String, Value>,
    ) -> Result<Expression> {
        let (name, fields) = (&record_type.name, &record_type.fields);
        Expression::parse_with_fields_and_parameters(text, name, fields, parameters)
    }

    /// Reads an expression of any type.
    ///
    /// # Errors
    ///
    /// As [`parse`](Expression::parse); 20040 for null and a list of literals, which have no type.
    pub fn parse_value(text: &str, record_type: &RecordType) -> Result<(Expression, FieldType)> {
        Expression::parse_value_with_fields(text, &record_type.name, &record_type.fields)
    }
}
