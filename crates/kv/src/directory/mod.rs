//! The directory layer: paths of names, each with a short prefix of its own.
//!
//! A directory is a path like `["tenantry", "main"]`. Opening it gives a [`Directory`] whose contents lie under a prefix of a few bytes, allocated once;
//! moving a directory changes its path and not its data. The keys are those of FoundationDB's bindings, so that their tools list and open the same
//! directories.
//!
//! ```
//! use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
//! use tenantry_kv::directory::DirectoryLayer;
//! use tenantry_kv::Engine;
//!
//! # pollster::block_on(async {
//! let env = manual_env();
//! let engine = ReferenceEngine::new(env.clone());
//! let transaction = engine.begin()?;
//! let directories = DirectoryLayer::new(env.randomness.clone());
//! let films = directories.create_or_open(&*transaction, &["films", "1998"], b"").await?;
//! assert_eq!(directories.list(&*transaction, &["films"]).await?, ["1998"]);
//! directories.move_to(&*transaction, &["films", "1998"], &["archive"]).await?;
//! let archive = directories.open(&*transaction, &["archive"], b"").await?;
//! assert_eq!(archive.subspace()?.prefix(), films.subspace()?.prefix());
//! # Ok::<_, tenantry_kv::Error>(())
//! # }).unwrap();
//! ```
//!
//! Source of the layout: `bindings/python/fdb/directory_impl.py` of FoundationDB 7.3.

mod allocator;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::{Isolation, Transaction};
use crate::env::Randomness;
use crate::error::{Error, ErrorCode, Result};
use crate::limits::{DIRECTORY_DEPTH_MAX, DIRECTORY_NAME_SIZE_BYTES_MAX};
use crate::range::RangeRequest;
use crate::subspace::Subspace;
use crate::tuple::{Element, prefix_end};
use allocator::Allocator;

/// The layer name of a partition: a directory that is the root of directories of its own, all of whose data lies under its prefix.
pub const PARTITION_LAYER: &[u8] = b"partition";

const VERSION: [u32; 3] = [1, 0, 0];
const SUBDIRECTORIES: Element = Element::Int(0);

/// The directories of a database.
#[derive(Clone)]
pub struct DirectoryLayer {
    nodes: Subspace,
    contents: Subspace,
    randomness: Arc<dyn Randomness>,
    allows_manual_prefixes: bool,
}

/// An open directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    path: Vec<String>,
    layer: Bytes,
    prefix: Bytes,
}

impl Directory {
    /// Its path from the root.
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// The name of what it was created for; empty if none was given.
    pub fn layer(&self) -> &Bytes {
        &self.layer
    }

    /// Where its contents lie.
    ///
    /// # Errors
    ///
    /// 10033 for a partition, which has no contents of its own.
    pub fn subspace(&self) -> Result<Subspace> {
        if self.is_partition() {
            let detail = format!("{} is a partition: put data into a directory inside it", shown(&self.path));
            return Err(invalid(detail));
        }
        Ok(Subspace::new(self.prefix.clone()))
    }

    /// Whether it is a partition.
    pub fn is_partition(&self) -> bool {
        self.layer == PARTITION_LAYER
    }
}

/// A directory's entry in the layer's own keys.
struct Node {
    subspace: Subspace,
    prefix: Bytes,
    layer: Bytes,
}

/// Where a path led.
struct Found<'a> {
    /// The layer that the last part of the path belongs to: a partition's, if it leads through one.
    layer: DirectoryLayer,
    /// The part of the path inside that layer.
    rest: &'a [&'a str],
    node: Option<Node>,
}

impl fmt::Debug for DirectoryLayer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DirectoryLayer({:?}, {:?})", self.nodes, self.contents)
    }
}

impl DirectoryLayer {
    /// The directories at the usual place: their own keys under `fe`, contents anywhere else.
    pub fn new(randomness: Arc<dyn Randomness>) -> DirectoryLayer {
        DirectoryLayer::at(Subspace::new(b"\xfe".as_slice()), Subspace::default(), randomness)
    }

    /// The directories whose own keys lie in `nodes` and whose contents lie in `contents`.
    pub fn at(nodes: Subspace, contents: Subspace, randomness: Arc<dyn Randomness>) -> DirectoryLayer {
        DirectoryLayer { nodes, contents, randomness, allows_manual_prefixes: false }
    }

