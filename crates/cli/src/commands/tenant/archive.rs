//! A whole tenant as a file, and back.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use serde_json::{Value as Json, json};
use tenantry::{
    ArchiveHasher, ArchiveImporter, ArchiveReader, Archiver, ContentHash, ContentOptions, Database,
};

use super::document;
use crate::output::{Exit, Failure, Outcome, Printer, count};

/// How much of a file is read at a time.
const READ_SIZE_BYTES: usize = 1 << 20;

/// `tenantry tenant export`.
pub(super) async fn export(
    database: &Database,
    name: &str,
    output: Option<&Path>,
    resumes: bool,
    printer: Printer,
) -> Outcome {
    let tenant = database.tenant(name).await?;
    let (mut archiver, mut sink) = match output {
        None => (Archiver::new(&tenant).await?, Sink::Standard),
        Some(path) if resumes => {
            let written = read_frames(path, |_| Ok(()))?;
            let archiver = Archiver::resume(&tenant, &written).await?;
            let file = OpenOptions::new().write(true).open(path).map_err(|error| io_error(path, error))?;
            let mut file = file;
            file.set_len(written.resumable_size_bytes()).map_err(|error| io_error(path, error))?;
            io::Seek::seek(&mut file, io::SeekFrom::End(0)).map_err(|error| io_error(path, error))?;
            (archiver, Sink::File(file, path.display().to_string()))
        }
        Some(path) => {
            let file = File::create_new(path).map_err(|error| io_error(path, error))?;
            (Archiver::new(&tenant).await?, Sink::File(file, path.display().to_string()))
        }
    };
    let mut size_bytes = 0;
    while let Some(bytes) = archiver.step().await? {
        size_bytes += bytes.len() as u64;
        sink.write(&bytes)?;
    }
    sink.sync()?;
    let told = json!({ "tenant": name, "rows": archiver.rows(), "size_bytes": size_bytes,
        "version": archiver.version() });
    let text = format!("{} rows written, {} bytes", count(archiver.rows()), count(size_bytes));
    match output {
        // The stream has standard output for itself.
        None => printer.note(format_args!("{text}")),
        Some(_) => printer.document(&told, || text)?,
    }
    Ok(Exit::Done)
}

enum Sink {
    Standard,
    File(File, String),
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> Outcome<()> {
        match self {
            Sink::Standard => io::stdout().lock().write_all(bytes).map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => Failure::Closed,
                _ => Failure::Io("standard output".to_owned(), error),
            }),
            Sink::File(file, name) => file.write_all(bytes).map_err(|error| Failure::Io(name.clone(), error)),
        }
    }

    fn sync(&mut self) -> Outcome<()> {
        match self {
            Sink::Standard => {
                io::stdout().lock().flush().map_err(|error| Failure::Io("standard output".to_owned(), error))
            }
            Sink::File(file, name) => file.sync_all().map_err(|error| Failure::Io(name.clone(), error)),
        }
    }
}

/// `tenantry tenant import`.
pub(super) async fn import(database: &Database, name: &str, file: &Path, printer: Printer) -> Outcome {
    let mut importer = ArchiveImporter::new(database, name);
    let mut source = open(file)?;
    let mut buffer = vec![0; READ_SIZE_BYTES];
    loop {
        let size = source.read(&mut buffer).map_err(|error| io_error(file, error))?;
        if size == 0 {
            break;
        }
        importer.feed(&buffer[..size]).await?;
    }
    let imported = importer.finish().await?;
    let mut told = document(imported.tenant.info());
    told["rows"] = json!(imported.rows);
    printer.document(&told, || {
        let before = match imported.frames_before {
            0 => String::new(),
            frames => format!("; {} frames were there already", count(frames)),
        };
        format!("tenant {name} imported: {} rows{before}", count(imported.rows))
    })?;
    Ok(Exit::Done)
}

/// `tenantry tenant hash`.
pub(super) async fn hash(
    database: &Database,
    name: Option<&str>,
    file: Option<&Path>,
    printer: Printer,
) -> Outcome {
    let mut options = ContentOptions::default();
    options.directory = Some(std::env::temp_dir().display().to_string());
    let found = match (name, file) {
        (Some(name), _) => database.tenant(name).await?.content_hash(&options).await?,
        (None, Some(file)) => {
            let mut hasher = ArchiveHasher::new(database, &options)?;
            read_frames(file, |frame| Ok(hasher.take(frame)?))?.check_complete()?;
            hasher.finish()?
        }
        (None, None) => return Err(Failure::Usage("name a tenant or, with --file, an archive".to_owned())),
    };
    printer.document(&told(&found), || {
        format!("{} {} rows, {} bytes", found.to_hex(), count(found.rows), count(found.size_bytes))
    })?;
    Ok(Exit::Done)
}

fn told(found: &ContentHash) -> Json {
    json!({ "hash": found.to_hex(), "rows": found.rows, "size_bytes": found.size_bytes, "version": found.version })
}

/// Reads the frames of a file, as far as they are whole.
fn read_frames(
    path: &Path,
    mut take: impl FnMut(&tenantry::ArchiveFrame) -> Outcome<()>,
) -> Outcome<ArchiveReader> {
    let (mut reader, mut source) = (ArchiveReader::new(), open(path)?);
    let mut buffer = vec![0; READ_SIZE_BYTES];
    loop {
        let size = source.read(&mut buffer).map_err(|error| io_error(path, error))?;
        if size == 0 {
            return Ok(reader);
        }
        reader.feed(&buffer[..size]);
        while let Some(frame) = reader.next_frame()? {
            take(&frame)?;
        }
    }
}

fn open(path: &Path) -> Outcome<Box<dyn Read>> {
    match path.to_str() {
        Some("-") => Ok(Box::new(io::stdin())),
        _ => Ok(Box::new(File::open(path).map_err(|error| io_error(path, error))?)),
    }
}

fn io_error(path: &Path, error: io::Error) -> Failure {
    Failure::Io(path.display().to_string(), error)
}
