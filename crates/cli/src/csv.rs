//! CSV as RFC 4180 has it, read and written so that nothing is lost: a cell without anything in it is missing, one with a pair of quotes is an empty text.

use std::io::{self, BufRead, Write};
use std::sync::Arc;

use tenantry::limits::JSON_SIZE_BYTES_MAX;
use tenantry::{Code, Error, ImportRow, RowContents};

/// Reads the rows of a file with a header.
///
/// Lines end with CR, LF or both; empty ones are skipped. A quote opens a quoted cell at its begin alone; what follows the closing quote belongs to the cell.
pub(crate) struct CsvReader {
    reader: Box<dyn BufRead + Send>,
    /// The line of the next byte, from 1.
    line: u64,
    columns: Arc<[String]>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// In front of a row.
    Row,
    /// In front of a cell.
    Cell,
    Plain,
    Quoted,
    /// Behind a quote in a quoted cell, which closes it unless another one follows.
    Quote,
}

/// A row as it is read.
#[derive(Default)]
struct Row {
    line: u64,
    cells: Vec<Option<Vec<u8>>>,
    cell: Vec<u8>,
    is_quoted: bool,
    size_bytes: usize,
}

impl Row {
    fn end_cell(&mut self) {
        let is_there = self.is_quoted || !self.cell.is_empty();
        self.cells.push(is_there.then(|| std::mem::take(&mut self.cell)));
        self.is_quoted = false;
    }
}

impl CsvReader {
    /// Reads the header.
    pub(crate) fn new(reader: Box<dyn BufRead + Send>) -> io::Result<CsvReader> {
        let mut reader = CsvReader { reader, line: 1, columns: Arc::new([]) };
        if reader.reader.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
            reader.reader.consume(3);
        }
        let invalid = |detail: String| io::Error::new(io::ErrorKind::InvalidData, detail);
        let mut columns: Vec<String> = Vec::new();
        for cell in reader.read_row()?.map(|row| row.cells).unwrap_or_default() {
            let name = String::from_utf8(cell.unwrap_or_default())
                .map_err(|_| invalid("the header is not UTF-8".to_owned()))?;
            if columns.contains(&name) {
                let column = columns.len() + 1;
                return Err(invalid(format!("the header names {name:?} twice (column {column})")));
            }
            columns.push(name);
        }
        reader.columns = columns.into();
        Ok(reader)
    }

    /// The next row; an error where none can be read any more.
    pub(crate) fn next(&mut self) -> io::Result<Option<ImportRow>> {
        let Some(row) = self.read_row()? else { return Ok(None) };
        let refused = |detail: String| Error::new(Code::ImportRowInvalid, detail);
        let (found, asked) = (row.cells.len(), self.columns.len());
        let contents = if found != asked {
            Err(refused(format!("the row has {found} cells, the header {asked}")))
        } else {
            let named = self.columns.iter().zip(row.cells);
            let text =
                |(name, cell): (&String, Option<Vec<u8>>)| match cell.map(String::from_utf8).transpose() {
                    Ok(cell) => Ok(cell),
                    Err(_) => Err(refused(format!("the column {name:?} is not UTF-8"))),
                };
            let cells = named.map(text).collect::<Result<Vec<_>, Error>>();
            cells.map(|cells| RowContents::Text { columns: self.columns.clone(), cells })
        };
        Ok(Some(ImportRow { line: row.line, contents }))
    }

    fn read_row(&mut self) -> io::Result<Option<Row>> {
        let (mut row, mut state) = (Row::default(), State::Row);
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                if state == State::Row {
                    return Ok(None);
                }
                row.end_cell();
                return Ok(Some(row));
            }
            let mut used = 0;
            let mut is_over = false;
            while let Some(byte) = buffer.get(used).copied().filter(|_| !is_over) {
                let rest = &buffer[used..];
                let run = match state {
                    State::Plain => run_of(rest, |byte| !matches!(byte, b',' | b'\r' | b'\n')),
                    State::Quoted => run_of(rest, |byte| byte != b'"'),
                    _ => 0,
                };
                if run > 0 {
                    row.cell.extend_from_slice(&rest[..run]);
                    row.size_bytes += run;
                    // A quoted cell alone can hold one.
                    self.line += rest[..run].iter().filter(|byte| **byte == b'\n').count() as u64;
                    used += run;
                    continue;
                }
                used += 1;
                row.size_bytes += 1;
                if state == State::Row {
                    if matches!(byte, b'\r' | b'\n') {
                        self.line += u64::from(byte == b'\n');
                        continue;
                    }
                    row.line = self.line;
                    state = State::Cell;
                }
                state = match (state, byte) {
                    (State::Quoted, _) => State::Quote,
                    (State::Cell, b'"') => {
                        row.is_quoted = true;
                        State::Quoted
                    }
                    (State::Quote, b'"') => {
                        row.cell.push(b'"');
                        State::Quoted
                    }
                    (_, b',') => {
                        row.end_cell();
                        State::Cell
                    }
                    (_, b'\r' | b'\n') => {
                        self.line += u64::from(byte == b'\n');
                        row.end_cell();
                        is_over = true;
                        State::Row
                    }
                    (_, byte) => {
                        row.cell.push(byte);
                        State::Plain
                    }
                };
            }
            self.reader.consume(used);
            if is_over {
                return Ok(Some(row));
            }
            if row.size_bytes > JSON_SIZE_BYTES_MAX && state != State::Row {
                let detail = format!("a row has more than {JSON_SIZE_BYTES_MAX} bytes: is a quote missing?");
                return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
            }
        }
    }
}

