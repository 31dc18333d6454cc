//! A look at every key of a database: whose it is, and whether that tenant is there.
//!
//! The keys are read in pages, each in a transaction of its own and so at another version, beside whoever works on the database; each page begins behind the last key of the one before. Tenants come and go meanwhile: what looks like a key
//! of a tenant that is not there is looked at again at the end, in one transaction together with the catalog's word on the tenant.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tenantry_kv::{Isolation, KeyValue, RangeRequest, StreamingMode, Subspace, Transaction, key_after};

use super::layout::{Attribution, KeyKind, KeyOwner, attribute};
use super::report::Attributed;
use crate::access::Operation;
use crate::database::Database;
use crate::error::Result;

/// About how many bytes one transaction reads.
const PAGE_SIZE_BYTES: usize = 1_000_000;
/// How many rows it reads at the most.
const PAGE_ROWS: usize = 20_000;

/// What else a value has to fulfil. It is given the owner, the kind, the key behind the root and the value, and tells what is wrong.
pub(super) type Look<'a> = dyn FnMut(KeyOwner, KeyKind, &[u8], &[u8]) -> Option<String> + 'a;

impl Database {
    /// Reads every key of the database and says whose it is, by a decoder of its own; changes nothing. `progress` is told after each page how many keys were read.
    ///
    /// # Errors
    ///
    /// The engine's own.
    pub async fn attribute_keys(&self, mut progress: impl FnMut(u64)) -> Result<Attributed> {
        self.authorize(Operation::AttributeKeys).await?;
        self.attribute_keys_with(&mut progress, &mut |_, _, _, _| None).await
    }

    pub(super) async fn attribute_keys_with(
        &self,
        progress: &mut dyn FnMut(u64),
        look: &mut Look<'_>,
    ) -> Result<Attributed> {
        let root = self.inner.keys.root().clone();
        let everything = Subspace::new(root.clone()).keys();
        let mut scan = Scan::default();
        let mut begin = everything.begin;
        loop {
            let rows = self.page(&begin, &everything.end).await?;
            scan.attributed.versions += 1;
            for row in &rows.rows {
                let relative = row.key.get(root.len()..).unwrap_or_default();
                scan.row(relative, &row.value, look);
            }
            progress(scan.attributed.total().keys);
            match rows.rows.last().filter(|_| rows.has_more) {
                Some(last) => begin = key_after(&last.key),
                None => break,
            }
        }
        self.look_again(&mut scan).await?;
        Ok(scan.attributed)
    }

    async fn page(&self, begin: &Bytes, end: &Bytes) -> Result<Rows> {
        self.inner
            .runner
            .read(|transaction| async move {
                let mut rows = Rows::default();
                let mut size_bytes = 0;
                let request = RangeRequest::new(begin.clone(), end.clone()).mode(StreamingMode::Serial);
                let mut next = Some(request.limit(PAGE_ROWS));
                while let Some(request) = next {
                    let batch = transaction.get_range(&request, Isolation::Snapshot).await?;
                    size_bytes += batch.rows.iter().map(|row| row.key.len() + row.value.len()).sum::<usize>();
                    next = request.after(&batch);
                    rows.has_more = batch.more;
                    rows.rows.extend(batch.rows);
                    if size_bytes >= PAGE_SIZE_BYTES {
                        break;
                    }
                }
                rows.has_more = rows.has_more || rows.rows.len() >= PAGE_ROWS;
                Ok(rows)
            })
            .await
    }

    /// Looks again at the tenants that had keys and no entry: one that has either both or neither by now came or went meanwhile.
    async fn look_again(&self, scan: &mut Scan) -> Result<()> {
        for (id, example) in std::mem::take(&mut scan.suspects) {
            let example = &example;
            let is_there = self
                .inner
                .runner
                .read(|transaction| async move { self.is_whole(&*transaction, id, example).await })
                .await?;
            if !is_there {
                scan.attributed
                    .found(example, format!("the tenant {id} is not there, and this key of it is"));
            }
        }
        Ok(())
    }

    /// Whether the catalog has a tenant, or no key of it or about it is left.
    async fn is_whole(&self, transaction: &dyn Transaction, id: u64, example: &[u8]) -> Result<bool> {
        let keys = &self.inner.keys;
        if transaction.get(&keys.tenant(id)?, Isolation::Snapshot).await?.is_some() {
            return Ok(true);
        }
        let example = [&keys.root()[..], example].concat();
        if transaction.get(&example, Isolation::Snapshot).await?.is_some() {
            return Ok(false);
        }
        let everything = keys.tenant_keys(id)?.everything();
        let first = RangeRequest::new(everything.begin, everything.end).limit(1);
        Ok(transaction.get_range(&first, Isolation::Snapshot).await?.rows.is_empty())
    }
}

#[derive(Default)]
struct Rows {
    rows: Vec<KeyValue>,
    has_more: bool,
}

/// What was seen so far.
#[derive(Default)]
struct Scan {
    attributed: Attributed,
    /// The tenants that the catalog has: their entries come before everything of theirs.
    entries: BTreeSet<u64>,
    /// Tenants without an entry that have keys, or of which the database has some; and one key of each.
    suspects: BTreeMap<u64, Bytes>,
}

impl Scan {
    fn row(&mut self, relative: &[u8], value: &[u8], look: &mut Look<'_>) {
        let Attribution { owner, kind, .. } = match attribute(relative) {
            Ok(attribution) => attribution,
            Err(why) => return self.attributed.found(relative, why),
        };
        if let Some(what) = look(owner, kind, relative, value) {
            return self.attributed.found(relative, what);
        }
        match owner {
            KeyOwner::About(id) if kind == KeyKind::TenantEntry => {
                self.entries.insert(id);
            }
            KeyOwner::Tenant(id) | KeyOwner::About(id) if !self.entries.contains(&id) => {
                self.suspects.entry(id).or_insert_with(|| Bytes::copy_from_slice(relative));
            }
            _ => {}
        }
        self.attributed.count(owner, kind, relative.len() + value.len());
    }
}
