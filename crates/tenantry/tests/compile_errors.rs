//! Where the compile errors of the derives point, and what they say.
//!
//! The compiler reads the programs below beside the library that this test is linked with, so that nothing is built for it. `«...»` marks what the errors have to point at.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value as Json;

/// What the derives themselves refuse: an error at the word.
const WORDS: &[(&str, &str)] = &[
    (
        "#[derive(Record)] #[record(«nam» = \"b\")] struct A { #[record(primary_key)] a: i64 }",
        "a record has no word \"nam\"",
    ),
    (
        "#[derive(Record)] #[record(name = «\"b-c\"»)] struct A { #[record(primary_key)] a: i64 }",
        "\"b-c\" is no name",
    ),
    (
        "#[derive(Record)] #[record(name = «3»)] struct A { #[record(primary_key)] a: i64 }",
        "\"name\" takes a text",
    ),
    ("#[derive(Record)] #[record(name «b»)] struct A { #[record(primary_key)] a: i64 }", "expected `,`"),
    ("#[derive(Record)] struct «A» { a: i64 }", "a record has a primary key"),
    ("#[derive(Record)] enum «A» { B }", "an enum without data is a value"),
    ("#[derive(Record)] struct A<«T»> { #[record(primary_key)] a: T }", "a record has no parameters"),
    (
        "#[derive(Record)] #[record(primary_key = [\"a\", «\"b\"»])] struct A { a: i64 }",
        "no field \"b\" for its primary key",
    ),
    (
        "#[derive(Record)] struct A { #[record(primary_key, «maximum» = 3)] a: i64 }",
        "has no word \"maximum\"",
    ),
    (
        "#[derive(Record)] struct A { #[record(primary_key, max = «3i64»)] a: i64 }",
        "a number without a suffix",
    ),
    (
        "#[derive(Record)] struct A { #[record(primary_key)] a: i64, #[record(name = \"a\")] «b»: i64 }",
        "the field a has the name \"a\" as well",
    ),
    (
        "#[derive(Record)] #[record(index(i, fields = [\"a\", «\"b\"»]))] struct A { #[record(primary_key)] a: i64 }",
        "no field \"b\"; there are a",
    ),
    (
        "#[derive(Record)] #[record(index(i, fields = [{ «every» = \"a\" }]))] struct A { #[record(primary_key)] a: i64 }",
        "a column has no word \"every\"",
    ),
    (
        "#[derive(Record)] #[record(index(i, kind = «\"hash\"», fields = [\"a\"]))] struct A { #[record(primary_key)] a: i64 }",
        "\"kind\" is \"hash\"",
    ),
    (
        "#[derive(Record)] struct A { #[record(primary_key, index, «index»)] a: i64 }",
        "two indexes have the name \"by_a\"",
    ),
    (
        "#[derive(Record)] struct A { #[record(primary_key, reference(to = A, on_delete = «\"drop\"»))] a: i64 }",
        "\"on_delete\" is \"drop\"",
    ),
    ("#[derive(Value)] enum A { B«(i64)» }", "a value of an enum has no data"),
    ("#[derive(Value)] enum A { B, #[record(name = \"b\")] «C» }", "B has the name \"b\" as well"),
    ("#[derive(Value)] struct A { #[record(«index»)] a: i64 }", "a field of a struct has no word \"index\""),
    ("#[derive(Value)] #[record(«default» = 3)] struct A(i64);", "a newtype has no word \"default\""),
];

/// What only the compiler can know: an error at the type, in the words of the library.
const TYPES: &[(&str, &str)] = &[
    (
        "#[derive(Record)] struct A { #[record(primary_key)] a: i64, b: «f32» }",
        "`f32` cannot be the type of a field",
    ),
    (
        "#[derive(Record)] struct A { #[record(primary_key)] a: i64, b: «Option<f32>» }",
        "`Option<f32>` cannot be the type of a field",
    ),
    ("#[derive(Value)] struct A { a: «f32» }", "`f32` cannot be the type of a field"),
    ("#[derive(Value)] struct A(«f32»);", "`f32` cannot be the type of a field"),
    (
        "struct B; #[derive(Record)] struct A { #[record(primary_key, reference(to = «B»))] a: i64 }",
        "B` is no record type",
    ),
    (
        "struct B; #[derive(Record)] struct A { #[record(primary_key)] a: i64, #[record(skip)] b: «B» }",
        "Default",
    ),
    (
        "#[derive(Record)] struct A { #[record(primary_key)] a: i64, #[record(version)] v: «i64» }",
        "mismatched types",
    ),
];

const VALID: &str = "#[derive(Record)] struct A { #[record(primary_key)] a: i64, b: Option<B> } #[derive(Value)] struct B(String);";

