//! A place to put aside what does not fit into memory: bytes that are appended and read again, in memory first, then in a file.

use std::sync::Arc;

use tenantry_kv::env::{Directory, Env, File};

use crate::error::{Code, Error, Result};

/// How many bytes wait for one write to the file.
const WRITE_SIZE_BYTES: usize = 1 << 20;

/// Where files may be made, and how much stays in memory before one is.
#[derive(Clone, Debug)]
pub(crate) struct AreaOptions {
    /// The path of a directory; without one everything has to fit into memory.
    pub(crate) directory: Option<String>,
    pub(crate) memory_size_bytes_max: usize,
}

/// Appended bytes.
pub(crate) struct Area {
    env: Env,
    options: AreaOptions,
    file: Option<SpillFile>,
    /// How many bytes are in the file.
    written: u64,
    /// Those behind them.
    tail: Vec<u8>,
}

/// A file that is gone with whoever made it: where the system allows it, its name is taken away at once, so that not even a kill leaves it behind.
struct SpillFile {
    directory: Arc<dyn Directory>,
    name: String,
    file: Arc<dyn File>,
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        // It may have no name any more, which is no error.
        drop(self.directory.remove(&self.name));
    }
}

impl SpillFile {
    fn create(env: &Env, path: &str) -> Result<SpillFile> {
        let mut random = [0; 16];
        env.entropy.fill(&mut random);
        let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!(".tenantry-export-{digits}");
        let directory = env.storage.open_directory(path)?;
        let file = directory.open(&name, true)?;
        let made = SpillFile { directory, name, file };
        made.directory.remove(&made.name)?;
        Ok(made)
    }
}

impl Area {
    pub(crate) fn new(env: &Env, options: AreaOptions) -> Area {
        Area { env: env.clone(), options, file: None, written: 0, tail: Vec::new() }
    }

    pub(crate) fn len(&self) -> u64 {
        self.written + self.tail.len() as u64
    }

    /// Appends bytes.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.tail.extend_from_slice(bytes);
        let most = match self.file {
            None => self.options.memory_size_bytes_max,
            Some(_) => WRITE_SIZE_BYTES.min(self.options.memory_size_bytes_max),
        };
        if self.tail.len() > most { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => {
                let Some(path) = &self.options.directory else {
                    let detail = format!(
                        "the records that an export puts aside in memory: more than {} bytes; give it a directory for the rest",
                        self.options.memory_size_bytes_max
                    );
                    return Err(Error::new(Code::LimitPassed, detail));
                };
                self.file.insert(SpillFile::create(&self.env, path)?)
            }
        };
        file.file.write_at(self.written, &self.tail)?;
        self.written += self.tail.len() as u64;
        self.tail = Vec::new();
        Ok(())
    }

    /// Fills `buffer` from `offset`; 20090 where there are no so many bytes.
    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let missing = || Error::new(Code::StoredDataInvalid, "what an export put aside ends too early");
        let end =
            offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.len()).ok_or_else(missing)?;
        let in_file = self.written.min(end).saturating_sub(offset) as usize;
        let (front, rest) = buffer.split_at_mut(in_file);
        if let Some(file) = self.file.as_ref().filter(|_| !front.is_empty()) {
            file.file.read_at(offset, front)?;
        }
        let from = (offset + in_file as u64).saturating_sub(self.written) as usize;
        let tail = self.tail.get(from..from + rest.len()).ok_or_else(missing)?;
        rest.copy_from_slice(tail);
        Ok(())
    }
}
