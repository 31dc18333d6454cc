//! The form of a stream: frames, each with a hash over itself and the hash before it. `docs/archives.md` has it byte by byte.

use std::fmt;

use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

use crate::error::{Code, Error, Result};
use crate::limits::ARCHIVE_FRAME_SIZE_BYTES_MAX;
use crate::messages::{ArchiveBlock, ArchiveHeader};
use crate::schema::SchemaDefinition;

/// What every stream begins with.
pub(super) const MAGIC: &[u8; 8] = b"TENANTRY";
/// The form of everything behind that.
pub(super) const FORMAT: u32 = 1;
/// Kind and length of a frame.
const HEAD_SIZE_BYTES: usize = 5;
/// The hash at its end.
const HASH_SIZE_BYTES: usize = 32;
const HEADER: u8 = 1;
const BLOCK: u8 = 2;

/// The hash over everything up to a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain(pub(super) [u8; 32]);

impl Chain {
    pub(super) fn begin() -> Chain {
        Chain(*blake3::hash(MAGIC).as_bytes())
    }

    /// The hash of a frame behind this place.
    fn next(self, head: &[u8], body: &[u8]) -> Chain {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0).update(head).update(body);
        Chain(*hasher.finalize().as_bytes())
    }

    /// Writes a frame.
    fn frame(&mut self, kind: u8, body: &[u8], into: &mut Vec<u8>) -> Result<()> {
        if body.len() > ARCHIVE_FRAME_SIZE_BYTES_MAX {
            let most = ARCHIVE_FRAME_SIZE_BYTES_MAX;
            return Err(crate::error::limit("the bytes of a frame of an archive", body.len(), most));
        }
        let mut head = [kind, 0, 0, 0, 0];
        head[1..].copy_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        *self = self.next(&head, body);
        into.extend_from_slice(&head);
        into.extend_from_slice(body);
        into.extend_from_slice(&self.0);
        Ok(())
    }

    pub(super) fn header(&mut self, header: &ArchiveHeader, into: &mut Vec<u8>) -> Result<()> {
        self.frame(HEADER, &header.encode_to_vec(), into)
    }

    pub(super) fn block(&mut self, block: &ArchiveBlock, into: &mut Vec<u8>) -> Result<()> {
        self.frame(BLOCK, &block.encode_to_vec(), into)
    }
}

/// Whose stream it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchiveInfo {
    /// The name that the tenant had.
    pub name: String,
    /// The tenant's identity.
    pub uuid: Uuid,
    /// Its schema.
    pub schema: SchemaDefinition,
    /// The version of the schema.
    pub schema_version: u32,
}

/// A frame of a stream whose hash was right.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchiveFrame(pub(super) Frame);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Frame {
    Header(Box<ArchiveHeader>),
    Block(Box<ArchiveBlock>),
}

impl ArchiveFrame {
    /// How many rows it has: records, raw keys, counters, sequences, and what became of them while they were read.
    pub fn rows(&self) -> usize {
        match &self.0 {
            Frame::Header(_) => 0,
            Frame::Block(block) => block.changes.len(),
        }
    }
}

/// Takes a stream apart: whoever has a piece of it, of whatever length, feeds it.
pub struct ArchiveReader {
    bytes: Vec<u8>,
    /// Up to where of them frames were read.
    read: usize,
    /// How many bytes came before them.
    before: u64,
    chain: Chain,
    has_magic: bool,
    pub(super) header: Option<Box<ArchiveHeader>>,
    is_over: bool,
    /// The hash, the place and the cursor behind the last frame from which the stream can be gone on with.
    pub(super) point: Option<Point>,
    frames: u64,
}

/// A place behind which a stream can be gone on with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) chain: Chain,
    pub(super) size_bytes: u64,
    pub(super) cursor: Bytes,
}

impl fmt::Debug for ArchiveReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ArchiveReader({} frames)", self.frames)
    }
}

impl Default for ArchiveReader {
    fn default() -> ArchiveReader {
        ArchiveReader::new()
    }
}

impl ArchiveReader {
    /// At the begin of a stream.
    pub fn new() -> ArchiveReader {
        ArchiveReader {
            bytes: Vec::new(),
            read: 0,
            before: 0,
            chain: Chain::begin(),
            has_magic: false,
            header: None,
            is_over: false,
            point: None,
            frames: 0,
        }
    }