#[derive(Debug)]
struct Found {
    message: String,
    /// From 1, in characters; the end is behind the last one.
    line: u64,
    columns: (u64, u64),
}

/// A folder for what the compiler leaves behind, and the library for it.
struct Compiler {
    folder: tempfile::TempDir,
    library: PathBuf,
}

impl Compiler {
    fn new() -> Compiler {
        let mut built = built_libraries();
        built.sort();
        // Other builds may have left libraries that do not fit the compiler or what lies beside them.
        let mut found = Vec::new();
        while let Some((_, library)) = built.pop() {
            let compiler = Compiler { folder: tempfile::tempdir().unwrap(), library };
            match compiler.errors(&[VALID]) {
                errors if errors.is_empty() => return compiler,
                errors => found.push(errors),
            }
        }
        unreachable!("no library beside this test takes a program without errors: {found:?}")
    }

    /// The errors of some programs in one file, each on a line and in a module of its own.
    fn errors(&self, programs: &[&str]) -> Vec<Found> {
        let modules =
            programs.iter().enumerate().map(|(number, program)| format!("{}{program} }}\n", opening(number)));
        let source = self.folder.path().join("program.rs");
        std::fs::write(&source, modules.collect::<String>()).unwrap();
        let dependencies = self.library.parent().unwrap();
        let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let output = Command::new(compiler)
            .args([
                "--edition=2024",
                "--crate-type=lib",
                "--emit=metadata",
                "--error-format=json",
                "-Adead_code",
            ])
            .arg(format!("--extern=tenantry={}", self.library.display()))
            .arg(format!("-Ldependency={}", dependencies.display()))
            .arg("--out-dir")
            .args([self.folder.path(), source.as_path()])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let diagnostics = text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
        let errors = diagnostics.filter(|it| it["level"] == "error").filter_map(|it| found(&it));
        let errors: Vec<Found> = errors.collect();
        assert_eq!(output.status.success(), errors.is_empty(), "{text}");
        errors
    }
}

fn opening(number: usize) -> String {
    format!("mod case_{number} {{ use tenantry::{{Record, Value}}; ")
}

/// An error, but not the summary of all.
fn found(diagnostic: &Json) -> Option<Found> {
    let message = diagnostic["message"].as_str().unwrap().to_owned();
    let spans = diagnostic["spans"].as_array().unwrap();
    let span = spans.iter().find(|span| span["is_primary"] == true);
    if span.is_none() && message.starts_with("aborting due to") {
        return None;
    }
    let number = |name: &str| span.map_or(0, |span| span[name].as_u64().unwrap());
    Some(Found {
        message,
        line: number("line_start"),
        columns: (number("column_start"), number("column_end")),
    })
}

/// The builds of the library that lie beside this test, with the times at which they were made.
fn built_libraries() -> Vec<(SystemTime, PathBuf)> {
    let test = std::env::current_exe().unwrap();
    let is_library = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libtenantry-") && name.ends_with(".rlib")
    };
    let files = std::fs::read_dir(test.parent().unwrap()).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|path| is_library(path))
        .map(|path| (path.metadata().unwrap().modified().unwrap(), path))
        .collect()
}

/// The program without its marks, and the columns between them.
fn marked(number: usize, program: &str) -> (String, (u64, u64)) {
    let (before, rest) = program.split_once('«').unwrap();
    let (within, behind) = rest.split_once('»').unwrap();
    let begin = opening(number).chars().count() + before.chars().count() + 1;
    let end = begin + within.chars().count();
    (format!("{before}{within}{behind}"), (begin as u64, end as u64))
}

fn check(compiler: &Compiler, cases: &[(&str, &str)]) {
    let marked: Vec<_> =
        cases.iter().enumerate().map(|(number, (program, _))| marked(number, program)).collect();
    let programs: Vec<&str> = marked.iter().map(|(program, _)| program.as_str()).collect();
    let errors = compiler.errors(&programs);
    for (number, ((program, message), (_, columns))) in cases.iter().zip(&marked).enumerate() {
        let own: Vec<&Found> = errors.iter().filter(|error| error.line == number as u64 + 1).collect();
        assert!(own.iter().any(|error| error.message.contains(message)), "{program}\n{own:#?}");
        assert!(own.iter().all(|error| error.columns == *columns), "{program}\n{columns:?}\n{own:#?}");
    }
    let lines = 1..=cases.len() as u64;
    assert!(errors.iter().all(|error| lines.contains(&error.line)), "{errors:#?}");
}

#[test]
fn errors_point_at_what_is_wrong() {
    let compiler = Compiler::new();
    check(&compiler, WORDS);
    check(&compiler, TYPES);
}