    /// The same, and [`create_with_prefix`](DirectoryLayer::create_with_prefix) is allowed.
    #[must_use]
    pub fn with_manual_prefixes(mut self) -> DirectoryLayer {
        self.allows_manual_prefixes = true;
        self
    }

    /// Opens a directory, or creates it and what is missing above it.
    ///
    /// # Errors
    ///
    /// 10032 when it exists with another layer; as [`create`](DirectoryLayer::create) otherwise.
    pub async fn create_or_open(
        &self,
        transaction: &dyn Transaction,
        path: &[&str],
        layer: &[u8],
    ) -> Result<Directory> {
        self.ensure(transaction, path, layer, None, true, true).await
    }

    /// Creates a directory and what is missing above it.
    ///
    /// # Errors
    ///
    /// 10031 when it exists, 10033 for an empty path, too many or too long names, or a prefix that is in use; 10034 when the directories were written by a newer
    /// layer.
    pub async fn create(
        &self,
        transaction: &dyn Transaction,
        path: &[&str],
        layer: &[u8],
    ) -> Result<Directory> {
        self.ensure(transaction, path, layer, None, true, false).await
    }

    /// Creates a directory with a prefix of the caller's choice.
    ///
    /// # Errors
    ///
    /// As [`create`](DirectoryLayer::create); 10033 also where manual prefixes are not allowed: inside partitions, and unless
    /// [`with_manual_prefixes`](DirectoryLayer::with_manual_prefixes) allows them.
    pub async fn create_with_prefix(
        &self,
        transaction: &dyn Transaction,
        path: &[&str],
        layer: &[u8],
        prefix: Bytes,
    ) -> Result<Directory> {
        self.ensure(transaction, path, layer, Some(prefix), true, false).await
    }

    /// Opens a directory. An empty `layer` opens any.
    ///
    /// # Errors
    ///
    /// 10030 when it does not exist, 10032 when it has another layer, 10034.
    pub async fn open(
        &self,
        transaction: &dyn Transaction,
        path: &[&str],
        layer: &[u8],
    ) -> Result<Directory> {
        self.ensure(transaction, path, layer, None, false, true).await
    }

    /// Whether there is a directory with this path. The root exists.
    ///
    /// # Errors
    ///
    /// 10034, and those of the reads.
    pub async fn exists(&self, transaction: &dyn Transaction, path: &[&str]) -> Result<bool> {
        check_path(path)?;
        self.check_version(transaction).await?;
        Ok(path.is_empty() || self.find(transaction, path).await?.node.is_some())
    }

    /// The names of the directories in a directory, sorted.
    ///
    /// # Errors
    ///
    /// 10030, 10034.
    pub async fn list(&self, transaction: &dyn Transaction, path: &[&str]) -> Result<Vec<String>> {
        check_path(path)?;
        self.check_version(transaction).await?;
        let found = self.find(transaction, path).await?;
        let Some(node) = found.node else { return Err(not_found(path)) };
        // The contents of a partition are its own layer's root.
        let children = match node.layer == PARTITION_LAYER {
            true => found.layer.partition(&node.prefix).root()?,
            false => node.subspace,
        };
        let names = children_of(transaction, &children).await?;
        Ok(names.into_iter().map(|(name, _)| name).collect())
    }

    /// Moves a directory with everything in it to another path.
    ///
    /// # Errors
    ///
    /// 10030 when it, or the new path's parent, does not exist; 10031 when the new path exists; 10033 for a path into itself or into another partition.
    pub async fn move_to(
        &self,
        transaction: &dyn Transaction,
        from: &[&str],
        to: &[&str],
    ) -> Result<Directory> {
        check_path(from)?;
        check_path(to)?;
        self.check_or_write_version(transaction).await?;
        let (Some((from_name, _)), Some((to_name, to_parent))) = (from.split_last(), to.split_last()) else {
            return Err(invalid("the root directory cannot be moved, nor anything onto it".to_owned()));
        };
        if to.starts_with(from) {
            let detail = format!("{} cannot be moved into itself, to {}", shown(from), shown(to));
            return Err(invalid(detail));
        }
        let old = self.find(transaction, from).await?;
        let new = self.find(transaction, to).await?;
        let Some(node) = old.node else { return Err(not_found(from)) };
        if old.layer.nodes != new.layer.nodes {
            let detail = format!("{} and {} lie in different partitions", shown(from), shown(to));
            return Err(invalid(detail));
        }
        if new.node.is_some() {
            return Err(exists(to));
        }
        let parent = self.find(transaction, to_parent).await?;
        let Some(parent_node) = parent.parent_node()? else { return Err(not_found(to_parent)) };
        let entry = parent_node.pack(&[SUBDIRECTORIES, Element::from(*to_name)])?;
        transaction.set(&entry, &node.prefix);
        old.layer.unlink(transaction, &old.rest[..old.rest.len() - 1], from_name).await?;
        Ok(Directory { path: owned(to), layer: node.layer, prefix: node.prefix })
    }

