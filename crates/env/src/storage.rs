//! Directories and files of the operating system.

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tenantry_kv::env::{Directory, File, LockGuard, Storage};
use tenantry_kv::{Error, ErrorCode, Result};

pub(crate) struct SystemStorage;

impl Storage for SystemStorage {
    fn open_directory(&self, path: &str) -> Result<Arc<dyn Directory>> {
        let path = PathBuf::from(path);
        create_durably(&path).map_err(|error| typed("creating the directory", &path, &error))?;
        Ok(Arc::new(SystemDirectory { path }))
    }

    fn exists(&self, path: &str) -> Result<bool> {
        fs::exists(path).map_err(|error| typed("looking for", Path::new(path), &error))
    }
}

/// Creates `path` with its parents, and makes every new entry durable in its parent.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_durably(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        created => created?,
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(parent)?.sync_all()
}

fn typed(what: &str, path: &Path, error: &io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::DISK_FULL,
        io::ErrorKind::NotFound => ErrorCode::STORAGE_NOT_FOUND,
        _ => ErrorCode::IO_ERROR,
    };
    Error::new(code, format!("{what} {}: {error}", path.display()))
}

struct SystemDirectory {
    path: PathBuf,
}

impl SystemDirectory {
    fn child(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Directory for SystemDirectory {
    fn open(&self, name: &str, create: bool) -> Result<Arc<dyn File>> {
        let path = self.child(name);
        let opened = OpenOptions::new().read(true).write(true).create(create).truncate(false).open(&path);
        match opened {
            Ok(file) => Ok(Arc::new(SystemFile { file, path })),
            Err(error) => Err(typed("opening", &path, &error)),
        }
    }

    fn open_to_read(&self, name: &str) -> Result<Arc<dyn File>> {
        let path = self.child(name);
        match fs::File::open(&path) {
            Ok(file) => Ok(Arc::new(SystemFile { file, path })),
            Err(error) => Err(typed("opening", &path, &error)),
        }
    }

    fn open_private(&self, name: &str) -> Result<Arc<dyn File>> {
        let path = self.child(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        match options.open(&path) {
            Ok(file) => Ok(Arc::new(SystemFile { file, path })),
            Err(error) => Err(typed("opening", &path, &error)),
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let path = self.child(from);
        fs::rename(&path, self.child(to)).map_err(|error| typed("renaming", &path, &error))
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.child(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(typed("removing", &path, &error)),
            _ => Ok(()),
        }
    }

    fn list(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = entries.map_err(|error| typed("listing", &self.path, &error))?;
        let mut names: Vec<String> =
            entries.into_iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }

    fn sync(&self) -> Result<()> {
        let synced = fs::File::open(&self.path).and_then(|directory| directory.sync_all());
        synced.map_err(|error| typed("syncing the directory", &self.path, &error))
    }

    fn lock(&self, name: &str, owner: &str) -> Result<Box<dyn LockGuard>> {
        let path = self.child(name);
        let failed = |error: &io::Error| typed("locking", &path, error);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(|error| failed(&error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it is for people; that somebody does is certain.
                let _ = (&file).take(500).read_to_string(&mut holder);
                let detail = format!(
                    "{} is open in {}; close it there, or use another directory",
                    self.path.display(),
                    if holder.is_empty() { "another process" } else { holder.trim() }
                );
                return Err(Error::new(ErrorCode::DATABASE_IN_USE, detail));
            }
            Err(TryLockError::Error(error)) => return Err(failed(&error)),
        }
        let owner = format!("process {} {owner}", std::process::id());
        let written =
            file.set_len(0).and_then(|()| file.write_all(owner.as_bytes())).and_then(|()| file.flush());
        written.map_err(|error| failed(&error))?;
        Ok(Box::new(SystemLock { _file: file }))
    }

    fn free_bytes(&self) -> Result<u64> {
        match rustix::fs::statvfs(&self.path) {
            Ok(stat) => Ok(stat.f_bavail.saturating_mul(stat.f_frsize)),
            Err(error) => Err(typed("asking for the free space of", &self.path, &error.into())),
        }
    }
}

/// The lock ends with the file's descriptor, so that it never outlives its process.
struct SystemLock {
    _file: fs::File,
}

impl LockGuard for SystemLock {}

struct SystemFile {
    file: fs::File,
    path: PathBuf,
}

impl File for SystemFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(|error| typed("reading", &self.path, &error))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|error| typed("writing", &self.path, &error))
    }

    fn len(&self) -> Result<u64> {
        let metadata =
            self.file.metadata().map_err(|error| typed("asking for the length of", &self.path, &error))?;
        Ok(metadata.len())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.file.set_len(length).map_err(|error| typed("setting the length of", &self.path, &error))
    }

    fn sync_data(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| typed("syncing", &self.path, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_names_its_owner() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = SystemStorage.open_directory(temporary.path().join("a/b").to_str().unwrap()).unwrap();
        let held = directory.lock("LOCK", "since noon").unwrap();
        let error = directory.lock("LOCK", "another").err().unwrap();
        assert_eq!(error.code(), ErrorCode::DATABASE_IN_USE);
        let owner = format!("process {} since noon", std::process::id());
        assert!(error.to_string().contains(&owner), "{error}");
        drop(held);
        directory.lock("LOCK", "another").unwrap();
    }

    #[test]
    fn a_private_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let temporary = tempfile::tempdir().unwrap();
        let directory = SystemStorage.open_directory(temporary.path().to_str().unwrap()).unwrap();
        directory.open_private("secret").unwrap();
        directory.open("plain", true).unwrap();
        let mode =
            |name: &str| fs::metadata(temporary.path().join(name)).unwrap().permissions().mode() & 0o077;
        assert_eq!(mode("secret"), 0);
        assert_ne!(mode("plain"), 0, "a umask of the tests that hides everything");
    }

    #[test]
    fn a_missing_file_is_told_from_other_failures() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = SystemStorage.open_directory(temporary.path().to_str().unwrap()).unwrap();
        assert_eq!(directory.open("absent", false).err().unwrap().code(), ErrorCode::STORAGE_NOT_FOUND);
        let file = directory.open("present", true).unwrap();
        file.write_at(3, b"abc").unwrap();
        let mut read = [9; 6];
        file.read_at(0, &mut read).unwrap();
        assert_eq!(&read, b"\0\0\0abc");
        assert_eq!(file.read_at(1, &mut read).err().unwrap().code(), ErrorCode::IO_ERROR);
        assert_eq!(directory.list().unwrap(), ["present"]);
        assert!(directory.free_bytes().unwrap() > 0);
    }
}
