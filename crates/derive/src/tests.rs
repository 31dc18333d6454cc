//! What is refused, in which words. That a struct equals a file is for the tests of the crate `tenantry`.

use syn::{DeriveInput, parse_str};

use crate::names::snake_case;
use crate::{record, value};

fn refused_record(text: &str) -> String {
    let input: DeriveInput = parse_str(text).unwrap();
    record::expand(&input).unwrap_err().to_string()
}

fn refused_value(text: &str) -> String {
    let input: DeriveInput = parse_str(text).unwrap();
    value::expand(&input).unwrap_err().to_string()
}

#[test]
fn names_become_those_of_a_schema() {
    for (name, snake) in [
        ("User", "user"),
        ("ProjectMember", "project_member"),
        ("HTTPLog", "http_log"),
        ("A", "a"),
        ("V2Item", "v2_item"),
        ("Already_Snake", "already_snake"),
    ] {
        assert_eq!(snake_case(name), snake);
    }
}

#[test]
fn a_record_that_is_none_is_refused_in_words_that_help() {
    let cases = [
        ("struct A { a: i64 }", "a record has a primary key: #[record(primary_key)]"),
        ("struct A(i64);", "a record is a struct whose fields have names"),
        ("enum A { B }", "an enum without data is a value: #[derive(Value)]"),
        ("struct A<T> { #[record(primary_key)] a: T }", "a record has no parameters"),
        (
            "#[record(nam = \"b\")] struct A { #[record(primary_key)] a: i64 }",
            "a record has no word \"nam\"; there are name, id, primary_key, index",
        ),
        (
            "#[record(name = \"b-c\")] struct A { #[record(primary_key)] a: i64 }",
            "\"b-c\" is no name: names are letters",
        ),
        ("#[record(name = 3)] struct A { #[record(primary_key)] a: i64 }", "\"name\" takes a text"),
        ("#[record(name)] struct A { #[record(primary_key)] a: i64 }", "\"name\" takes a text: name = ..."),
        (
            "#[record(name = \"b\", name = \"c\")] struct A { #[record(primary_key)] a: i64 }",
            "\"name\" stands twice",
        ),
        (
            "#[record(primary_key = [\"b\"])] struct A { a: i64 }",
            "the record has no field \"b\" for its primary key",
        ),
        ("#[record(primary_key = [\"a\", \"a\"])] struct A { a: i64 }", "stands twice in the primary key"),
        ("#[record(primary_key = [\"a\"])] struct A { #[record(primary_key)] a: i64 }", "said twice"),
        (
            "struct A { #[record(primary_key, maximum = 3)] a: i64 }",
            "a field of a record has no word \"maximum\"; there are primary_key",
        ),
        (
            "struct A { #[record(primary_key, max_length = -3)] a: i64 }",
            "\"max_length\" takes a whole number from 0",
        ),
        ("struct A { #[record(primary_key, max = 3i64)] a: i64 }", "a number without a suffix"),
        ("struct A { #[record(primary_key = 3)] a: i64 }", "\"primary_key\" stands alone"),
        ("struct A { #[record(primary_key, of = 3)] a: i64 }", "\"of\" takes the rules of a list's elements"),
        (
            "struct A { #[record(primary_key, of(default = 3))] a: i64 }",
            "an element of a list has no word \"default\"",
        ),
        (
            "struct A { #[record(primary_key)] a: i64, #[record(name = \"a\")] b: i64 }",
            "the field a has the name \"a\" as well",
        ),
        (
            "struct A { #[record(primary_key)] a: i64, #[record(version, max = 3)] b: i64 }",
            "it has no other words",
        ),
        (
            "#[record(index(i, fields = [\"b\"]))] struct A { #[record(primary_key)] a: i64 }",
            "the record has no field \"b\"; there are a",
        ),
        (
            "#[record(index(i, fields = [\"b.c:desc\"]))] struct A { #[record(primary_key)] a: i64 }",
            "the record has no field \"b\"",
        ),
        (
            "#[record(index(i, fields = [{ every = \"a\" }]))] struct A { #[record(primary_key)] a: i64 }",
            "a column has no word \"every\"; there are field, each, order, missing",
        ),
        (
            "#[record(index(i, kind = \"hash\", fields = [\"a\"]))] struct A { #[record(primary_key)] a: i64 }",
            "\"kind\" is \"hash\"; there are value, count, sum",
        ),
        (
            "#[record(index(i, columns = [\"a\"]))] struct A { #[record(primary_key)] a: i64 }",
            "an index has no word \"columns\"",
        ),
        (
            "#[record(index(fields = [\"a\"]))] struct A { #[record(primary_key)] a: i64 }",
            "an index has a name first",
        ),
        ("struct A { #[record(primary_key, index, index)] a: i64 }", "two indexes have the name \"by_a\""),
        (
            "struct A { #[record(primary_key, reference(on_delete = \"cascade\"))] a: i64 }",
            "a reference is to a record type",
        ),
        (
            "struct A { #[record(primary_key, reference(to = B, on_delete = \"drop\"))] a: i64 }",
            "\"on_delete\" is \"drop\"; there are restrict, cascade, set_null",
        ),
        (
            "#[record(reference(b, to = B))] struct A { #[record(primary_key)] a: i64 }",
            "a reference names its fields",
        ),
        (
            "#[record(primary_key = [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\", \"i\", \"j\", \"k\", \"l\", \"m\", \"n\", \"o\", \"p\", \"q\"])] struct A { a: i64, b: i64, c: i64, d: i64, e: i64, f: i64, g: i64, h: i64, i: i64, j: i64, k: i64, l: i64, m: i64, n: i64, o: i64, p: i64, q: i64 }",
            "the primary key has 17 fields: it has up to 16",
        ),
        (
            "#[record(check = \"a > 0\")] struct A { #[record(primary_key)] a: i64 }",
            "\"check\" of a record takes a name",
        ),
    ];
    for (text, part) in cases {
        let message = refused_record(text);
        assert!(message.contains(part), "{text}\n{message}");
    }
}

#[test]
fn a_value_that_is_none_is_refused_in_words_that_help() {
    let cases = [
        ("enum A { B(i64) }", "a value of an enum has no data"),
        ("enum A {}", "an enum has a value at least"),
        ("enum A { B, #[record(name = \"b\")] C }", "B has the name \"b\" as well"),
        ("enum A { #[record(id = 1)] B, C }", "either all values of an enum have an id, or none"),
        ("enum A { #[record(id = 1)] B, #[record(id = 1)] C }", "B has the same id"),
        ("enum A { #[record(id = 0)] B }", "goes from 1"),
        ("struct A(i64, i64);", "a struct around one value"),
        ("struct A { #[record(index)] a: i64 }", "a field of a struct has no word \"index\""),
        ("#[record(default = 3)] struct A(i64);", "a newtype has no word \"default\""),
        ("struct A {}", "a struct in a record has a field at least"),
        ("union A { a: i64 }", "a struct or an enum without data"),
    ];
    for (text, part) in cases {
        let message = refused_value(text);
        assert!(message.contains(part), "{text}\n{message}");
    }
}
