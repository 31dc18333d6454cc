//! `tenantry export`.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tempfile::{Builder, NamedTempFile};
use tenantry::limits::JSON_SIZE_BYTES_MAX;
use tenantry::{Export, Exported, ExportedRecord, Exporter, Filter, Query};

use super::records::with_parameters;
use super::{Target, open_existing};
use crate::arguments::{ExportArguments, ExportFormat};
use crate::csv::write_row;
use crate::output::{Exit, Failure, Outcome, Printer, count};

/// After how many records the progress is shown again.
const SHOWN_EVERY: u64 = 1_000;

/// How many records went where.
struct Written {
    record_type: String,
    /// None for standard output.
    path: Option<PathBuf>,
    records: u64,
    /// How many rows are longer than an import reads.
    long_rows: u64,
}

pub(crate) async fn run(arguments: ExportArguments, target: &Target, printer: Printer) -> Outcome {
    let format = format_of(&arguments)?;
    if arguments.record_type.is_none() && arguments.output.is_none() {
        let detail =
            "all types go into a directory, a file for each: name TYPE, or the directory with --output";
        return Err(Failure::Usage(detail.to_owned()));
    }
    if printer.json && format == ExportFormat::Csv && arguments.output.is_none() {
        let detail = "with --json, standard output has no room for CSV: name a file with --output";
        return Err(Failure::Usage(detail.to_owned()));
    }
    let started = Instant::now();
    let export = asked_for(&arguments)?;
    let tenant = open_existing(target).await?.tenant(&arguments.tenant).await?;
    // What does not fit into memory lies where nobody else may read it, and goes with the command.
    let parent = directory_of(&arguments)?;
    let aside = Builder::new().prefix(".tenantry-export-").tempdir_in(&parent);
    let aside = aside.map_err(|error| unusable(&parent, error))?;
    let export = export.directory(aside.path().display().to_string());
    let bar = progress(printer);
    let mut exporter = Exporter::new(&tenant, export).await?;
    while exporter.step().await? {
        bar.set_message(format!("{} rows read", count(exporter.rows())));
        bar.tick();
    }
    let exported = exporter.finish()?;
    let version = exported.version();
    let written = write_all(exported, &arguments, format, &bar)?;
    bar.finish_and_clear();
    report(&written, version, started.elapsed().as_secs_f64(), printer)
}

fn unusable(path: &Path, error: io::Error) -> Failure {
    Failure::Io(path.display().to_string(), error)
}

/// The format that was asked for, or that of the file's name.
fn format_of(arguments: &ExportArguments) -> Outcome<ExportFormat> {
    let extension = arguments.output.as_ref().and_then(|path| path.extension()?.to_str());
    match (arguments.format, extension) {
        (Some(format), _) => Ok(format),
        (None, Some("csv")) => Ok(ExportFormat::Csv),
        (None, _) => Ok(ExportFormat::Jsonl),
    }
}

fn asked_for(arguments: &ExportArguments) -> Outcome<Export> {
    let Some(record_type) = &arguments.record_type else { return Ok(Export::everything()) };
    let mut query = Query::of(record_type).select(&arguments.select);
    query.filter = arguments.filter.as_deref().map(Filter::from);
    Ok(Export::of(with_parameters(query, &arguments.parameters)?))
}

/// Where files may be put aside: beside the output.
fn directory_of(arguments: &ExportArguments) -> Outcome<PathBuf> {
    match (&arguments.output, &arguments.record_type) {
        (None, _) => Ok(std::env::temp_dir()),
        (Some(directory), None) => {
            fs::create_dir_all(directory).map_err(|error| unusable(directory, error))?;
            Ok(directory.clone())
        }
        (Some(path), Some(_)) => match is_special(path) {
            true => Ok(std::env::temp_dir()),
            false => Ok(parent_of(path)),
        },
    }
}

fn parent_of(path: &Path) -> PathBuf {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// Whether there is something that a file must not take the place of: a pipe, a device.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

fn progress(printer: Printer) -> ProgressBar {
    if printer.json {
        return ProgressBar::hidden();
    }
    // Hidden by itself where standard error is no terminal.
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
        bar.set_style(style);
    }
    bar
}

/// Where the records of a type are written.
enum Place {
    StandardOutput,
    /// Has its name at the end.
    Temporary(Box<NamedTempFile>, PathBuf),
    Special(File, PathBuf),
}

impl Place {
    fn open(path: &Path) -> Outcome<Place> {
        if is_special(path) {
            let file = OpenOptions::new().write(true).open(path).map_err(|error| unusable(path, error))?;
            return Ok(Place::Special(file, path.to_owned()));
        }
        // A link stays one: the file that it leads to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if path.is_dir() {
            return Err(Failure::Usage(format!("{} is a directory: name a file", path.display())));
        }
        // The system takes away what its users do not want to give.
        let permissions = fs::metadata(&path).map_or(Permissions::from_mode(0o666), |it| it.permissions());
        let file =
            Builder::new().prefix(".tenantry-export-").permissions(permissions).tempfile_in(parent_of(&path));
        Ok(Place::Temporary(Box::new(file.map_err(|error| unusable(&path, error))?), path))
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Place::StandardOutput => None,
            Place::Temporary(_, path) | Place::Special(_, path) => Some(path),
        }
    }

    fn failure(&self, error: io::Error) -> Failure {
        match self.path() {
            Some(path) => unusable(path, error),
            None if error.kind() == io::ErrorKind::BrokenPipe => Failure::Closed,
            None => Failure::Io("standard output".to_owned(), error),
        }
    }

    /// Brings what was written to the disk and gives it its name.
    fn close(self) -> Outcome<()> {
        let Place::Temporary(file, path) = self else { return Ok(()) };
        file.as_file().sync_all().map_err(|error| unusable(&path, error))?;
        file.persist(&path).map_err(|error| unusable(&path, error.error))?;
        let parent = parent_of(&path);
        File::open(&parent).and_then(|parent| parent.sync_all()).map_err(|error| unusable(&parent, error))
    }
}

