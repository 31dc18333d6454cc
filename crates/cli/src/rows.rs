//! Rows out of files, one at a time, each with the line it begins on. What is no row is handed on as the reason why, and reading goes on behind it; a row
//! takes no more memory than a JSON document may have bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value as Json;
use tenantry::limits::JSON_SIZE_BYTES_MAX;
use tenantry::{Code, Error, ImportRow, RowContents, parse_json};

use crate::csv::CsvReader;
use crate::output::{Failure, Outcome};

/// How much of a file is read at a time.
const BUFFER_SIZE_BYTES: usize = 64 << 10;

/// The rows of a file.
pub(crate) struct Rows {
    source: Source,
    /// How many bytes of the file were taken.
    bytes_read: Arc<AtomicU64>,
    size_bytes: u64,
    name: String,
    /// Why reading ended, if the rows before it are still to be handed on.
    ended: Option<io::Error>,
}

enum Source {
    Lines { reader: Box<dyn BufRead + Send>, line: u64 },
    List(List),
    Csv(CsvReader),
}

impl Rows {
    /// Opens a file by its extension.
    pub(crate) fn open(path: &Path) -> Outcome<Rows> {
        let name = path.display().to_string();
        let unusable = |error| Failure::Io(name.clone(), error);
        let extension =
            path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_owned();
        if !matches!(extension.as_str(), "json" | "jsonl" | "csv") {
            return Err(Failure::Usage(format!("{name}: rows are read from .json, .jsonl and .csv files")));
        }
        let file = File::open(path).map_err(unusable)?;
        let size_bytes = file.metadata().map_err(unusable)?.len();
        let rows = Rows::read(Box::new(file), &extension).map_err(unusable)?;
        Ok(Rows { size_bytes, name, ..rows })
    }

    /// JSON lines from standard input.
    pub(crate) fn of_standard_input() -> Rows {
        let bytes_read = Arc::<AtomicU64>::default();
        let counted = Counted { file: Box::new(io::stdin()), bytes_read: bytes_read.clone() };
        let source = Source::Lines { reader: Box::new(BufReader::new(counted)), line: 0 };
        Rows { source, bytes_read, size_bytes: 0, name: "standard input".to_owned(), ended: None }
    }

    fn read(file: Box<dyn Read + Send>, extension: &str) -> io::Result<Rows> {
        let bytes_read = Arc::<AtomicU64>::default();
        let counted = Counted { file, bytes_read: bytes_read.clone() };
        let reader = Box::new(BufReader::with_capacity(BUFFER_SIZE_BYTES, counted));
        let source = match extension {
            "jsonl" => Source::Lines { reader, line: 0 },
            "csv" => Source::Csv(CsvReader::new(reader)?),
            _ => Source::List(List { reader, line: 1, state: ListState::Before }),
        };
        Ok(Rows { source, bytes_read, size_bytes: 0, name: String::new(), ended: None })
    }

    /// How far reading has come, and how far it goes, in bytes.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.bytes_read.load(Ordering::Relaxed), self.size_bytes)
    }

    /// The next rows: fewer than asked for at the end, none behind it. When the file cannot be read further, the rows before come first and the error with the
    /// next call.
    pub(crate) fn next_rows(&mut self, rows_max: usize, size_bytes_max: u64) -> Outcome<Vec<ImportRow>> {
        if let Some(error) = self.ended.take() {
            return Err(Failure::Io(self.name.clone(), error));
        }
        let begin = self.progress().0;
        let mut rows = Vec::new();
        while rows.len() < rows_max && self.progress().0 - begin < size_bytes_max {
            let next = match &mut self.source {
                Source::Lines { reader, line } => next_line(reader, line),
                Source::List(list) => list.next(),
                Source::Csv(reader) => reader.next(),
            };
            match next {
                Ok(Some(row)) => rows.push(row),
                Ok(None) => break,
                Err(error) if rows.is_empty() => return Err(Failure::Io(self.name.clone(), error)),
                Err(error) => {
                    self.ended = Some(error);
                    break;
                }
            }
        }
        Ok(rows)
    }
}