    /// Adds what comes next of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.bytes.drain(..self.read);
            self.before += self.read as u64;
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame, if all of it was fed.
    ///
    /// # Errors
    ///
    /// 20160 for a stream that was changed or cut inside, 20161 for one that this build does not read.
    pub fn next_frame(&mut self) -> Result<Option<ArchiveFrame>> {
        if !self.has_magic {
            let begin = &self.bytes[..self.bytes.len().min(MAGIC.len())];
            if !MAGIC.starts_with(begin) {
                return Err(Error::new(Code::ArchiveFormat, "it does not begin as an archive does"));
            }
            if begin.len() < MAGIC.len() {
                return Ok(None);
            }
            (self.read, self.has_magic) = (MAGIC.len(), true);
        }
        let rest = &self.bytes[self.read..];
        if self.is_over && !rest.is_empty() {
            return Err(self.damaged("something stands behind its last frame"));
        }
        let Some((head, rest)) = rest.split_first_chunk::<HEAD_SIZE_BYTES>() else { return Ok(None) };
        let size_bytes = head[1..].try_into().map_or(0, u32::from_le_bytes) as usize;
        if size_bytes > ARCHIVE_FRAME_SIZE_BYTES_MAX {
            return Err(self.damaged(&format!("a frame says that it has {size_bytes} bytes")));
        }
        let Some((body, rest)) = rest.split_at_checked(size_bytes) else { return Ok(None) };
        let Some(hash) = rest.first_chunk::<HASH_SIZE_BYTES>() else { return Ok(None) };
        let chain = self.chain.next(head, body);
        if blake3::Hash::from_bytes(chain.0) != blake3::Hash::from_bytes(*hash) {
            return Err(self.damaged("a hash does not match"));
        }
        let frame = self.frame_of(head[0], body)?;
        self.read += HEAD_SIZE_BYTES + size_bytes + HASH_SIZE_BYTES;
        self.chain = chain;
        self.frames += 1;
        match &frame {
            Frame::Header(header) => self.header = Some(header.clone()),
            Frame::Block(block) => self.is_over = block.is_last,
        }
        let cursor = match &frame {
            Frame::Header(_) => Some(Bytes::new()),
            Frame::Block(block) => block.cursor.clone(),
        };
        if let Some(cursor) = cursor {
            self.point = Some(Point { chain, size_bytes: self.size_bytes(), cursor });
        }
        Ok(Some(ArchiveFrame(frame)))
    }

    fn frame_of(&self, kind: u8, body: &[u8]) -> Result<Frame> {
        match (kind, &self.header) {
            (HEADER, None) => {
                let header =
                    ArchiveHeader::decode(body).map_err(|_| self.damaged("its header cannot be read"))?;
                if header.format != FORMAT {
                    let detail = format!("it has the format {}, this build reads {FORMAT}", header.format);
                    return Err(Error::new(Code::ArchiveFormat, detail));
                }
                info_of(&header)?;
                Ok(Frame::Header(Box::new(header)))
            }
            (BLOCK, Some(_)) => {
                let block = ArchiveBlock::decode(body).map_err(|_| self.damaged("a frame cannot be read"))?;
                Ok(Frame::Block(Box::new(block)))
            }
            (HEADER | BLOCK, _) => Err(self.damaged("its header is not its first frame alone")),
            (kind, _) => {
                let detail = format!("it has a frame of the kind {kind}, which this build does not know");
                Err(Error::new(Code::ArchiveFormat, detail))
            }
        }
    }

    fn damaged(&self, what: &str) -> Error {
        let detail = format!("{what} (behind {} frames, at byte {})", self.frames, self.size_bytes());
        Error::new(Code::ArchiveDamaged, detail)
    }

    /// How many bytes the frames have that were read.
    pub fn size_bytes(&self) -> u64 {
        self.before + self.read as u64
    }

    /// Up to where the stream can be kept when it is gone on with: what lies behind belongs to a step that is not complete.
    pub fn resumable_size_bytes(&self) -> u64 {
        self.point.as_ref().map_or(0, |point| point.size_bytes)
    }

    /// How many frames were read.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    pub(super) fn chain(&self) -> Chain {
        self.chain
    }

    /// Whether the last frame was read.
    pub fn is_complete(&self) -> bool {
        self.is_over
    }

    /// Fails unless the stream is whole.
    ///
    /// # Errors
    ///
    /// 20162.
    pub fn check_complete(&self) -> Result<()> {
        match self.is_over && self.read == self.bytes.len() {
            true => Ok(()),
            false => Err(Error::new(
                Code::ArchiveIncomplete,
                format!("it ends behind {} frames, and its last one is missing", self.frames),
            )),
        }
    }

    /// Whose stream it is, once its header was read.
    ///
    /// # Errors
    ///
    /// 20160 and 20161 for a header that cannot be.
    pub fn info(&self) -> Result<Option<ArchiveInfo>> {
        self.header.as_ref().map(|header| info_of(header)).transpose()
    }
}

pub(super) fn info_of(header: &ArchiveHeader) -> Result<ArchiveInfo> {
    let damaged = |what: String| Error::new(Code::ArchiveDamaged, what);
    let schema = SchemaDefinition::from_json(&header.schema)
        .map_err(|error| damaged(format!("its schema cannot be used: {}", error.detail())))?;
    Ok(ArchiveInfo {
        name: header.name.clone(),
        uuid: Uuid::from_slice(&header.tenant_uuid).map_err(|_| damaged("it names no tenant".to_owned()))?,
        schema,
        schema_version: header.schema_version,
    })
}
