//! A store of keys in a file.
//!
//! The file is text: a line with the format, a number that grows with every change and the hash (BLAKE3) of the lines behind it; then a line of JSON for each tenant, in the order of the
//! UUIDs. A change writes a new file beside it, makes it durable and gives it the name of the old one, which is then overwritten with zeros: a destroyed key is in no file any
//! more. What the disk, its file system or a backup has kept of the old one is beyond this program.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value as Json, json};
use tenantry_kv::ErrorCode;
use tenantry_kv::env::{Directory, Env, File};
use uuid::Uuid;

use super::store::{Entries, KeyEntry, KeyState, KeyStore, check_room, destroy_in, replace_wrapped};
use super::wrapping::{KeyFuture, from_hexadecimal};
use crate::error::{Code, Error, Result};
use crate::limits::{KEY_STORE_SIZE_BYTES_MAX, KEY_STORE_WAIT_MAX};

/// What the first line begins with.
const MAGIC: &str = "tenantry-key-store 1";
/// How often somebody who reads looks again when the file was replaced under his eyes.
const READS_MAX: usize = 5;
/// How long somebody who writes waits before he tries again to be the only one.
const WAIT: Duration = Duration::from_millis(5);

/// A store of keys in a file: readable by its owner alone, replaced as a whole, locked against other writers. Cheap to clone.
#[derive(Clone)]
pub struct FileKeyStore {
    env: Env,
    directory: Arc<dyn Directory>,
    path: String,
    name: String,
    /// What was read last, with its first line.
    known: Arc<Mutex<Option<(String, Arc<Entries>)>>>,
}

impl fmt::Debug for FileKeyStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FileKeyStore({})", self.path)
    }
}

impl FileKeyStore {
    /// The store in a file that is there. It is read when a key is asked for.
    ///
    /// # Errors
    ///
    /// 20117 when it is not; 1510.
    pub fn open(env: Env, path: &str) -> Result<FileKeyStore> {
        FileKeyStore::at(env, path, false)
    }

    /// A new store in a file that is not there yet.
    ///
    /// # Errors
    ///
    /// 20117 when something is there already; 1510.
    pub async fn create(env: Env, path: &str) -> Result<FileKeyStore> {
        let store = FileKeyStore::at(env, path, true)?;
        let _locked = store.lock().await?;
        if store.directory.list()?.contains(&store.name) {
            let detail = format!("{path} is there already: nothing was changed");
            return Err(Error::new(Code::KeyStoreUnavailable, detail));
        }
        store.replace(0, &Entries::new())?;
        Ok(store)
    }

    fn at(env: Env, path: &str, creates: bool) -> Result<FileKeyStore> {
        let (parent, name) = match path.rsplit_once('/') {
            Some(("", name)) => ("/", name),
            Some((parent, name)) => (parent, name),
            None => (".", path),
        };
        if name.is_empty() || name == "." || name == ".." {
            let detail = format!("{path:?} names no file");
            return Err(Error::new(Code::KeyStoreUnavailable, detail));
        }
        if !creates && !env.storage.exists(path)? {
            return Err(absent(path));
        }
        let directory = env.storage.open_directory(parent)?;
        Ok(FileKeyStore {
            env,
            directory,
            path: path.to_owned(),
            name: name.to_owned(),
            known: Arc::default(),
        })
    }

    fn known(&self) -> MutexGuard<'_, Option<(String, Arc<Entries>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in the file. It is read as a whole only when it has changed.
    fn read(&self) -> Result<Arc<Entries>> {
        let mut found = Ok(Arc::default());
        for _ in 0..READS_MAX {
            found = self.read_once();
            // Whoever replaces the file overwrites the old one, which this may have opened.
            if !matches!(&found, Err(error) if error.code() == Code::KeyStoreDamaged) {
                break;
            }
        }
        found
    }