    /// Removes a directory with its contents and everything below it. False when there was none.
    ///
    /// # Errors
    ///
    /// 10033 for the root, 10034.
    pub async fn remove(&self, transaction: &dyn Transaction, path: &[&str]) -> Result<bool> {
        check_path(path)?;
        self.check_or_write_version(transaction).await?;
        let Some((name, _)) = path.split_last() else {
            return Err(invalid("the root directory cannot be removed".to_owned()));
        };
        let found = self.find(transaction, path).await?;
        let Some(node) = found.node else { return Ok(false) };
        found.layer.remove_below(transaction, node).await?;
        found.layer.unlink(transaction, &found.rest[..found.rest.len() - 1], name).await?;
        Ok(true)
    }

    async fn ensure(
        &self,
        transaction: &dyn Transaction,
        path: &[&str],
        layer: &[u8],
        prefix: Option<Bytes>,
        may_create: bool,
        may_open: bool,
    ) -> Result<Directory> {
        check_path(path)?;
        self.check_version(transaction).await?;
        if path.is_empty() {
            return Err(invalid("the root directory cannot be opened: name a directory in it".to_owned()));
        }
        let found = self.find(transaction, path).await?;
        if let Some(node) = found.node {
            if !may_open {
                return Err(exists(path));
            }
            if !layer.is_empty() && node.layer != layer {
                let detail = format!(
                    "{} was created with the layer \"{}\", not \"{}\"",
                    shown(path),
                    node.layer.escape_ascii(),
                    layer.escape_ascii()
                );
                return Err(Error::new(ErrorCode::DIRECTORY_LAYER_MISMATCH, detail));
            }
            return Ok(Directory { path: owned(path), layer: node.layer, prefix: node.prefix });
        }
        if !may_create {
            return Err(not_found(path));
        }
        let prefix = found.layer.create_missing(transaction, found.rest, layer, prefix).await?;
        Ok(Directory { path: owned(path), layer: Bytes::copy_from_slice(layer), prefix })
    }

    /// Creates the directories of a path in this very layer, from the first that is missing.
    async fn create_missing(
        &self,
        transaction: &dyn Transaction,
        path: &[&str],
        layer: &[u8],
        manual: Option<Bytes>,
    ) -> Result<Bytes> {
        if manual.is_some() && !self.allows_manual_prefixes {
            let detail =
                "prefixes of one's own are not allowed here: leave the choice to the layer".to_owned();
            return Err(invalid(detail));
        }
        self.check_or_write_version(transaction).await?;
        // What is there is passed through; what is missing gets its prefixes from the deepest up, as the bindings do it.
        let mut parent = self.root()?;
        let mut missing = path;
        while let Some((name, rest)) = missing.split_first() {
            let entry = parent.pack(&[SUBDIRECTORIES, Element::from(*name)])?;
            let Some(prefix) = transaction.get(&entry, Isolation::Serializable).await? else { break };
            parent = self.node(&prefix)?;
            missing = rest;
        }
        let mut prefixes = Vec::new();
        let mut manual = manual;
        for _ in missing {
            prefixes.push(self.free_prefix(transaction, manual.take()).await?);
        }
        let deepest = prefixes.first().cloned().unwrap_or_default();
        for (name, prefix) in missing.iter().zip(prefixes.iter().rev()) {
            let node = self.node(prefix)?;
            transaction.set(&parent.pack(&[SUBDIRECTORIES, Element::from(*name)])?, prefix);
            let layer = if *prefix == deepest { layer } else { b"" };
            transaction.set(&layer_key(&node)?, layer);
            parent = node;
        }
        Ok(deepest)
    }

