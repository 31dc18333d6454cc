//! The stack: values, each with the number of the instruction that put it there.

use pollster::block_on;
use tenantry_kv::tuple::Element;
use tenantry_kv::{Bytes, Error, ErrorCode, KvFuture, Result, Versionstamp};

/// A value on the stack, or one that comes with a commit.
pub(crate) enum Item {
    Value(Element),
    Stamp(KvFuture<Versionstamp>),
}

/// The stack; its top is the last element.
#[derive(Default)]
pub(crate) struct Stack {
    items: Vec<(i64, Item)>,
}

impl Stack {
    pub(crate) fn push(&mut self, instruction: i64, value: impl Into<Element>) {
        self.items.push((instruction, Item::Value(value.into())));
    }

    pub(crate) fn push_stamp(&mut self, instruction: i64, stamp: KvFuture<Versionstamp>) {
        self.items.push((instruction, Item::Stamp(stamp)));
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn clear(&mut self) {
        self.items.clear();
    }

    /// Takes the top off, waiting for it if it is still to come.
    pub(crate) fn pop_with_number(&mut self) -> Result<(i64, Element)> {
        match self.items.pop() {
            None => Err(malformed("the stack is empty")),
            Some((number, Item::Value(value))) => Ok((number, value)),
            Some((number, Item::Stamp(stamp))) => {
                let bytes = match block_on(stamp) {
                    Ok(stamp) => Bytes::copy_from_slice(stamp.as_bytes()),
                    Err(error) => crate::shown(&error),
                };
                Ok((number, bytes.into()))
            }
        }
    }

    pub(crate) fn pop(&mut self) -> Result<Element> {
        Ok(self.pop_with_number()?.1)
    }

    pub(crate) fn pop_many(&mut self, count: i64) -> Result<Vec<Element>> {
        (0..count).map(|_| self.pop()).collect()
    }

    pub(crate) fn pop_bytes(&mut self) -> Result<Bytes> {
        match self.pop()? {
            Element::Bytes(bytes) => Ok(bytes),
            Element::String(text) => Ok(text.into_bytes().into()),
            other => Err(malformed(&format!("{other:?} is not a byte string"))),
        }
    }

    pub(crate) fn pop_text(&mut self) -> Result<String> {
        match self.pop()? {
            Element::String(text) => Ok(text),
            other => Err(malformed(&format!("{other:?} is not a string"))),
        }
    }

    pub(crate) fn pop_int(&mut self) -> Result<i64> {
        match self.pop()? {
            Element::Int(number) => Ok(number),
            Element::Bool(flag) => Ok(flag.into()),
            other => Err(malformed(&format!("{other:?} is not an integer"))),
        }
    }

    pub(crate) fn duplicate(&mut self) -> Result<()> {
        let (number, value) = self.pop_with_number()?;
        self.items.push((number, Item::Value(value.clone())));
        self.items.push((number, Item::Value(value)));
        Ok(())
    }

    pub(crate) fn swap(&mut self, depth: i64) -> Result<()> {
        let top = self.items.len().checked_sub(1).ok_or_else(|| malformed("the stack is empty"))?;
        let other = usize::try_from(depth).ok().and_then(|depth| top.checked_sub(depth));
        self.items.swap(top, other.ok_or_else(|| malformed("the stack is not so deep"))?);
        Ok(())
    }

    pub(crate) fn wait(&mut self) -> Result<()> {
        let (number, value) = self.pop_with_number()?;
        self.items.push((number, Item::Value(value)));
        Ok(())
    }
}

/// Instructions that make no sense: the tester's fault or ours, and no error of the engine.
pub(crate) fn malformed(what: &str) -> Error {
    Error::new(ErrorCode::CLIENT_INVALID_OPERATION, what.to_owned())
}
