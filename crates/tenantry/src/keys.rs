//! The keys of sealed tenants in files: a key store, and a root key beside it.

use std::fmt;
use std::sync::Arc;

use tenantry_core::sealing::{FileKeyStore, KeyWrapper, Keyring, RootKey};
use tenantry_core::{Code, Error, Result};
use tenantry_kv::env::Env;
use zeroize::Zeroizing;

/// No file of a root key is longer.
const ROOT_KEY_SIZE_BYTES_MAX: u64 = 4_096;

/// Where the keys of sealed tenants are: a key store in a file, and the root key that wraps what is in it.
///
/// ```no_run
/// use tenantry::{KeyFiles, Options};
///
/// # tenantry::block_on(async {
/// let keys = KeyFiles::new("/etc/tenantry/keys").root_key_file("/run/secrets/tenantry-root");
/// let database = Options::new().keys(keys).open("file:./data").await?;
/// # Ok::<_, tenantry::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct KeyFiles {
    store: String,
    root: Root,
}

#[derive(Clone)]
enum Root {
    Missing,
    File(String),
    Text(Arc<Zeroizing<String>>),
}

impl fmt::Debug for KeyFiles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = match &self.root {
            Root::Missing => "no root key",
            Root::File(path) => path,
            Root::Text(_) => "a root key",
        };
        write!(formatter, "KeyFiles({}, {root})", self.store)
    }
}

impl KeyFiles {
    /// The key store in a file.
    pub fn new(store: impl Into<String>) -> KeyFiles {
        KeyFiles { store: store.into(), root: Root::Missing }
    }

    /// With the root key in a file: 64 hexadecimal digits, or base64 of 32 bytes.
    #[must_use]
    pub fn root_key_file(mut self, path: impl Into<String>) -> KeyFiles {
        self.root = Root::File(path.into());
        self
    }

    /// With a root key as such a text.
    #[must_use]
    pub fn root_key(mut self, text: impl Into<String>) -> KeyFiles {
        self.root = Root::Text(Arc::new(Zeroizing::new(text.into())));
        self
    }

    /// The keys. The store is read when a key is asked for.
    ///
    /// # Errors
    ///
    /// 20117 without a key store; 20118 without a root key, or for one that is none; 1510.
    pub fn open(&self) -> Result<Keyring> {
        let env = tenantry_env::system();
        let root = self.root(&env)?;
        Ok(Keyring::new(Arc::new(root), Arc::new(FileKeyStore::open(env, &self.store)?)))
    }

    /// Makes the key store, which must not be there, and the root key's file, if that is not there. Both can be read by their owner alone.
    ///
    /// # Errors
    ///
    /// 20117 when the key store is there; as [`open`](KeyFiles::open).
    pub async fn create(&self) -> Result<Keyring> {
        let env = tenantry_env::system();
        if env.storage.exists(&self.store)? {
            let detail = format!("{} is there already: nothing was changed", self.store);
            return Err(Error::new(Code::KeyStoreUnavailable, detail));
        }
        if let Root::File(path) = &self.root
            && !env.storage.exists(path)?
        {
            write_root_key(&env, path)?;
        }
        let root = self.root(&env)?;
        Ok(Keyring::new(Arc::new(root), Arc::new(FileKeyStore::create(env, &self.store).await?)))
    }

    /// Wraps every key with another root key, whose file is made if it is not there. From then on the other one is needed.
    ///
    /// # Errors
    ///
    /// As [`open`](KeyFiles::open) and [`Keyring::rotate_root`].
    pub async fn rotate_root(
        &self,
        new: &KeyFiles,
    ) -> Result<(Keyring, tenantry_core::sealing::RootRotation)> {
        let env = tenantry_env::system();
        let old = self.open()?;
        if let Root::File(path) = &new.root
            && !env.storage.exists(path)?
        {
            write_root_key(&env, path)?;
        }
        let root = Arc::new(new.root(&env)?);
        if root.id() == old.wrapper().id() {
            let detail = "it is the root key that wraps the keys already: name another one";
            return Err(Error::new(Code::RootKeyInvalid, detail));
        }
        let rotation = old.rotate_root(&*root).await?;
        Ok((Keyring::new(root, old.store().clone()), rotation))
    }

    fn root(&self, env: &Env) -> Result<RootKey> {
        match &self.root {
            Root::Text(text) => RootKey::parse(text, env.entropy.clone()),
            Root::File(path) => RootKey::parse(&read_root_key(env, path)?, env.entropy.clone()),
            Root::Missing => Err(Error::new(
                Code::RootKeyInvalid,
                "there is none: name its file with --root-key or TENANTRY_ROOT_KEY_FILE, or put it into TENANTRY_ROOT_KEY",
            )),
        }
    }
}

/// The directory and the name of a path.
fn parts(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some(parts) => parts,
        None => (".", path),
    }
}

fn read_root_key(env: &Env, path: &str) -> Result<Zeroizing<String>> {
    let invalid = |why: String| Error::new(Code::RootKeyInvalid, format!("{path}: {why}"));
    let (directory, name) = parts(path);
    if !env.storage.exists(path)? {
        return Err(invalid("there is no such file".to_owned()));
    }
    let file = env.storage.open_directory(directory)?.open_to_read(name)?;
    let size = file.len()?;
    if size > ROOT_KEY_SIZE_BYTES_MAX {
        return Err(invalid(format!("it has {size} bytes, a root key has 64 digits")));
    }
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(size).unwrap_or(0)]);
    file.read_at(0, &mut bytes)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid("it is not a text".to_owned()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn write_root_key(env: &Env, path: &str) -> Result<()> {
    let (directory, name) = parts(path);
    let directory = env.storage.open_directory(directory)?;
    let text = Zeroizing::new(format!("{}\n", &*RootKey::generate(&*env.entropy)));
    let new = format!("{name}.new");
    directory.remove(&new)?;
    let file = directory.open_private(&new)?;
    file.write_at(0, text.as_bytes())?;
    file.sync_data()?;
    directory.rename(&new, name)?;
    Ok(directory.sync()?)
}