    /// The prefix for a new directory: allocated or given, with nothing in it and in nobody else's.
    async fn free_prefix(&self, transaction: &dyn Transaction, manual: Option<Bytes>) -> Result<Bytes> {
        let (prefix, isolation) = match manual {
            // As it is given: it need not lie where the layer's own choices do.
            Some(prefix) => (prefix.to_vec(), Isolation::Serializable),
            None => {
                let allocator = Allocator::new(&self.root()?.child(&[Element::from(b"hca".as_slice())])?)?;
                let number = allocator.allocate(transaction, &*self.randomness).await?;
                let prefix = self.contents.pack(&[Element::Int(number)])?;
                let keys = Subspace::new(prefix.clone()).keys();
                let request = RangeRequest::new(keys.begin, keys.end).limit(1);
                let batch = transaction.get_range(&request, Isolation::Serializable).await?;
                if !batch.rows.is_empty() {
                    let detail = format!(
                        "there are keys at {} already, which the layer chose for a new directory: data lies outside all directories",
                        prefix.escape_ascii()
                    );
                    return Err(invalid(detail));
                }
                (prefix.to_vec(), Isolation::Snapshot)
            }
        };
        if !self.is_prefix_free(transaction, &prefix, isolation).await? {
            let detail = format!("the prefix {} overlaps another directory's", prefix.escape_ascii());
            return Err(invalid(detail));
        }
        Ok(prefix.into())
    }

    async fn is_prefix_free(
        &self,
        transaction: &dyn Transaction,
        prefix: &[u8],
        isolation: Isolation,
    ) -> Result<bool> {
        if prefix.is_empty() || self.nodes.contains(prefix) {
            return Ok(false);
        }
        // A directory whose prefix this one begins with would stand right before it.
        let begin = self.nodes.tuples().begin;
        let own = self.nodes.pack(&[Element::from(prefix)])?;
        let end = [&own[..], &[0]].concat();
        let request = RangeRequest::new(begin, end).limit(1).reverse(true);
        let before = transaction.get_range(&request, isolation).await?;
        if let Some(row) = before.rows.first()
            && let Some(Element::Bytes(other)) = self.nodes.unpack(&row.key)?.first()
            && prefix.starts_with(other)
            && *other != *self.nodes.prefix()
        {
            return Ok(false);
        }
        let Some(end) = prefix_end(prefix) else { return Ok(false) };
        let end = self.nodes.pack(&[Element::Bytes(end)])?;
        let request = RangeRequest::new(own, end).limit(1);
        Ok(transaction.get_range(&request, isolation).await?.rows.is_empty())
    }

    /// Removes what lies in a directory and below it: the layer's keys and the contents.
    async fn remove_below(&self, transaction: &dyn Transaction, node: Node) -> Result<()> {
        let mut waiting = vec![(node.subspace, node.prefix)];
        while let Some((subspace, prefix)) = waiting.pop() {
            for (_, prefix) in children_of(transaction, &subspace).await? {
                waiting.push((self.node(&prefix)?, prefix));
            }
            for range in [Subspace::new(prefix).keys(), subspace.keys()] {
                transaction.clear_range(&range.begin, &range.end);
            }
        }
        Ok(())
    }

    async fn unlink(&self, transaction: &dyn Transaction, parent: &[&str], name: &str) -> Result<()> {
        let found = self.find(transaction, parent).await?;
        if let Some(node) = found.node {
            transaction.clear(&node.subspace.pack(&[SUBDIRECTORIES, Element::from(name)])?);
        }
        Ok(())
    }