    fn read_once(&self) -> Result<Arc<Entries>> {
        let file = match self.directory.open_to_read(&self.name) {
            Ok(file) => file,
            Err(error) if error.code() == ErrorCode::STORAGE_NOT_FOUND => return Err(absent(&self.path)),
            Err(error) => return Err(error.into()),
        };
        let size = file.len()?;
        if size > KEY_STORE_SIZE_BYTES_MAX {
            return Err(self.damaged(format!("it has {size} bytes, the limit is {KEY_STORE_SIZE_BYTES_MAX}")));
        }
        let mut head = vec![0; usize::try_from(size.min(HEAD_SIZE_BYTES_MAX)).unwrap_or(0)];
        file.read_at(0, &mut head)?;
        let end = head.iter().position(|byte| *byte == b'\n');
        let Some(first) = end.and_then(|end| std::str::from_utf8(&head[..end]).ok()) else {
            return Err(self.damaged("it does not begin with the line of a key store"));
        };
        if let Some((known, entries)) = &*self.known()
            && known == first
        {
            return Ok(entries.clone());
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        file.read_at(0, &mut bytes)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| self.damaged("it is not UTF-8"))?;
        let entries = Arc::new(self.parsed(text)?);
        *self.known() = Some((first.to_owned(), entries.clone()));
        Ok(entries)
    }

    fn parsed(&self, text: &str) -> Result<Entries> {
        let (first, lines) = text.split_once('\n').ok_or_else(|| self.damaged("it has no first line"))?;
        let (_, hash) = first_line(first).ok_or_else(|| self.damaged("its first line is another"))?;
        if blake3::hash(lines.as_bytes()).to_hex().as_str() != hash {
            return Err(self.damaged("its contents do not have the hash that its first line tells"));
        }
        let mut entries = Entries::new();
        for line in lines.lines() {
            let entry = entry_of(line).ok_or_else(|| self.damaged("a line of it is no key"))?;
            entries.insert(entry.tenant, entry);
        }
        Ok(entries)
    }

    fn damaged(&self, why: impl fmt::Display) -> Error {
        Error::new(Code::KeyStoreDamaged, format!("{}: {why}; put a good copy of it back", self.path))
    }

    /// Waits until nobody else writes.
    async fn lock(&self) -> Result<Box<dyn tenantry_kv::env::LockGuard>> {
        let name = format!("{}.lock", self.name);
        let began = self.env.clock.monotonic();
        loop {
            match self.directory.lock(&name, "writes a key store") {
                Ok(guard) => return Ok(guard),
                Err(error) if error.code() != ErrorCode::DATABASE_IN_USE => return Err(error.into()),
                Err(error) => {
                    if self.env.clock.monotonic().saturating_sub(began) > KEY_STORE_WAIT_MAX {
                        let detail = format!("{} is being written by somebody else: {error}", self.path);
                        return Err(Error::new(Code::KeyStoreUnavailable, detail));
                    }
                }
            }
            self.env.timer.sleep(WAIT).await?;
        }
    }

    /// Changes the store: durable when it returns.
    async fn change<T>(&self, change: impl FnOnce(&mut Entries) -> Result<T> + Send) -> Result<T> {
        let _locked = self.lock().await?;
        let before = self.read()?;
        let mut entries = Entries::clone(&before);
        let value = change(&mut entries)?;
        if entries != *before {
            let sequence = match &*self.known() {
                Some((first, _)) => first_line(first).map_or(0, |(sequence, _)| sequence),
                None => 0,
            };
            self.replace(sequence.saturating_add(1), &entries)?;
        }
        Ok(value)
    }

    fn replace(&self, sequence: u64, entries: &Entries) -> Result<()> {
        let mut lines = String::new();
        for entry in entries.values() {
            lines.push_str(&json_of(entry).to_string());
            lines.push('\n');
        }
        let first = format!("{MAGIC} {sequence} {}", blake3::hash(lines.as_bytes()).to_hex());
        let text = format!("{first}\n{lines}");
        if text.len() as u64 > KEY_STORE_SIZE_BYTES_MAX {
            return Err(crate::error::limit(
                "the bytes of a key store",
                text.len(),
                usize::try_from(KEY_STORE_SIZE_BYTES_MAX).unwrap_or(usize::MAX),
            ));
        }
        let new_name = format!("{}.new", self.name);
        // One that a crash left behind has keys in it too.
        if let Ok(left) = self.directory.open(&new_name, false) {
            wipe(&*left);
        }
        self.directory.remove(&new_name)?;
        let new = self.directory.open_private(&new_name)?;
        new.set_len(0)?;
        new.write_at(0, text.as_bytes())?;
        new.sync_data()?;
        let old = match self.directory.open(&self.name, false) {
            Ok(old) => Some(old),
            Err(error) if error.code() == ErrorCode::STORAGE_NOT_FOUND => None,
            Err(error) => return Err(error.into()),
        };
        self.directory.rename(&new_name, &self.name)?;
        self.directory.sync()?;
        if let Some(old) = old {
            wipe(&*old);
        }
        *self.known() = Some((first, Arc::new(entries.clone())));
        Ok(())
    }
}

