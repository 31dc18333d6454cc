//! A tenant's handle is the only way to its data: no public item of `tenantry` takes out, or hands to a caller's closure, an engine, one of its transactions, or the bytes of a key.
//!
//! The signatures are read from the sources, as the formatter leaves them. A method that is added and breaks the rule fails here; what compiles with it is in the examples of
//! `tenantry::engine`, which must not.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test: it reads the sources")]

use std::path::{Path, PathBuf};

/// Types that reach past a tenant, or are made of key bytes.
const RAW_TYPES: [&str; 14] = [
    "Engine",
    "Transaction",
    "TransactionRef",
    "ReadTransaction",
    "WriteTransaction",
    "KeySpace",
    "TenantKeys",
    "Subspace",
    "KeyRange",
    "KeySelector",
    "KeyValue",
    "RangeRequest",
    "Runner",
    "Inner",
];

/// Whoever calls these has an engine already; `tenantry` names none of the types that they belong to but the copier's.
const TAKE_AN_ENGINE: [&str; 3] = [
    "pub async fn open(engine: Arc<dyn Engine>, env: Env, name: &str) -> Result<Database>",
    "pub async fn open_existing(engine: Arc<dyn Engine>, env: Env, name: &str) -> Result<Database>",
    "pub async fn begin(source: &Database, engine: Arc<dyn Engine>, env: Env, name: &str) -> Result<Copier>",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, found),
            false if path.extension().is_some_and(|it| it == "rs") => found.push(path),
            false => {}
        }
    }
}

/// The public signatures, fields and types of a source, each on one line, without what stands under `#[cfg(test)]`.
fn public(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut items = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(item) = &mut open {
            item.push(' ');
            item.push_str(line);
        } else if line.starts_with("pub ") && !line.starts_with("pub use ") && !line.starts_with("pub mod ") {
            open = Some(line.to_owned());
        }
        let is_whole = |item: &String| {
            let is_function = item.contains(" fn ");
            item.ends_with('{') || item.ends_with(';') || (!is_function && item.ends_with([',', '}', ')']))
        };
        if let Some(item) = open.take_if(|item| is_whole(item)) {
            items.push(item);
        }
    }
    items
}

fn names(signature: &str, word: &str) -> bool {
    signature.split(|character: char| !character.is_alphanumeric() && character != '_').any(|it| it == word)
}

fn offences(items: &[String]) -> Vec<&String> {
    let is_allowed = |item: &&String| TAKE_AN_ENGINE.iter().any(|allowed| item.starts_with(allowed));
    items.iter().filter(|item| RAW_TYPES.iter().any(|word| names(item, word)) && !is_allowed(item)).collect()
}

#[test]
fn no_public_item_reaches_past_a_tenant() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&here.join("src"), &mut files);
    sources(&here.join("../core/src"), &mut files);
    let mut items = Vec::new();
    for file in files.iter().filter(|file| !file.ends_with("core/src/engine_access.rs")) {
        items.extend(public(&std::fs::read_to_string(file).unwrap()));
    }
    assert!(items.len() > 500, "the sources were not understood: {}", items.len());
    assert!(items.iter().any(|item| item.starts_with("pub async fn raw_range(")));
    assert_eq!(offences(&items), Vec::<&String>::new());
    // Each exception is there, and needed.
    for allowed in TAKE_AN_ENGINE {
        assert!(items.iter().any(|item| item.starts_with(allowed)), "{allowed}");
    }
}

#[test]
fn a_leak_is_seen() {
    let leaks = [
        "    pub fn engine(&self) -> &Arc<dyn Engine> {",
        "    pub async fn with<F>(\n        &self,\n        body: F,\n    ) -> Result<()>\n    where\n        F: Fn(TransactionRef) -> u32,\n    {",
        "    pub keys: TenantKeys,",
        "pub struct Handle(pub KeyRange);",
    ];
    for leak in leaks {
        assert_eq!(offences(&public(leak)).len(), 1, "{leak}");
    }
    let harmless = "    pub(crate) fn engine(&self) -> &Arc<dyn Engine> {\n    pub fn transaction(&self) -> TenantTransaction {\n";
    assert!(offences(&public(harmless)).is_empty());
}

#[test]
fn the_library_does_not_hand_on_the_door_to_the_engine() {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let library = include_str!("../src/lib.rs").lines().filter(is_code).collect::<Vec<_>>().join("\n");
    for word in [
        "engine_access",
        "tenantry_kv as",
        "tenantry_kv::*",
        "tenantry_core::*",
        "EmbeddedEngine",
        "FoundationDbEngine",
    ] {
        assert!(!library.contains(word), "{word}");
    }
    let engine = library.split("pub mod engine {").nth(1).and_then(|rest| rest.split('}').next()).unwrap();
    for word in RAW_TYPES.iter().filter(|word| **word != "Inner") {
        assert!(!names(engine, word), "{word}");
    }
}
