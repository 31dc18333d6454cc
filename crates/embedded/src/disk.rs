//! A database directory: format, lock, log and map, opened and recovered.
//!
//! ```text
//! FORMAT          the text "tenantry embedded 2\n"
//! LOCK            locked while a process has the database open; holds its name
//! log-<number>    the log's segments, sixteen hexadecimal digits; log-spare, log-preparing, log-growing: files for later segments
//! map             the manifest of the map; map-next: the one that is being written
//! table-<number>  the map's tables, sixteen hexadecimal digits
//! ```

use std::sync::Arc;

use tenantry_kv::env::{Directory, Env, LockGuard};
use tenantry_kv::{Error, ErrorCode, Result};

use crate::log::{Log, Recovered, recover};
use crate::map::{LsmMap, OrderedMap};
use crate::settings::Settings;
use crate::stats::Counters;

const FORMAT_NAME: &str = "FORMAT";
const FORMAT: &[u8] = b"tenantry embedded 2\n";

/// An opened database directory.
pub(crate) struct Disk {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) log: Log,
    pub(crate) map: Box<dyn OrderedMap>,
    pub(crate) recovered: Recovered,
    pub(crate) lock: Box<dyn LockGuard>,
}

impl Disk {
    /// Opens or creates the database in the directory at `path`.
    ///
    /// # Errors
    ///
    /// 10003 when another process has it open; 10005 when it is not a database, or one of a later release; 10001 when it is damaged;
    /// 10002, 1510.
    pub(crate) fn open(
        path: &str,
        owner: &str,
        settings: &Settings,
        env: &Env,
        counters: &Counters,
    ) -> Result<Disk> {
        let directory = env.storage.open_directory(path)?;
        let lock = directory.lock("LOCK", owner)?;
        check_format(&*directory, path)?;
        // The map is there before anything else is written.
        let is_new =
            !directory.list()?.iter().any(|name| name.starts_with("log-") || name.starts_with("table-"));
        let map = LsmMap::open(
            directory.clone(),
            path,
            is_new,
            settings.cache_size_bytes,
            settings.map.clone(),
            counters.map_bytes_written.clone(),
        )?;
        let recovered = recover(&directory, map.applied()?)?;
        let log = Log::begin(
            directory.clone(),
            &recovered,
            settings.log_segment_size_bytes,
            counters.log_bytes_written.clone(),
        )?;
        Ok(Disk { directory, log, map: Box::new(map), recovered, lock })
    }
}

fn check_format(directory: &dyn Directory, path: &str) -> Result<()> {
    let names = directory.list()?;
    if !names.iter().any(|name| name == FORMAT_NAME) {
        // A crash while the database was created leaves the lock and a half-written format file under its first name.
        let foreign = names.iter().find(|name| !matches!(name.as_str(), "LOCK" | "FORMAT-new"));
        if let Some(foreign) = foreign {
            let detail = format!(
                "{path} holds {foreign} but no database: give an empty directory, or the one of a database"
            );
            return Err(Error::new(ErrorCode::FORMAT_UNSUPPORTED, detail));
        }
        let file = directory.open("FORMAT-new", true)?;
        file.set_len(0)?;
        file.write_at(0, FORMAT)?;
        file.sync_data()?;
        directory.rename("FORMAT-new", FORMAT_NAME)?;
        return directory.sync();
    }
    let file = directory.open(FORMAT_NAME, false)?;
    let mut found = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX).min(100)];
    file.read_at(0, &mut found)?;
    if found != FORMAT {
        let detail = format!(
            "{path}/{FORMAT_NAME} says {:?}, this build reads {:?}: use the release that wrote it",
            String::from_utf8_lossy(&found),
            String::from_utf8_lossy(FORMAT)
        );
        return Err(Error::new(ErrorCode::FORMAT_UNSUPPORTED, detail));
    }
    Ok(())
}
