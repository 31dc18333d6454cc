//! The decoder beside the document: every key that `docs/key-layout.md` names is one that it knows, and it knows no other.

use std::collections::BTreeSet;

use tenantry_kv::Versionstamp;
use tenantry_kv::tuple::{self, Element};
use uuid::Uuid;

use super::layout::{Attribution, KeyKind, KeyOwner, attribute};

const LAYOUT: &str = include_str!("../../../../docs/key-layout.md");

/// The first column of the tables of keys, with the tenant's prefix in front of its own.
fn patterns() -> Vec<String> {
    let (_, text) = LAYOUT.split_once("| key | value |").unwrap();
    let (database, tenant) = text.split_once("A tenant's keys, behind R 9 *id*:").unwrap();
    let (tenant, _) = tenant.split_once("Deleting a tenant").unwrap();
    let cells = |text: &'static str| {
        let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
        rows.map(|(cell, _)| cell)
            .filter(|cell| cell.starts_with(|it: char| it == 'R' || it.is_ascii_digit()))
    };
    let of_tenants = cells(tenant).map(|cell| format!("R 9 *id* {cell}"));
    cells(database).filter(|cell| *cell != "R 9 *id* ...").map(str::to_owned).chain(of_tenants).collect()
}

/// The names between stars, and the numbers.
fn words(pattern: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for (place, part) in pattern.split('*').enumerate() {
        match place % 2 {
            0 => words.extend(part.split_whitespace()),
            _ => words.push(part),
        }
    }
    words
}

/// A key of a pattern, behind the root.
fn example(pattern: &str) -> Vec<u8> {
    let mut key = Vec::new();
    for word in words(pattern) {
        let element = match word {
            "R" | "..." => continue,
            "bytes" => {
                key.extend_from_slice(b"\xfe any");
                continue;
            }
            "key" => Element::Bytes(vec![0, 1].into()),
            "name" | "word" => "name".into(),
            "UUID" | "job" | "process" => Element::Uuid(Uuid::from_bytes([7; 16])),
            "versionstamp" => Element::Versionstamp { stamp: Some(Versionstamp::new(7, 1)), user_version: 1 },
            "part" => 0.into(),
            "level" => 1.into(),
            several if several.ends_with("...") || several == "element" => "several".into(),
            number => number.parse::<i64>().unwrap_or(7).into(),
        };
        key.extend_from_slice(&tuple::pack(&[element]).unwrap());
    }
    key
}

#[test]
fn every_key_of_the_document_is_known_and_no_other() {
    let patterns = patterns();
    assert!(patterns.len() > 45, "{patterns:#?}");
    // What the document has in one row.
    let mut known = BTreeSet::from([KeyKind::RecordPart]);
    for pattern in &patterns {
        let Attribution { owner, kind } =
            attribute(&example(pattern)).unwrap_or_else(|why| panic!("{pattern}: {why}"));
        known.insert(kind);
        let is_tenants = pattern.starts_with("R 9 *id* ");
        assert_eq!(owner == KeyOwner::Tenant(7), is_tenants, "{pattern}: {owner:?}");
    }
    let missing: Vec<&KeyKind> = KeyKind::ALL.iter().filter(|kind| !known.contains(kind)).collect();
    assert!(missing.is_empty(), "not in docs/key-layout.md: {missing:?}");
}

/// A number that follows the last one of a part names nothing.
#[test]
fn what_the_document_does_not_have_is_nobodys() {
    let strays = [
        "R 0 3",
        "R 1 2 *name*",
        "R 2 7",
        "R 3 0 *job* 3",
        "R 3 5",
        "R 4",
        "R 7",
        "R 8",
        "R 10",
        "R 9 0 1 *type* *key* 0",
        "R 9 *id* 0 2",
        "R 9 *id* 0 1 *generation* 0",
        "R 9 *id* 4 2",
        "R 9 *id* 5 2",
        "R 9 *id* 6 2 *name*",
        "R 9 *id* 8",
        "R 9 *id* 8 0",
        "R 9 *id* 8 0 0 0",
        "R 9 *id* 8 0 1",
        "R 9 *id* 8 0 1 *hour* 0",
        "R 9 *id* 8 0 2",
        "R 9 *id* 8 1",
        "R 9 *id* 8 1 *hour*",
        "R 9 *id* 8 2",
        "R 9 *id* 9",
        "R 2 3 *time*",
        "R 2 4 *name*",
    ];
    for stray in strays {
        assert!(attribute(&example(stray)).is_err(), "{stray}");
    }
}
