//! What is wrong with a record: every rule that it breaks, by the path of the field.

use std::fmt;

use crate::limits::{NAME_SIZE_BYTES_MAX, TYPE_DEPTH_MAX, VIOLATIONS_MAX};

/// The names of a path, with a dot and an index for each.
const PATH_CHARACTERS_MAX: usize = TYPE_DEPTH_MAX * (NAME_SIZE_BYTES_MAX + 10);

/// A rule that a record breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The record type; empty where a value was read for itself.
    pub record_type: String,
    /// The path of the field: `address.lines[2]`. Empty for a rule of the whole record.
    pub field: String,
    /// The rule, by its word in the schema (`max`, `pattern`, `check`, `checks`, `references`), or `type`, `required`, `unknown` and `twice`.
    pub rule: &'static str,
    /// What the rule asks for: the bound, the pattern, the expression, the type.
    pub limit: String,
    /// All of it in a sentence, with the value, shortened.
    pub detail: String,
}

/// The words of the rules that are not in a schema.
pub(crate) mod rule {
    /// The value is of another type.
    pub(crate) const TYPE: &str = "type";
    /// A field that is not optional is missing.
    pub(crate) const REQUIRED: &str = "required";
    /// There is no such field.
    pub(crate) const UNKNOWN: &str = "unknown";
    /// A field is given twice.
    pub(crate) const TWICE: &str = "twice";
}

impl Violation {
    /// Whether the record does not even have the form of its type.
    pub(crate) fn is_of_form(&self) -> bool {
        matches!(self.rule, rule::TYPE | rule::REQUIRED | rule::UNKNOWN | rule::TWICE)
    }
}

/// The violations of one record, as they are found.
pub(crate) struct Violations<'a> {
    record_type: &'a str,
    found: Vec<Violation>,
    is_cut: bool,
}

impl<'a> Violations<'a> {
    pub(crate) fn of(record_type: &'a str) -> Violations<'a> {
        Violations { record_type, found: Vec::new(), is_cut: false }
    }

    /// Notes one, unless there are too many already.
    pub(crate) fn add(
        &mut self,
        field: &Path<'_>,
        rule: &'static str,
        limit: impl Into<String>,
        detail: String,
    ) {
        if self.found.len() >= VIOLATIONS_MAX {
            self.is_cut = true;
            return;
        }
        // Longer than any path of a schema is only that of a field which somebody made up.
        let field = field.to_string().chars().take(PATH_CHARACTERS_MAX).collect();
        let record_type = self.record_type.to_owned();
        self.found.push(Violation { record_type, field, rule, limit: limit.into(), detail });
    }

    /// Whether there were more than are reported: looking further tells nobody anything.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many of them say that something does not even have the form of its type.
    pub(crate) fn misfits(&self) -> usize {
        self.found.iter().filter(|violation| violation.is_of_form()).count()
    }

    /// What was found, and whether there was more of it.
    pub(crate) fn into_parts(self) -> (Vec<Violation>, bool) {
        (self.found, self.is_cut)
    }
}

pub(crate) fn missing_field(path: &Path<'_>, violations: &mut Violations<'_>) {
    let detail = format!("the field \"{path}\" is missing and not optional");
    violations.add(path, rule::REQUIRED, "", detail);
}

/// Where a value stands in a record. It costs nothing until it is shown.
#[derive(Clone, Copy)]
pub(crate) enum Path<'a> {
    /// The record, or a value that has the name.
    Root(&'a str),
    Field(&'a Path<'a>, &'a str),
    Element(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    /// The record itself.
    pub(crate) const RECORD: Path<'static> = Path::Root("");

    pub(crate) fn field(&'a self, name: &'a str) -> Path<'a> {
        Path::Field(self, name)
    }

    pub(crate) fn element(&'a self, index: usize) -> Path<'a> {
        Path::Element(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root(name) => formatter.write_str(name),
            Path::Field(Path::Root(""), name) => formatter.write_str(name),
            Path::Field(parent, name) => write!(formatter, "{parent}.{name}"),
            Path::Element(parent, index) => write!(formatter, "{parent}[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_as_one_would_write_them() {
        let address = Path::RECORD.field("address");
        let lines = address.field("lines");
        assert_eq!(lines.element(2).to_string(), "address.lines[2]");
        assert_eq!(Path::Root("size").field("width").to_string(), "size.width");
        assert_eq!(Path::RECORD.to_string(), "");
    }

    #[test]
    fn violations_are_bounded() {
        let mut violations = Violations::of("t");
        for index in 0..VIOLATIONS_MAX + 5 {
            violations.add(&Path::RECORD.element(index), "max", "1", "too much".to_owned());
        }
        let (found, is_cut) = violations.into_parts();
        assert_eq!((found.len(), is_cut), (VIOLATIONS_MAX, true));
    }
}