/// Counts what is read.
struct Counted {
    file: Box<dyn Read + Send>,
    bytes_read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.bytes_read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

fn row_of(line: u64, text: &[u8]) -> ImportRow {
    let contents = std::str::from_utf8(text)
        .map_err(|_| Error::new(Code::ImportRowInvalid, "the row is not UTF-8"))
        .and_then(parse_json)
        .and_then(|json| match json {
            Json::Object(object) => Ok(RowContents::Json(object)),
            _ => Err(Error::new(Code::ImportRowInvalid, "the row is no object: {\"column\": value}")),
        });
    ImportRow { line, contents }
}

fn too_long(line: u64) -> ImportRow {
    let detail = format!("the row has more than {JSON_SIZE_BYTES_MAX} bytes");
    ImportRow { line, contents: Err(Error::new(Code::LimitPassed, detail)) }
}

fn next_line(reader: &mut Box<dyn BufRead + Send>, line: &mut u64) -> io::Result<Option<ImportRow>> {
    loop {
        *line += 1;
        let mut text = Vec::new();
        let limit = JSON_SIZE_BYTES_MAX as u64 + 1;
        if reader.by_ref().take(limit).read_until(b'\n', &mut text)? == 0 {
            return Ok(None);
        }
        if text.len() as u64 == limit && text.last() != Some(&b'\n') {
            skip_line(reader)?;
            return Ok(Some(too_long(*line)));
        }
        let trimmed = text.strip_prefix(b"\xef\xbb\xbf").filter(|_| *line == 1).unwrap_or(&text).trim_ascii();
        if !trimmed.is_empty() {
            return Ok(Some(row_of(*line, trimmed)));
        }
    }
}

fn skip_line(reader: &mut Box<dyn BufRead + Send>) -> io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let count = end.map_or(buffer.len(), |end| end + 1);
        let is_end = end.is_some() || buffer.is_empty();
        reader.consume(count);
        if is_end {
            return Ok(());
        }
    }
}

/// The elements of one JSON list, cut out without reading the whole of it.
struct List {
    reader: Box<dyn BufRead + Send>,
    line: u64,
    state: ListState,
}

#[derive(Clone, Copy, PartialEq)]
enum ListState {
    /// In front of the bracket.
    Before,
    /// In front of the first element, or of the end.
    First,
    /// In front of an element.
    Element,
    /// Behind the bracket.
    Behind,
    /// Behind the file, or behind something that is no list.
    Over,
}

impl List {
    fn next(&mut self) -> io::Result<Option<ImportRow>> {
        if self.state == ListState::Before {
            if self.peek()? == Some(0xef) {
                self.reader.consume(3);
            }
            match self.skip_spaces()? {
                Some(b'[') => self.take(),
                _ => return Ok(Some(self.broken("the file is no list of objects: [{...}, {...}]"))),
            }
            self.state = ListState::First;
        }
        match self.state {
            ListState::Over => return Ok(None),
            ListState::Behind => return self.end(),
            _ => {}
        }
        match self.skip_spaces()? {
            Some(b']') if self.state == ListState::First => {
                self.take();
                return self.end();
            }
            None => return Ok(Some(self.broken("the file ends inside the list"))),
            _ => {}
        }
        let line = self.line;
        let (text, is_long) = self.element()?;
        let row = match is_long {
            true => too_long(line),
            false => row_of(line, text.trim_ascii()),
        };
        match self.peek()? {
            Some(b',') => {
                self.take();
                self.state = ListState::Element;
            }
            Some(b']') => {
                self.take();
                // What follows the list, if anything does, is told as the next row.
                self.state = ListState::Behind;
            }
            _ => {
                // The end of the file: told as the next row.
                self.state = ListState::Element;
            }
        }
        Ok(Some(row))
    }

    fn end(&mut self) -> io::Result<Option<ImportRow>> {
        match self.skip_spaces()? {
            None => {
                self.state = ListState::Over;
                Ok(None)
            }
            Some(_) => Ok(Some(self.broken("something follows the end of the list"))),
        }
    }

    fn broken(&mut self, why: &str) -> ImportRow {
        self.state = ListState::Over;
        ImportRow { line: self.line, contents: Err(Error::new(Code::JsonInvalid, why)) }
    }

    /// The bytes up to the comma or bracket that ends an element.
    fn element(&mut self) -> io::Result<(Vec<u8>, bool)> {
        let mut text = Vec::new();
        let (mut depth, mut is_string, mut is_escaped, mut is_long) = (0u64, false, false, false);
        while let Some(byte) = self.peek()? {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if is_string => is_escaped = true,
                b'"' => is_string = !is_string,
                _ if is_string => {}
                b'[' | b'{' => depth += 1,
                b',' | b']' if depth == 0 => break,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if text.len() > JSON_SIZE_BYTES_MAX {
                is_long = true;
                text.clear();
            }
            if !is_long {
                text.push(byte);
            }
            self.take();
        }
        Ok((text, is_long))
    }

