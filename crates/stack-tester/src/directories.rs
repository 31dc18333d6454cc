//! The directory part of the instruction set: a list of layers, directories and subspaces, one of them current.

use std::sync::Arc;

use pollster::block_on;
use tenantry_kv::directory::{Directory, DirectoryLayer};
use tenantry_kv::env::Randomness;
use tenantry_kv::tuple::{self, Element};
use tenantry_kv::{Bytes, Engine, Result, Subspace, TransactionRef};

use crate::machine::Variant;
use crate::stack::{Stack, malformed};
use crate::with_retry;

/// Operations that put something at the end of the list, if only a gap.
const CREATING: [&str; 8] = [
    "DIRECTORY_CREATE_SUBSPACE",
    "DIRECTORY_CREATE_LAYER",
    "DIRECTORY_CREATE_OR_OPEN",
    "DIRECTORY_CREATE",
    "DIRECTORY_OPEN",
    "DIRECTORY_MOVE",
    "DIRECTORY_MOVE_TO",
    "DIRECTORY_OPEN_SUBSPACE",
];

#[derive(Clone)]
enum Entry {
    Layer(DirectoryLayer),
    Directory(DirectoryLayer, Directory),
    Subspace(Subspace),
}

pub(crate) struct Directories {
    list: Vec<Option<Entry>>,
    current: usize,
    error_index: usize,
    randomness: Arc<dyn Randomness>,
}

impl Directories {
    pub(crate) fn new(randomness: Arc<dyn Randomness>) -> Directories {
        let layer = DirectoryLayer::new(randomness.clone());
        Directories { list: vec![Some(Entry::Layer(layer))], current: 0, error_index: 0, randomness }
    }

    /// Runs an instruction; whatever fails shows on the stack.
    pub(crate) fn step(
        &mut self,
        operation: &str,
        variant: Variant,
        number: i64,
        stack: &mut Stack,
        engine: &Arc<dyn Engine>,
        transaction: &TransactionRef,
    ) -> Result<()> {
        let length = self.list.len();
        if self.try_step(operation, variant, number, stack, engine, transaction).is_err() {
            if CREATING.contains(&operation) && self.list.len() == length {
                self.list.push(None);
            }
            stack.push(number, Bytes::from_static(b"DIRECTORY_ERROR"));
        }
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<&Entry> {
        self.list
            .get(index)
            .and_then(Option::as_ref)
            .ok_or_else(|| malformed("there is nothing at this place"))
    }

    fn try_step(
        &mut self,
        operation: &str,
        variant: Variant,
        number: i64,
        stack: &mut Stack,
        engine: &Arc<dyn Engine>,
        transaction: &TransactionRef,
    ) -> Result<()> {
        match operation {
            "DIRECTORY_CREATE_SUBSPACE" => {
                let path = pop_tuple(stack)?;
                let prefix = stack.pop_bytes()?;
                let subspace = Subspace::new(tuple::pack_after(&prefix, &path)?);
                self.list.push(Some(Entry::Subspace(subspace)));
            }
            "DIRECTORY_CREATE_LAYER" => {
                let (nodes, contents) = (pop_index(stack)?, pop_index(stack)?);
                let allows_manual_prefixes = stack.pop_int()? == 1;
                let (Ok(nodes), Ok(contents)) = (self.entry(nodes), self.entry(contents)) else {
                    self.list.push(None);
                    return Ok(());
                };
                let layer =
                    DirectoryLayer::at(nodes.subspace()?, contents.subspace()?, self.randomness.clone());
                let layer = if allows_manual_prefixes { layer.with_manual_prefixes() } else { layer };
                self.list.push(Some(Entry::Layer(layer)));
            }
            "DIRECTORY_CHANGE" => {
                let index = pop_index(stack)?;
                let is_there = self.list.get(index).is_some_and(Option::is_some);
                self.current = if is_there { index } else { self.error_index };
            }
            "DIRECTORY_SET_ERROR_INDEX" => self.error_index = pop_index(stack)?,
            _ => {
                let entry = self.entry(self.current)?.clone();
                if entry.step_subspace(operation, number, stack)? {
                    return Ok(());
                }
                if operation == "DIRECTORY_OPEN_SUBSPACE" {
                    let path = pop_tuple(stack)?;
                    let subspace = entry.subspace()?.child(&path)?;
                    self.list.push(Some(Entry::Subspace(subspace)));
                    return Ok(());
                }
                if operation == "DIRECTORY_LOG_SUBSPACE" {
                    let prefix = stack.pop_bytes()?;
                    let key = tuple::pack_after(&prefix, &[(self.current as i64).into()])?;
                    transaction.set(&key, entry.subspace()?.prefix());
                    return Ok(());
                }
                let call = Call::pop(operation, stack, &entry)?;
                let (layer, current) = (entry.layer()?.clone(), self.current);
                let outcome = match variant {
                    Variant::Database => {
                        with_retry(engine, |transaction| call.run(&layer, current, transaction))?
                    }
                    _ => call.run(&layer, current, transaction)?,
                };
                match outcome {
                    Outcome::Nothing => {}
                    Outcome::Directory(directory) => self.list.push(Some(Entry::Directory(layer, directory))),
                    Outcome::Value(value) => stack.push(number, value),
                }
            }
        }
        Ok(())
    }
}

impl Entry {
    fn layer(&self) -> Result<&DirectoryLayer> {
        match self {
            Entry::Layer(layer) | Entry::Directory(layer, _) => Ok(layer),
            Entry::Subspace(_) => Err(malformed("a subspace is no directory")),
        }
    }

