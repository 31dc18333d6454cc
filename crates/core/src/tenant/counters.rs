//! Counters and sequences.

use bytes::Bytes;
use tenantry_kv::{Isolation, MutationType, RangeRequest};

use super::raw::change;
use super::transaction::{TenantTransaction, read_size_bytes, write_size_bytes};
use crate::access::Operation;
use crate::database::mutation_code;
use crate::error::{Code, Error, Result, limit};
use crate::limits::COUNTER_SHARDS_MAX;
use crate::messages::{Change, RawChange, Space};
use crate::names::check_name;

impl TenantTransaction {
    /// Adds to a counter, without reading it: any number of transactions can do so at a time and none conflicts. Counters begin at 0 and wrap around.
    ///
    /// # Errors
    ///
    /// 20012 for a name that cannot be one; the limits of a transaction.
    pub fn add_to_counter(&self, name: &str, amount: i64) -> Result<()> {
        self.add_to_sharded_counter(name, amount, 1)
    }

    /// As [`add_to_counter`](TenantTransaction::add_to_counter), for a counter that so many write at a time that one key of a cluster could not take it: it is spread over so many keys,
    /// one of which is drawn, and all of which are read. The number may change at any time, also from and to one.
    ///
    /// # Errors
    ///
    /// 20060 for no or more than 64 shards; as [`add_to_counter`](TenantTransaction::add_to_counter).
    pub fn add_to_sharded_counter(&self, name: &str, amount: i64, shards: u16) -> Result<()> {
        self.authorize(Operation::AddToCounter)?;
        check_name("counter", name)?;
        if shards == 0 || shards > COUNTER_SHARDS_MAX {
            let what = "the shards of a counter (at least one)";
            return Err(limit(what, usize::from(shards), usize::from(COUNTER_SHARDS_MAX)));
        }
        let randomness = &self.tenant.database.inner.env.randomness;
        let mut logged_key = name.as_bytes().to_vec();
        let key = match shards {
            1 => self.tenant.keys.counter(name)?,
            shards => {
                let shard = (randomness.next_u64("counter shard") % u64::from(shards)) as u16;
                // Names hold no zero byte.
                logged_key.push(0);
                logged_key.extend_from_slice(&shard.to_be_bytes());
                self.tenant.keys.counter_shard(name, shard)?
            }
        };
        let operand = amount.to_le_bytes();
        let mut logged = change(&logged_key, &operand, Space::Counters);
        logged.mutation = mutation_code(MutationType::Add);
        self.change(Change::Atomic(logged), write_size_bytes(key.len(), operand.len()))?;
        self.transaction.atomic(MutationType::Add, &key, &operand);
        Ok(())
    }

    /// A counter's value: the sum of its shards. Read so, it conflicts with everybody who adds to it: see [`set_isolation`](TenantTransaction::set_isolation).
    ///
    /// # Errors
    ///
    /// 20012; the engine's own.
    pub async fn counter(&self, name: &str) -> Result<i64> {
        self.authorize(Operation::Counter)?;
        check_name("counter", name)?;
        let range = self.tenant.keys.counter_parts(name)?;
        let mut sum = 0i64;
        let mut next = Some(RangeRequest::new(range.begin, range.end));
        while let Some(request) = next {
            let batch = self.transaction.get_range(&request, self.isolation()).await?;
            for row in &batch.rows {
                sum = sum.wrapping_add(read_number(Some(row.value.clone()), "a counter")?);
            }
            next = request.after(&batch);
        }
        Ok(sum)
    }

    /// The next number of a sequence: 1, 2, 3, and so on, without gaps, in the order of the commits. Transactions that take from one sequence conflict.
    ///
    /// # Errors
    ///
    /// 20012; 20060 after the last of 2^63-1 numbers; the engine's own.
    pub async fn next_in_sequence(&self, name: &str) -> Result<i64> {
        self.authorize(Operation::NextInSequence)?;
        check_name("sequence", name)?;
        let key = self.tenant.keys.sequence(name)?;
        let last = read_number(self.transaction.get(&key, Isolation::Serializable).await?, "a sequence")?;
        let Some(next) = last.checked_add(1) else {
            return Err(limit("the numbers of a sequence", usize::MAX, usize::MAX));
        };
        let value = next.to_le_bytes();
        let size_bytes = read_size_bytes(key.len()) + write_size_bytes(key.len(), value.len());
        self.change(Change::Set(sequence_change(name, &value)), size_bytes)?;
        self.transaction.set(&key, &value);
        Ok(next)
    }
}

pub(super) fn sequence_change(name: &str, value: &[u8]) -> RawChange {
    change(name.as_bytes(), value, Space::Sequences)
}

pub(super) fn read_number(bytes: Option<Bytes>, what: &str) -> Result<i64> {
    let Some(bytes) = bytes else { return Ok(0) };
    match <[u8; 8]>::try_from(&bytes[..]) {
        Ok(bytes) => Ok(i64::from_le_bytes(bytes)),
        Err(_) => {
            Err(Error::new(Code::StoredDataInvalid, format!("{what} has {} bytes, not eight", bytes.len())))
        }
    }
}