/// Overwrites a file with zeros, as well as it can be done from here: the new file counts, whatever becomes of this one.
fn wipe(file: &dyn File) {
    let _ = file.len().and_then(|size| {
        file.write_at(0, &vec![0; usize::try_from(size).unwrap_or(0)])?;
        file.sync_data()
    });
}

/// The first line is shorter.
const HEAD_SIZE_BYTES_MAX: u64 = 200;

/// The number and the hash of a first line.
fn first_line(line: &str) -> Option<(u64, &str)> {
    let (sequence, hash) = line.strip_prefix(MAGIC)?.strip_prefix(' ')?.split_once(' ')?;
    Some((sequence.parse().ok()?, hash))
}

fn absent(path: &str) -> Error {
    let detail = format!("there is no key store in {path}: \"tenantry keys init\" makes one");
    Error::new(Code::KeyStoreUnavailable, detail)
}

fn json_of(entry: &KeyEntry) -> Json {
    let mut json = json!({
        "tenant": entry.tenant.to_string(),
        "key": entry.key_id.to_string(),
        "hash": entry.key_hash_text(),
        "created_us": entry.created_us,
    });
    match &entry.state {
        KeyState::Wrapped { root, bytes } => {
            json["root"] = json!(root);
            json["wrapped"] = json!(BASE64.encode(bytes));
        }
        KeyState::Destroyed { at_us } => json["destroyed_us"] = json!(at_us),
    }
    json
}

fn entry_of(line: &str) -> Option<KeyEntry> {
    let json: Json = serde_json::from_str(line).ok()?;
    let text = |name: &str| json[name].as_str();
    let state = match json["destroyed_us"].as_i64() {
        Some(at_us) => KeyState::Destroyed { at_us },
        None => {
            KeyState::Wrapped { root: text("root")?.to_owned(), bytes: BASE64.decode(text("wrapped")?).ok()? }
        }
    };
    Some(KeyEntry {
        tenant: text("tenant")?.parse().ok()?,
        key_id: text("key")?.parse().ok()?,
        key_hash: from_hexadecimal(text("hash")?)?.try_into().ok()?,
        created_us: json["created_us"].as_i64()?,
        state,
    })
}

impl KeyStore for FileKeyStore {
    fn name(&self) -> String {
        format!("the key store {}", self.path)
    }

    fn get<'a>(&'a self, tenant: Uuid) -> KeyFuture<'a, Option<KeyEntry>> {
        Box::pin(async move { Ok(self.read()?.get(&tenant).cloned()) })
    }

    fn add<'a>(&'a self, entry: KeyEntry) -> KeyFuture<'a, KeyEntry> {
        Box::pin(self.change(move |entries| {
            if !entries.contains_key(&entry.tenant) {
                check_room(entries.len())?;
            }
            Ok(entries.entry(entry.tenant).or_insert(entry).clone())
        }))
    }

    fn rewrap<'a>(&'a self, rewrapped: Vec<KeyEntry>) -> KeyFuture<'a, usize> {
        Box::pin(self.change(move |entries| Ok(replace_wrapped(entries, rewrapped))))
    }

    fn destroy<'a>(&'a self, tenant: Uuid, at_us: i64) -> KeyFuture<'a, Option<KeyEntry>> {
        Box::pin(self.change(move |entries| Ok(destroy_in(entries, tenant, at_us))))
    }

    fn list<'a>(&'a self) -> KeyFuture<'a, Vec<KeyEntry>> {
        Box::pin(async move { Ok(self.read()?.values().cloned().collect()) })
    }
}
