//! What the command line prints, and the exit codes.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value as Json, json};
use tenantry::jobs::JobFailure;
use tenantry::{Code, Error, Kind};

/// How a command ended. `docs/cli.md` has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Refused = 3,
    NotFound = 4,
    PartlyDone = 5,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    Database(Error),
    /// The error that a job ended with.
    Job(JobFailure),
    /// A file, or standard output.
    Io(String, io::Error),
    /// Words that make no sense together.
    Usage(String),
    /// Something that was looked for.
    NotFound(String),
    /// Standard output is closed: nobody wants to read more.
    Closed,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Database(error)
    }
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Failure::Database(error) => match error.kind() {
                Kind::NotFound => Exit::NotFound,
                Kind::Refused | Kind::Invalid | Kind::Limit => Exit::Refused,
                _ => Exit::Failed,
            },
            Failure::Job(error) => {
                // As if the command had met the error itself.
                match Code::ALL.iter().find(|code| code.number() == error.number).map(|code| code.kind()) {
                    Some(Kind::NotFound) => Exit::NotFound,
                    Some(Kind::Refused | Kind::Invalid | Kind::Limit) => Exit::Refused,
                    _ => Exit::Failed,
                }
            }
            Failure::Io(..) => Exit::Failed,
            Failure::Usage(_) => Exit::Usage,
            Failure::NotFound(_) => Exit::NotFound,
            Failure::Closed => Exit::Done,
        }
    }

    fn to_json(&self) -> Json {
        let (code, tag) = match self {
            Failure::Database(error) => (error.number(), error.tag()),
            Failure::Job(error) => (error.number, &*error.tag),
            Failure::Io(..) => (0, "FileUnusable"),
            Failure::Usage(_) => (0, "Usage"),
            Failure::NotFound(_) => (0, "NotFound"),
            Failure::Closed => (0, "Closed"),
        };
        let mut error = json!({ "code": code, "tag": tag, "message": self.to_string() });
        if let Failure::Database(database_error) = self {
            if let Some(retry_after) = database_error.retry_after() {
                error["retry_after_ms"] = json!(retry_after.as_millis() as u64);
            }
            add_violations(&mut error, database_error);
        }
        json!({ "error": error })
    }
}

/// Adds the rules that a record breaks to what is printed of its error, if it is for them.
pub(crate) fn add_violations(document: &mut Json, error: &Error) {
    let violations = error.violations().iter().map(|violation| {
        json!({
            "type": violation.record_type,
            "field": violation.field,
            "rule": violation.rule,
            "limit": violation.limit,
            "detail": violation.detail,
        })
    });
    let violations: Vec<Json> = violations.collect();
    if !violations.is_empty() {
        document["violations"] = Json::Array(violations);
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Database(error) => write!(formatter, "{error}"),
            Failure::Job(error) => formatter.write_str(&error.message),
            Failure::Io(what, error) => write!(formatter, "{what}: {error}"),
            Failure::Usage(what) | Failure::NotFound(what) => formatter.write_str(what),
            Failure::Closed => formatter.write_str("standard output is closed"),
        }
    }
}

pub(crate) type Outcome<T = Exit> = Result<T, Failure>;

/// Prints for people or for programs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    pub(crate) json: bool,
}

impl Printer {
    /// A line on standard output.
    pub(crate) fn line(self, line: impl fmt::Display) -> Outcome<()> {
        writeln!(io::stdout().lock(), "{line}").map_err(closed)
    }

    /// A line for people, not printed with --json.
    pub(crate) fn say(self, line: impl fmt::Display) -> Outcome<()> {
        if self.json { Ok(()) } else { self.line(line) }
    }

    /// The document of a command, for programs; `text` for people.
    pub(crate) fn document(self, document: &Json, text: impl FnOnce() -> String) -> Outcome<()> {
        match self.json {
            true => self.line(document),
            false => self.line(text()),
        }
    }

    /// A table for people.
    pub(crate) fn table(self, header: &[&str], rows: &[Vec<String>]) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(header.iter().map(|name| name.to_uppercase()));
        for row in rows {
            table.add_row(row.iter().map(|cell| visible(cell)));
        }
        // Without the padding of the first column and at the ends of lines. A blank first cell is no padding.
        let line = |line: &str| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned();
        let lines: Vec<String> = table.to_string().lines().map(line).collect();
        lines.join("\n")
    }

    /// A note on standard error, which never disturbs what a program reads.
    pub(crate) fn note(self, note: impl fmt::Display) {
        let _ = writeln!(io::stderr().lock(), "{note}");
    }

    /// Tells why a command failed: on standard error, with --json as a document on standard output too.
    pub(crate) fn failure(self, failure: &Failure) {
        if matches!(failure, Failure::Closed) {
            return;
        }
        if self.json {
            let _ = writeln!(io::stdout().lock(), "{}", failure.to_json());
        }
        let has_colours =
            io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let (red, plain) = if has_colours { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        self.note(format_args!("{red}error:{plain} {}", visible(&failure.to_string())));
    }
}

fn closed(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Closed,
        _ => Failure::Io("standard output".to_owned(), error),
    }
}

/// Text without the control characters that could steer a terminal; line breaks stay.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => shown.push('\n'),
            character if character.is_control() => shown.extend(character.escape_default()),
            character => shown.push(character),
        }
    }
    shown
}

/// A count with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
