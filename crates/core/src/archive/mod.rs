//! A whole tenant as a stream: every record, counter and sequence, the tenant's own key-value space, with its schema, labels and plan.
//!
//! The stream is the state at one version, however long it takes and whoever writes meanwhile. It is made of what a consistent scan finds (`crate::consistent_scan`): the rows in
//! chunks, and between them what became of rows that are in the stream already. Applied in its order to an empty tenant, it gives the state at the version of its last step. So nothing is put aside, and both sides can
//! be interrupted: whoever writes the stream goes on behind its last complete step ([`Archiver::resume`]), whoever reads it behind the last piece that was committed ([`ArchiveImporter`]).
//!
//! Each frame ends in a BLAKE3 hash over itself and the hash before it. `docs/archives.md` has the form byte by byte. Two tenants are compared by their [`ContentHash`].

pub(crate) mod content;
pub(crate) mod fill;
mod format;
mod import;
mod progress;
pub(crate) mod source;
#[cfg(test)]
mod tests;
mod writer;

pub use content::{ArchiveHasher, ContentHash, ContentOptions};
pub use format::{ArchiveFrame, ArchiveInfo, ArchiveReader};
pub use import::{ArchiveImporter, ImportedTenant};
pub use writer::Archiver;
