//! A database by URL.

use std::ops::Deref;
use std::sync::Arc;

use tenantry_core::{Code, Error, Result};
use tenantry_embedded::{Durability, EmbeddedEngine, Settings, Stats};

/// The name of the database when nobody gives another.
const NAME_DEFAULT: &str = "main";

/// Opens a database, or creates it.
///
/// # Errors
///
/// As [`Options::open`].
pub async fn open(url: &str) -> Result<Database> {
    Options::new().open(url).await
}

/// How a database is opened.
///
/// ```
/// use tenantry::{Durability, Options};
/// use std::time::Duration;
///
/// # tenantry::block_on(async {
/// let relaxed = Durability::Relaxed { interval: Duration::from_millis(10) };
/// let database = Options::new().durability(relaxed).open("memory:").await?;
/// assert_eq!(database.name(), "main");
/// # Ok::<_, tenantry::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    settings: Settings,
    name: String,
    creates: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

impl Options {
    /// Durable, with the default settings, the database `main`, created if it is not there.
    pub fn new() -> Options {
        Options { settings: Settings::default(), name: NAME_DEFAULT.to_owned(), creates: true }
    }

    /// When a commit counts as done.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Options {
        self.settings.durability = durability;
        self
    }

    /// The settings of the embedded engine.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Options {
        self.settings = settings;
        self
    }

    /// The name of the database: an engine can hold several.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Options {
        self.name = name.into();
        self
    }

    /// Whether the directory of a `file:` URL is created if it is not there. Default: yes.
    #[must_use]
    pub fn creates(mut self, creates: bool) -> Options {
        self.creates = creates;
        self
    }

    /// Opens the database of a URL.
    ///
    /// # Errors
    ///
    /// 20002 for a URL that is none of `file:PATH` and `memory:`; 10003 when another process has the database open, with its name; 10005 and 20001 for a
    /// format that this build cannot use; 10001 when a file is damaged, naming it; 10006 when it is not there and may not be created; 2006 for a setting out of
    /// bounds.
    pub async fn open(&self, url: &str) -> Result<Database> {
        let env = tenantry_env::system();
        let engine = match url.split_once(':') {
            Some(("memory", "")) => EmbeddedEngine::in_memory(self.settings.clone(), env.clone())?,
            Some(("file", path)) if !path.is_empty() => {
                if !self.creates && !env.storage.exists(path)? {
                    let detail = format!("there is no database in {path}");
                    return Err(
                        tenantry_kv::Error::new(tenantry_kv::ErrorCode::STORAGE_NOT_FOUND, detail).into()
                    );
                }
                EmbeddedEngine::open(path, self.settings.clone(), env.clone())?
            }
            Some(("fdb", _)) => return Err(unusable(url, "this build has no FoundationDB engine yet")),
            _ => return Err(unusable(url, "write file:PATH or memory:")),
        };
        let engine = Arc::new(engine);
        let database = tenantry_core::Database::open(engine.clone(), env, &self.name).await?;
        Ok(Database { database, embedded: engine })
    }
}

fn unusable(url: &str, why: &str) -> Error {
    let shown: String = url.chars().take(80).collect();
    Error::new(Code::DatabaseUrl, format!("{shown:?}: {why}"))
}

/// An open database: all that [`tenantry_core::Database`] can do, and what belongs to the engine underneath. Dropping the last one closes it.
#[derive(Clone, Debug)]
pub struct Database {
    database: tenantry_core::Database,
    embedded: Arc<EmbeddedEngine>,
}

impl Deref for Database {
    type Target = tenantry_core::Database;

    fn deref(&self) -> &tenantry_core::Database {
        &self.database
    }
}

impl Database {
    /// What the embedded engine has counted since it was opened.
    pub fn stats(&self) -> Stats {
        self.embedded.stats()
    }

    /// Reads and checks every part of the map's files. Returns how many rows there are.
    ///
    /// # Errors
    ///
    /// 10001 naming the first damaged place.
    pub fn scrub(&self) -> Result<u64> {
        Ok(self.embedded.scrub()?)
    }

    /// Brings everything to disk that `durability = relaxed` may still hold back.
    ///
    /// # Errors
    ///
    /// The engine's own.
    pub async fn sync(&self) -> Result<()> {
        Ok(self.embedded.sync().await?)
    }

    /// Closes the database now: what is under way ends with 1021 or 10004. Another process can open it.
    pub fn close(&self) {
        self.embedded.close();
    }
}
