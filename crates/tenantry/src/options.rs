//! A database by URL.

use std::ops::Deref;
use std::sync::Arc;

use tenantry_core::{Action, Code, Copier, Error, Grant, Result};
use tenantry_embedded::{Durability, EmbeddedEngine, Settings, Stats};
use tenantry_env::variable;
use tenantry_foundationdb::{ClientOptions, ClusterReport, FoundationDbEngine, Stats as ClusterStats};
use tenantry_kv::Engine;
use tenantry_kv::env::Env;

use crate::keys::KeyFiles;
use crate::url::Place;

/// The name of the database when nobody gives another.
const NAME_DEFAULT: &str = "main";
/// The variable that names FoundationDB's client library.
const LIBRARY_VARIABLE: &str = "TENANTRY_FDB_LIBRARY";

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
    client: ClientOptions,
    name: String,
    creates: bool,
    keys: Option<KeyFiles>,
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

impl Options {
    /// Durable, with the default settings, the database `main`, created if it is not there.
    pub fn new() -> Options {
        Options {
            settings: Settings::default(),
            client: ClientOptions::default(),
            name: NAME_DEFAULT.to_owned(),
            creates: true,
            keys: None,
        }
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

    /// How FoundationDB's client library is found and run, for an `fdb:` URL. Where they name no library, the variable TENANTRY_FDB_LIBRARY may.
    #[must_use]
    pub fn client(mut self, client: ClientOptions) -> Options {
        self.client = client;
        self
    }

    /// The name of the database: an engine can hold several.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Options {
        self.name = name.into();
        self
    }

    /// Whether the database is created if it is not there. Default: yes.
    #[must_use]
    pub fn creates(mut self, creates: bool) -> Options {
        self.creates = creates;
        self
    }

    /// Where the keys of sealed tenants are. By default nowhere, and a sealed tenant answers with 20110.
    #[must_use]
    pub fn keys(mut self, keys: KeyFiles) -> Options {
        self.keys = Some(keys);
        self
    }

    /// Opens the database of a URL. The URL of a cluster may have options behind a question mark: `name=NAME`, in place of [`name`](Options::name), and `threads=NUMBER`, in
    /// place of [`ClientOptions::client_threads`]: `fdb:CLUSTER_FILE?name=shop&threads=2`.
    ///
    /// # Errors
    ///
    /// 20002 for a URL that is none of `file:PATH`, `memory:`, `fdb:` and `fdb:CLUSTER_FILE`, or has an option that there is not; 10003 when another process has the database open, with its name; 10005 and 20001 for a
    /// format that this build cannot use; 10001 when a file is damaged, naming it; 10006 when it is not there and may not be created; 2006 for a setting out of
    /// bounds; 20117 and 20118 for keys that are not there. On a cluster: 10040 without a client library, 2007 when this process has opened a cluster with another number of threads or other
    /// options of the client, 1515 and 2104 without a cluster file, 1031 when it does not answer within the deadline.
    pub async fn open(&self, url: &str) -> Result<Database> {
        let env = tenantry_env::system();
        let keyring = self.keys.as_ref().map(KeyFiles::open).transpose()?;
        let place = Place::parse(url)?;
        let (opened, name) = (self.open_engine(&place, &env)?, self.name_in(&place));
        // One in memory is always new.
        let database = match self.creates || place == Place::Memory {
            true => tenantry_core::Database::open(opened.engine(), env, name).await?,
            false => tenantry_core::Database::open_existing(opened.engine(), env, name).await?,
        };
        if keyring.is_some() {
            database.set_keyring(keyring).await?;
        }
        Ok(Database { database, opened })
    }

    /// Begins the copy of `source`, which is read-only, into the database of a URL, which is empty; or takes up one that was interrupted.
    ///
    /// # Errors
    ///
    /// As [`open`](Options::open) and [`Copier::begin`].
    pub async fn copier(&self, source: &Database, url: &str) -> Result<Copier> {
        let env = tenantry_env::system();
        let place = Place::parse(url)?;
        let opened = self.open_engine(&place, &env)?;
        Copier::begin(source, opened.engine(), env, self.name_in(&place)).await
    }

    fn open_engine(&self, place: &Place<'_>, env: &Env) -> Result<Opened> {
        Ok(match place {
            Place::Memory => {
                Opened::Embedded(Arc::new(EmbeddedEngine::in_memory(self.settings.clone(), env.clone())?))
            }
            Place::Directory(path) => {
                if !self.creates && !env.storage.exists(path)? {
                    let detail = format!("there is no database in {path}");
                    return Err(
                        tenantry_kv::Error::new(tenantry_kv::ErrorCode::STORAGE_NOT_FOUND, detail).into()
                    );
                }
                Opened::Embedded(Arc::new(EmbeddedEngine::open(path, self.settings.clone(), env.clone())?))
            }
            Place::Cluster(cluster) => {
                let mut client = self.client.clone();
                if client.library_path.is_none() {
                    client.library_path = variable(LIBRARY_VARIABLE);
                }
                client.client_threads = cluster.threads.unwrap_or(client.client_threads);
                Opened::FoundationDb(Arc::new(FoundationDbEngine::open(cluster.file, &client, env.clone())?))
            }
        })
    }