    fn subspace(&self) -> Result<Subspace> {
        match self {
            Entry::Directory(_, directory) => directory.subspace(),
            Entry::Subspace(subspace) => Ok(subspace.clone()),
            Entry::Layer(_) => Err(malformed("a directory layer is no subspace")),
        }
    }

    /// The path from the layer's root.
    fn path(&self) -> Vec<String> {
        match self {
            Entry::Directory(_, directory) => directory.path().to_vec(),
            _ => Vec::new(),
        }
    }

    /// What subspaces do; false if the operation is another.
    fn step_subspace(&self, operation: &str, number: i64, stack: &mut Stack) -> Result<bool> {
        match operation {
            "DIRECTORY_PACK_KEY" => {
                let elements = pop_tuple(stack)?;
                stack.push(number, self.subspace()?.pack(&elements)?);
            }
            "DIRECTORY_UNPACK_KEY" => {
                let key = stack.pop_bytes()?;
                for element in self.subspace()?.unpack(&key)? {
                    stack.push(number, element);
                }
            }
            "DIRECTORY_RANGE" => {
                let elements = pop_tuple(stack)?;
                let range = self.subspace()?.child(&elements)?.tuples();
                stack.push(number, range.begin);
                stack.push(number, range.end);
            }
            "DIRECTORY_CONTAINS" => {
                let key = stack.pop_bytes()?;
                stack.push(number, i64::from(self.subspace()?.contains(&key)));
            }
            "DIRECTORY_STRIP_PREFIX" => {
                let key = stack.pop_bytes()?;
                let prefix = self.subspace()?.prefix().clone();
                if !key.starts_with(&prefix) {
                    return Err(malformed("the key does not begin with the prefix"));
                }
                stack.push(number, key.slice(prefix.len()..));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// An operation on a directory layer with everything that it takes from the stack.
enum Call {
    CreateOrOpen(Vec<String>, Bytes),
    Create(Vec<String>, Bytes, Option<Bytes>),
    Open(Vec<String>, Bytes),
    Move(Vec<String>, Vec<String>),
    Remove(Vec<String>, bool),
    List(Vec<String>),
    Exists(Vec<String>),
    Log { prefix: Bytes, path: Vec<String>, layer: Bytes },
}

enum Outcome {
    Nothing,
    Directory(Directory),
    Value(Element),
}

impl Call {
    fn pop(operation: &str, stack: &mut Stack, entry: &Entry) -> Result<Call> {
        let base = entry.path();
        let below = |path: Vec<String>| [base.clone(), path].concat();
        // A partition is the root of its own directories, and a root can be neither opened nor created.
        let is_partition = matches!(entry, Entry::Directory(_, directory) if directory.is_partition());
        let inside = |path: Vec<String>| match is_partition && path.is_empty() {
            true => Err(malformed("the root of a partition cannot be opened")),
            false => Ok(below(path)),
        };
        let layer = |element: Element| match element {
            Element::Nil => Ok(Bytes::new()),
            Element::Bytes(bytes) => Ok(bytes),
            Element::String(text) => Ok(text.into_bytes().into()),
            other => Err(malformed(&format!("{other:?} is no layer"))),
        };
        let optional_path = |stack: &mut Stack| -> Result<Vec<String>> {
            match stack.pop_int()? {
                0 => Ok(base.clone()),
                _ => Ok(below(pop_path(stack)?)),
            }
        };
        Ok(match operation {
            "DIRECTORY_CREATE_OR_OPEN" => {
                let (path, layer) = (pop_path(stack)?, layer(stack.pop()?)?);
                Call::CreateOrOpen(inside(path)?, layer)
            }
            "DIRECTORY_CREATE" => {
                let (path, layer) = (pop_path(stack)?, layer(stack.pop()?)?);
                let prefix = stack.pop()?.as_bytes().cloned();
                Call::Create(inside(path)?, layer, prefix)
            }
            "DIRECTORY_OPEN" => {
                let (path, layer) = (pop_path(stack)?, layer(stack.pop()?)?);
                Call::Open(inside(path)?, layer)
            }
            "DIRECTORY_MOVE" => {
                let (from, to) = (pop_path(stack)?, pop_path(stack)?);
                Call::Move(below(from), below(to))
            }
            "DIRECTORY_MOVE_TO" => Call::Move(base.clone(), pop_path(stack)?),
            "DIRECTORY_REMOVE" => Call::Remove(optional_path(stack)?, false),
            "DIRECTORY_REMOVE_IF_EXISTS" => Call::Remove(optional_path(stack)?, true),
            "DIRECTORY_LIST" => Call::List(optional_path(stack)?),
            "DIRECTORY_EXISTS" => Call::Exists(optional_path(stack)?),
            "DIRECTORY_LOG_DIRECTORY" => Call::Log {
                prefix: stack.pop_bytes()?,
                path: base.clone(),
                layer: match entry {
                    Entry::Directory(_, directory) => directory.layer().clone(),
                    _ => Bytes::new(),
                },
            },
            other => return Err(malformed(&format!("there is no operation {other}"))),
        })
    }

    fn run(&self, layer: &DirectoryLayer, current: usize, transaction: &TransactionRef) -> Result<Outcome> {
        let transaction = &**transaction;
        Ok(match self {
            Call::CreateOrOpen(path, name) => {
                Outcome::Directory(block_on(layer.create_or_open(transaction, &lent(path), name))?)
            }
            Call::Create(path, name, None) => {
                Outcome::Directory(block_on(layer.create(transaction, &lent(path), name))?)
            }
            Call::Create(path, name, Some(prefix)) => {
                let path = lent(path);
                let created = layer.create_with_prefix(transaction, &path, name, prefix.clone());
                Outcome::Directory(block_on(created)?)
            }
            Call::Open(path, name) => {
                Outcome::Directory(block_on(layer.open(transaction, &lent(path), name))?)
            }
            Call::Move(from, to) => {
                Outcome::Directory(block_on(layer.move_to(transaction, &lent(from), &lent(to)))?)
            }
            Call::Remove(path, if_exists) => {
                if !block_on(layer.remove(transaction, &lent(path)))? && !if_exists {
                    return Err(malformed("there is no such directory"));
                }
                Outcome::Nothing
            }
            Call::List(path) => {
                let names = block_on(layer.list(transaction, &lent(path)))?;
                let names: Vec<Element> = names.into_iter().map(Element::from).collect();
                Outcome::Value(tuple::pack(&names)?.into())
            }
            Call::Exists(path) => {
                let exists = block_on(layer.exists(transaction, &lent(path)))?;
                Outcome::Value(i64::from(exists).into())
            }
            Call::Log { prefix, path, layer: name } => {
                let exists = block_on(layer.exists(transaction, &lent(path)))?;
                let children =
                    if exists { block_on(layer.list(transaction, &lent(path)))? } else { Vec::new() };
                let log = Subspace::new(tuple::pack_after(prefix, &[(current as i64).into()])?);
                let texts =
                    |texts: &[String]| texts.iter().map(|text| Element::from(text.as_str())).collect();
                let values: [(&str, Vec<Element>); 4] = [
                    ("path", texts(path)),
                    ("layer", vec![name.clone().into()]),
                    ("exists", vec![i64::from(exists).into()]),
                    ("children", texts(&children)),
                ];
                for (field, value) in values {
                    transaction.set(&log.pack(&[field.into()])?, &tuple::pack(&value)?);
                }
                Outcome::Nothing
            }
        })
    }
}

fn lent(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

fn pop_index(stack: &mut Stack) -> Result<usize> {
    usize::try_from(stack.pop_int()?).map_err(|_| malformed("an index is negative"))
}

fn pop_tuple(stack: &mut Stack) -> Result<Vec<Element>> {
    let count = stack.pop_int()?;
    stack.pop_many(count)
}

fn pop_path(stack: &mut Stack) -> Result<Vec<String>> {
    let text = |element: Element| match element {
        Element::String(text) => Ok(text),
        other => Err(malformed(&format!("{other:?} is no part of a path"))),
    };
    pop_tuple(stack)?.into_iter().map(text).collect()
}