    fn skip_spaces(&mut self) -> io::Result<Option<u8>> {
        while let Some(byte) = self.peek()? {
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            if byte == b'\n' {
                self.line += 1;
            }
            self.reader.consume(1);
        }
        Ok(None)
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.reader.fill_buf()?.first().copied())
    }

    fn take(&mut self) {
        if let Ok(Some(b'\n')) = self.peek() {
            self.line += 1;
        }
        self.reader.consume(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: impl Into<Vec<u8>>, extension: &str) -> Vec<(u64, Result<String, Code>)> {
        let mut rows = Rows::read(Box::new(io::Cursor::new(text.into())), extension).unwrap();
        let read = rows.next_rows(1_000, u64::MAX).unwrap();
        assert!(rows.next_rows(1_000, u64::MAX).unwrap().is_empty());
        let shown = |contents| match contents {
            RowContents::Json(object) => Json::Object(object).to_string(),
            RowContents::Text { columns, cells } => {
                format!("{:?}", columns.iter().zip(cells).collect::<Vec<_>>())
            }
            _ => String::new(),
        };
        read.into_iter()
            .map(|row| (row.line, row.contents.map(shown).map_err(|error| error.code())))
            .collect()
    }

    fn good(line: u64, text: &str) -> (u64, Result<String, Code>) {
        (line, Ok(text.to_owned()))
    }

    /// The rows before a place that cannot be read were lost with the error.
    #[test]
    fn the_rows_before_a_read_error_come_first() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk is worn out"))
            }
        }
        for (text, extension) in [("{}\n{}\n", "jsonl"), ("[{},{},", "json"), ("a\n1\n2\n", "csv")] {
            let file = io::Cursor::new(text.as_bytes()).chain(Broken);
            let mut rows = Rows::read(Box::new(file), extension).unwrap();
            assert_eq!(rows.next_rows(1_000, u64::MAX).unwrap().len(), 2, "{extension}");
            let failure = rows.next_rows(1_000, u64::MAX).unwrap_err();
            assert!(failure.to_string().contains("worn out"), "{extension}: {failure}");
        }
    }

    #[test]
    fn a_list_is_cut_into_its_elements() {
        assert_eq!(rows("[]", "json"), []);
        assert_eq!(rows("\u{feff} [ ]\n", "json"), []);
        let text = "[\n  {\"a\": \"],{\\\"\"},\n\n  {\"b\":\n [1,{}]}, {}\n]\n";
        assert_eq!(
            rows(text, "json"),
            [good(2, "{\"a\":\"],{\\\"\"}"), good(4, "{\"b\":[1,{}]}"), good(5, "{}")]
        );
    }

    #[test]
    fn what_is_no_row_is_told_and_the_rest_is_read() {
        assert_eq!(rows("[{\"a\":1},7,{\"a\":,},{\"a\":2}]", "json").len(), 4);
        assert_eq!(rows("{}", "json"), [(1, Err(Code::JsonInvalid))]);
        assert_eq!(rows("", "json"), [(1, Err(Code::JsonInvalid))]);
        assert_eq!(rows("[{}", "json"), [good(1, "{}"), (1, Err(Code::JsonInvalid))]);
        assert_eq!(rows("[{},]", "json"), [good(1, "{}"), (1, Err(Code::JsonInvalid))]);
        assert_eq!(rows("[{}] x", "json"), [good(1, "{}"), (1, Err(Code::JsonInvalid))]);
        let long = format!("[{{}},\n\"{}\",\n{{}}]", "x".repeat(5_000_000));
        assert_eq!(rows(long, "json"), [good(1, "{}"), (2, Err(Code::LimitPassed)), good(3, "{}")]);
        let deep = format!("[{{}},{},{{}}]", "[".repeat(100_000) + &"]".repeat(100_000));
        assert_eq!(rows(deep, "json").len(), 3);
    }

    #[test]
    fn lines_are_rows() {
        let text = b"{\"a\":1}\n\n  \nnot json\r\n[]\n{\"b\":\"\xff\"}\n{\"c\":3}".to_vec();
        let expected = [
            good(1, "{\"a\":1}"),
            (4, Err(Code::JsonInvalid)),
            (5, Err(Code::ImportRowInvalid)),
            (6, Err(Code::ImportRowInvalid)),
            good(7, "{\"c\":3}"),
        ];
        assert_eq!(rows(text, "jsonl"), expected);
        let long = format!("{{}}\n{}\n{{}}\n", "x".repeat(9_000_000));
        assert_eq!(rows(long, "jsonl"), [good(1, "{}"), (2, Err(Code::LimitPassed)), good(3, "{}")]);
    }

    #[test]
    fn cells_are_read_by_the_header() {
        let text = "\u{feff}a,b\n1,\"x\ny\"\n2\n3,\n";
        let expected = [
            good(2, "[(\"a\", Some(\"1\")), (\"b\", Some(\"x\\ny\"))]"),
            (4, Err(Code::ImportRowInvalid)),
            good(5, "[(\"a\", Some(\"3\")), (\"b\", None)]"),
        ];
        assert_eq!(rows(text, "csv"), expected);
        assert!(Rows::read(Box::new(io::Cursor::new(b"a,a\n1,2\n".to_vec())), "csv").is_err());
        let mut endless =
            Rows::read(Box::new(io::Cursor::new([b"a\n\"".to_vec(), vec![b'x'; 9_000_000]].concat())), "csv")
                .unwrap();
        assert!(endless.next_rows(10, u64::MAX).is_err());
    }
}