    /// The name of the database: what the URL says goes before what the options say.
    fn name_in<'a>(&'a self, place: &Place<'a>) -> &'a str {
        match place {
            Place::Cluster(cluster) => cluster.name.unwrap_or(&self.name),
            _ => &self.name,
        }
    }
}

/// The engine that was opened.
#[derive(Clone, Debug)]
enum Opened {
    Embedded(Arc<EmbeddedEngine>),
    FoundationDb(Arc<FoundationDbEngine>),
}

impl Opened {
    fn engine(&self) -> Arc<dyn Engine> {
        match self {
            Opened::Embedded(engine) => engine.clone(),
            Opened::FoundationDb(engine) => engine.clone(),
        }
    }
}

/// An open database: all that [`tenantry_core::Database`] can do, and what belongs to the engine underneath. Dropping the last one closes it.
#[derive(Clone, Debug)]
pub struct Database {
    database: tenantry_core::Database,
    opened: Opened,
}

impl Deref for Database {
    type Target = tenantry_core::Database;

    fn deref(&self) -> &tenantry_core::Database {
        &self.database
    }
}

impl Database {
    /// The same database as the holder of a grant sees it: see [`Database::with_grant`](tenantry_core::Database::with_grant).
    ///
    /// # Errors
    ///
    /// Its own.
    pub fn with_grant(&self, grant: Grant) -> Result<Database> {
        Ok(Database { database: self.database.with_grant(grant)?, opened: self.opened.clone() })
    }

    /// Fails for a grant that does not allow something that is done with the engine itself.
    fn check(&self, action: Action) -> Result<()> {
        match self.grant().is_none_or(|grant| grant.is_on_all_tenants() && grant.allows(action)) {
            true => Ok(()),
            false => {
                let detail = format!("it takes the action {}, on all tenants", action.name());
                Err(Error::new(Code::AccessDenied, detail))
            }
        }
    }

    /// What the embedded engine has counted since it was opened; `None` on a cluster, and to a grant without `view_database`.
    pub fn stats(&self) -> Option<Stats> {
        match &self.opened {
            Opened::Embedded(engine) => self.check(Action::ViewDatabase).is_ok().then(|| engine.stats()),
            Opened::FoundationDb(_) => None,
        }
    }

    /// What this process asked of the cluster since it was opened; `None` on the embedded engine, and to a grant without `view_database`.
    pub fn cluster_stats(&self) -> Option<ClusterStats> {
        match &self.opened {
            Opened::Embedded(_) => None,
            Opened::FoundationDb(engine) => self.check(Action::ViewDatabase).is_ok().then(|| engine.stats()),
        }
    }

    /// What the cluster is: releases, redundancy, locks, latency. Asks the cluster; `None` on the embedded engine.
    ///
    /// # Errors
    ///
    /// 1031 when the cluster does not answer within ten seconds; 20120.
    pub async fn cluster(&self) -> Result<Option<ClusterReport>> {
        self.check(Action::ViewDatabase)?;
        match &self.opened {
            Opened::Embedded(_) => Ok(None),
            Opened::FoundationDb(engine) => Ok(Some(engine.report().await?)),
        }
    }

    /// Reads and checks every part of the map's files. Returns how many rows there are. A cluster checks itself: nothing is read and the answer is `None`.
    ///
    /// # Errors
    ///
    /// 10001 naming the first damaged place; 20120.
    pub fn scrub(&self) -> Result<Option<u64>> {
        self.check(Action::ManageDatabase)?;
        match &self.opened {
            Opened::Embedded(engine) => Ok(Some(engine.scrub()?)),
            Opened::FoundationDb(_) => Ok(None),
        }
    }

    /// Brings everything to disk that `durability = relaxed` may still hold back. On a cluster every commit is durable: nothing is to be done.
    ///
    /// # Errors
    ///
    /// The engine's own.
    pub async fn sync(&self) -> Result<()> {
        match &self.opened {
            Opened::Embedded(engine) => Ok(engine.sync().await?),
            Opened::FoundationDb(_) => Ok(()),
        }
    }

    /// Closes the database now: what is under way on an embedded engine ends with 1021 or 10004, and another process can open it. The handles to a cluster close with the last
    /// copy of the database. A handle with a grant closes nothing.
    pub fn close(&self) {
        if self.grant().is_some() {
            return;
        }
        if let Opened::Embedded(engine) = &self.opened {
            engine.close();
        }
    }
}
