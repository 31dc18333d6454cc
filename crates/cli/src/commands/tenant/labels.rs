//! Labels as words of a command.

use std::collections::BTreeMap;

use crate::output::{Failure, Outcome};

/// `NAME=VALUE` each.
pub(super) fn labels_of(words: &[String]) -> Outcome<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            return Err(Failure::Usage(format!("the label {word}: write NAME=VALUE")));
        };
        if labels.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(Failure::Usage(format!("the label {name} is given twice")));
        }
    }
    Ok(labels)
}

/// `NAME=VALUE`, or `NAME` for any value.
pub(super) fn filter_of(words: &[String]) -> BTreeMap<String, Option<String>> {
    let part = |word: &String| match word.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (word.clone(), None),
    };
    words.iter().map(part).collect()
}

/// Labels in a line.
pub(super) fn shown(labels: &BTreeMap<String, String>) -> String {
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    labels.join(", ")
}
