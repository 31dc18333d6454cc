//! A value that a Rust type cannot hold.

use crate::error::{Code, Error, shown};
use crate::value::Value;

/// A value does not fit a Rust type, or the other way round: where it stands, what it is, and what would fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    path: String,
    detail: String,
}

impl Misfit {
    /// `detail` completes a sentence that begins with the field: "holds 300: a u8 takes 0 to 255".
    pub fn new(detail: impl Into<String>) -> Misfit {
        Misfit { path: String::new(), detail: detail.into() }
    }

    /// For the name of an enum's value that the Rust enum does not have.
    #[doc(hidden)]
    pub fn of_enum(value: &Value, type_name: &str, known: &[&str]) -> Misfit {
        let found = shown(value.as_name().unwrap_or_default());
        Misfit::new(format!("holds {found}: the Rust enum {type_name} has {}", known.join(", ")))
    }

    /// The same, found in a field.
    #[must_use]
    pub fn in_field(mut self, name: &str) -> Misfit {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }

    /// The same, found in an element of a list.
    #[must_use]
    pub fn in_element(mut self, index: usize) -> Misfit {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("[{index}]{dot}{}", self.path);
        self
    }

    /// The path of the field: `rooms[2].floor`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong there.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn into_error(self, code: Code, record_type: &str) -> Error {
        let Misfit { path, detail } = self;
        Error::new(code, format!("{}: the field {} {detail}", shown(record_type), shown(&path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_that_of_a_violation() {
        let misfit =
            Misfit::new("holds 3").in_field("floor").in_element(2).in_field("rooms").in_field("house");
        assert_eq!(misfit.path(), "house.rooms[2].floor");
        assert_eq!(Misfit::new("").in_element(1).in_element(0).in_field("grid").path(), "grid[0][1]");
        let error = misfit.into_error(Code::RecordInvalid, "street");
        assert_eq!(error.detail(), r#""street": the field "house.rooms[2].floor" holds 3"#);
    }
}