    /// Follows a path, through partitions.
    async fn find<'a>(&self, transaction: &dyn Transaction, path: &'a [&'a str]) -> Result<Found<'a>> {
        let mut layer = self.clone();
        let mut rest = path;
        let mut node = layer.root_node()?;
        let mut depth = 0;
        while let Some(name) = rest.get(depth) {
            if node.layer == PARTITION_LAYER {
                layer = layer.partition(&node.prefix);
                node = layer.root_node()?;
                rest = &rest[depth..];
                depth = 0;
                continue;
            }
            let entry = node.subspace.pack(&[SUBDIRECTORIES, Element::from(*name)])?;
            let Some(prefix) = transaction.get(&entry, Isolation::Serializable).await? else {
                return Ok(Found { layer, rest, node: None });
            };
            let subspace = layer.node(&prefix)?;
            let stored = transaction.get(&layer_key(&subspace)?, Isolation::Serializable).await?;
            node = Node { subspace, prefix, layer: stored.unwrap_or_default() };
            depth += 1;
        }
        Ok(Found { layer, rest, node: Some(node) })
    }

    fn partition(&self, prefix: &Bytes) -> DirectoryLayer {
        let nodes = Subspace::new([&prefix[..], b"\xfe"].concat());
        DirectoryLayer::at(nodes, Subspace::new(prefix.clone()), self.randomness.clone())
    }

    fn node(&self, prefix: &Bytes) -> Result<Subspace> {
        self.nodes.child(&[Element::Bytes(prefix.clone())])
    }

    fn root(&self) -> Result<Subspace> {
        self.node(self.nodes.prefix())
    }

    fn root_node(&self) -> Result<Node> {
        Ok(Node { subspace: self.root()?, prefix: self.nodes.prefix().clone(), layer: Bytes::new() })
    }

    async fn check_version(&self, transaction: &dyn Transaction) -> Result<bool> {
        let Some(stored) = transaction.get(&self.version_key()?, Isolation::Serializable).await? else {
            return Ok(false);
        };
        let numbers: Vec<u32> =
            stored.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        match numbers[..] {
            [1, 0, _] => Ok(true),
            _ => {
                let detail =
                    format!("the directories have version {numbers:?}, this build writes {VERSION:?}");
                Err(Error::new(ErrorCode::DIRECTORY_VERSION, detail))
            }
        }
    }

    async fn check_or_write_version(&self, transaction: &dyn Transaction) -> Result<()> {
        if !self.check_version(transaction).await? {
            let version = VERSION.map(u32::to_le_bytes).concat();
            transaction.set(&self.version_key()?, &version);
        }
        Ok(())
    }

    fn version_key(&self) -> Result<Bytes> {
        self.root()?.pack(&[Element::from(b"version".as_slice())])
    }
}

impl Found<'_> {
    /// Where new entries below this directory go: a partition's are in its own layer.
    fn parent_node(&self) -> Result<Option<Subspace>> {
        match &self.node {
            None => Ok(None),
            Some(node) if node.layer == PARTITION_LAYER => {
                self.layer.partition(&node.prefix).root().map(Some)
            }
            Some(node) => Ok(Some(node.subspace.clone())),
        }
    }
}

fn layer_key(node: &Subspace) -> Result<Bytes> {
    node.pack(&[Element::from(b"layer".as_slice())])
}

/// The names and prefixes of a directory's children.
async fn children_of(transaction: &dyn Transaction, node: &Subspace) -> Result<Vec<(String, Bytes)>> {
    let entries = node.child(&[SUBDIRECTORIES])?;
    let range = entries.tuples();
    let mut children = Vec::new();
    let mut next = Some(RangeRequest::new(range.begin, range.end));
    while let Some(request) = next {
        let batch = transaction.get_range(&request, Isolation::Serializable).await?;
        for row in &batch.rows {
            match entries.unpack(&row.key)?.first() {
                Some(Element::String(name)) => children.push((name.clone(), row.value.clone())),
                _ => {
                    let detail = format!("the directory entry {} has no name", row.key.escape_ascii());
                    return Err(Error::new(ErrorCode::STORAGE_CORRUPT, detail));
                }
            }
        }
        next = request.after(&batch);
    }
    Ok(children)
}

fn check_path(path: &[&str]) -> Result<()> {
    if path.len() > DIRECTORY_DEPTH_MAX {
        let detail = format!("the path has {} names, the limit is {DIRECTORY_DEPTH_MAX}", path.len());
        return Err(invalid(detail));
    }
    for name in path {
        if name.len() > DIRECTORY_NAME_SIZE_BYTES_MAX {
            let detail = format!(
                "a directory name has {} bytes, the limit is {DIRECTORY_NAME_SIZE_BYTES_MAX}",
                name.len()
            );
            return Err(invalid(detail));
        }
    }
    Ok(())
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|name| (*name).to_owned()).collect()
}

fn shown<T: fmt::Debug>(path: &[T]) -> String {
    format!("the directory {path:?}")
}

fn invalid(detail: String) -> Error {
    Error::new(ErrorCode::DIRECTORY_INVALID, detail)
}

fn not_found(path: &[&str]) -> Error {
    Error::new(ErrorCode::DIRECTORY_NOT_FOUND, format!("{} does not exist", shown(path)))
}

fn exists(path: &[&str]) -> Error {
    Error::new(ErrorCode::DIRECTORY_EXISTS, format!("{} exists already", shown(path)))
}
