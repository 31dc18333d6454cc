//! One module for each command.

pub(crate) mod aggregate;
pub(crate) mod check;
pub(crate) mod database;
pub(crate) mod demo;
pub(crate) mod expire;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod kv;
pub(crate) mod quotas;
pub(crate) mod rank;
pub(crate) mod records;
pub(crate) mod schema;
pub(crate) mod status;
pub(crate) mod tenant;

use std::path::Path;

use tenantry::{Database, Durability, KeyFiles, Options};

use crate::output::{Failure, Outcome};

/// Which database a command works on, and how.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) url: String,
    pub(crate) durability: Durability,
    /// Where the keys of sealed tenants are.
    pub(crate) keys: Option<KeyFiles>,
}

impl Target {
    fn options(&self) -> Options {
        let options = Options::new().durability(self.durability);
        match &self.keys {
            Some(keys) => options.keys(keys.clone()),
            None => options,
        }
    }
}

/// Opens the database for a command that may create it.
async fn open(target: &Target) -> Outcome<Database> {
    Ok(target.options().open(&target.url).await?)
}

/// Opens the database for a command that needs one to be there.
async fn open_existing(target: &Target) -> Outcome<Database> {
    let url = &target.url;
    match target.options().creates(false).open(url).await {
        Ok(database) => Ok(database),
        Err(error) if error.tag() == "StorageNotFound" => Err(Failure::NotFound(format!(
            "there is no database at {url}: create one with \"tenantry schema apply FILE\", or name another with --db"
        ))),
        Err(error) => Err(error.into()),
    }
}

/// Reads a small file whole.
fn read_text(path: &Path, size_bytes_max: u64) -> Outcome<String> {
    let unusable = |error| Failure::Io(path.display().to_string(), error);
    let size_bytes = std::fs::metadata(path).map_err(unusable)?.len();
    if size_bytes > size_bytes_max {
        let detail = format!("it has {size_bytes} bytes, the limit is {size_bytes_max}");
        return Err(unusable(std::io::Error::new(std::io::ErrorKind::FileTooLarge, detail)));
    }
    std::fs::read_to_string(path).map_err(unusable)
}

/// A moment for people.
fn moment(microseconds: i64) -> String {
    jiff::Timestamp::from_microsecond(microseconds)
        .map_or_else(|_| microseconds.to_string(), |moment| moment.to_string())
}