fn run_of(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !belongs(*byte)).unwrap_or(bytes.len())
}

/// Writes a row; a cell that is missing is written as nothing, one that is empty as a pair of quotes.
pub(crate) fn write_row<'a>(
    output: &mut impl Write,
    cells: impl IntoIterator<Item = Option<&'a str>>,
) -> io::Result<()> {
    for (place, cell) in cells.into_iter().enumerate() {
        if place > 0 {
            output.write_all(b",")?;
        }
        let Some(cell) = cell else { continue };
        match cell.is_empty() || cell.contains(['"', ',', '\r', '\n']) {
            true => write!(output, "\"{}\"", cell.replace('"', "\"\""))?,
            false => output.write_all(cell.as_bytes())?,
        }
    }
    output.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<Vec<Option<String>>> {
        // Buffers of a few bytes, so that rows lie across them.
        let reader = io::BufReader::with_capacity(3, io::Cursor::new(text.to_vec()));
        let mut reader = CsvReader { reader: Box::new(reader), line: 1, columns: Arc::new([]) };
        let text = |cell: Option<Vec<u8>>| cell.map(|cell| String::from_utf8(cell).unwrap());
        let next = || reader.read_row().unwrap().map(|row| row.cells.into_iter().map(text).collect());
        std::iter::from_fn(next).collect()
    }

    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % bound
        }
    }

    /// But for the difference between nothing and an empty text, it reads what a reader that many use reads, out of any bytes.
    #[test]
    fn it_reads_what_others_read() {
        let mut random = Random(1);
        for _ in 0..20_000 {
            let pieces: [&[u8]; 9] = [b"a", b"b ", b",", b",", b"\"", b"\"", b"\n", b"\r\n", b"\r"];
            let text: Vec<u8> =
                (0..random.below(14)).flat_map(|_| pieces[random.below(pieces.len())]).copied().collect();
            let mut other =
                csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&text[..]);
            let expected: Vec<Vec<String>> =
                other.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect();
            let found: Vec<Vec<String>> = read(&text)
                .into_iter()
                .map(|row| row.into_iter().map(Option::unwrap_or_default).collect())
                .collect();
            assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut random = Random(2);
        let cells = [None, Some(""), Some("a"), Some(" "), Some("\""), Some("a,\"b\"\r\nc"), Some("é\u{0}")];
        for _ in 0..2_000 {
            let rows: Vec<Vec<Option<&str>>> = (0..random.below(5))
                .map(|_| (0..2 + random.below(3)).map(|_| cells[random.below(cells.len())]).collect())
                .collect();
            let mut text = Vec::new();
            rows.iter().for_each(|row| write_row(&mut text, row.iter().copied()).unwrap());
            let expected: Vec<Vec<Option<String>>> =
                rows.iter().map(|row| row.iter().map(|cell| cell.map(str::to_owned)).collect()).collect();
            assert_eq!(read(&text), expected, "{:?}", String::from_utf8_lossy(&text));
        }
    }
}