impl Write for Place {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Place::StandardOutput => io::stdout().lock().write(bytes),
            Place::Temporary(file, _) => file.write(bytes),
            Place::Special(file, _) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Place::StandardOutput => io::stdout().lock().flush(),
            Place::Temporary(file, _) => file.flush(),
            Place::Special(file, _) => file.flush(),
        }
    }
}

/// The records of a type on their way out.
struct Output {
    format: ExportFormat,
    writer: BufWriter<Place>,
    row: Vec<u8>,
    written: Written,
}

impl Output {
    fn open(
        record_type: &str,
        columns: &[String],
        format: ExportFormat,
        path: Option<&Path>,
    ) -> Outcome<Output> {
        let place = path.map_or(Ok(Place::StandardOutput), Place::open)?;
        let path = place.path().map(Path::to_owned);
        let written = Written { record_type: record_type.to_owned(), path, records: 0, long_rows: 0 };
        let writer = BufWriter::with_capacity(256 << 10, place);
        let mut output = Output { format, writer, row: Vec::new(), written };
        if format == ExportFormat::Csv {
            let header = columns.iter().map(|name| Some(name.as_str()));
            write_row(&mut output.row, header).map_err(|error| output.writer.get_ref().failure(error))?;
            output.put_row()?;
        }
        Ok(output)
    }

    fn write(&mut self, record: &ExportedRecord) -> Outcome<()> {
        let made = match self.format {
            ExportFormat::Jsonl => writeln!(self.row, "{}", record.to_json()),
            ExportFormat::Csv => write_row(&mut self.row, record.to_texts().iter().map(Option::as_deref)),
        };
        made.map_err(|error| self.writer.get_ref().failure(error))?;
        self.written.records += 1;
        self.written.long_rows += u64::from(self.row.len() > JSON_SIZE_BYTES_MAX);
        self.put_row()
    }

    fn put_row(&mut self) -> Outcome<()> {
        let put = self.writer.write_all(&self.row);
        self.row.clear();
        put.map_err(|error| self.writer.get_ref().failure(error))
    }

    /// Writes out what waits; the file has its name only when all have been written.
    fn end(mut self) -> Outcome<(Place, Written)> {
        self.writer.flush().map_err(|error| self.writer.get_ref().failure(error))?;
        match self.writer.into_inner() {
            Ok(place) => Ok((place, self.written)),
            Err(error) => Err(Failure::Io("the output".to_owned(), error.into_error())),
        }
    }
}

fn write_all(
    exported: Exported,
    arguments: &ExportArguments,
    format: ExportFormat,
    bar: &ProgressBar,
) -> Outcome<Vec<Written>> {
    let columns = exported
        .columns()
        .into_iter()
        .map(|(name, columns)| (name.to_owned(), columns.into_iter().map(str::to_owned).collect::<Vec<_>>()));
    let mut outputs = Vec::new();
    for (name, columns) in columns.collect::<Vec<_>>() {
        // The names of types are letters, digits and underscores.
        let path = match (&arguments.output, &arguments.record_type) {
            (Some(directory), None) => Some(directory.join(format!("{name}.{}", format.extension()))),
            (path, _) => path.clone(),
        };
        outputs.push(Output::open(&name, &columns, format, path.as_deref())?);
    }
    let (mut place, mut records) = (0, 0);
    for record in exported {
        let record = record?;
        while outputs.get(place).is_some_and(|output| output.written.record_type != record.record_type()) {
            place += 1;
        }
        let Some(output) = outputs.get_mut(place) else { break };
        output.write(&record)?;
        records += 1;
        if records % SHOWN_EVERY == 0 {
            bar.set_message(format!("{} records written", count(records)));
            bar.tick();
        }
    }
    let ended = outputs.into_iter().map(Output::end).collect::<Outcome<Vec<_>>>()?;
    ended.into_iter().map(|(place, written)| place.close().map(|()| written)).collect()
}

fn report(written: &[Written], version: i64, seconds: f64, printer: Printer) -> Outcome {
    let records: u64 = written.iter().map(|written| written.records).sum();
    let long_rows: u64 = written.iter().map(|written| written.long_rows).sum();
    if long_rows > 0 {
        printer.note(format_args!(
            "{} rows have more than {JSON_SIZE_BYTES_MAX} bytes, which an import does not read",
            count(long_rows)
        ));
    }
    let told = format!(
        "{} records exported as they were at the version {version}, in {seconds:.1} s",
        count(records)
    );
    if written.iter().any(|written| written.path.is_none()) {
        // Standard output holds the records and nothing else.
        printer.note(told);
        return Ok(Exit::Done);
    }
    let files = written.iter().map(|written| {
        json!({
            "type": written.record_type,
            "file": written.path.as_ref().map(|path| path.display().to_string()),
            "records": written.records,
        })
    });
    let document = json!({
        "records": records,
        "version": version,
        "files": files.collect::<Vec<_>>(),
        "rows_too_long_for_import": long_rows,
        "seconds": (seconds * 1_000.0).round() / 1_000.0,
    });
    printer.document(&document, || told)?;
    Ok(Exit::Done)
}
