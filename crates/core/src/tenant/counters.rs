//! Counters and sequences.

use bytes::Bytes;
use tenantry_kv::{Isolation, MutationType};

use super::raw::change;
use super::transaction::{TenantTransaction, read_size_bytes, write_size_bytes};
use crate::database::mutation_code;
use crate::error::{Code, Error, Result, limit};
use crate::messages::{Change, Space};
use crate::names::check_name;

impl TenantTransaction {
    /// Adds to a counter, without reading it: any number of transactions can do so at a time and none conflicts. Counters begin at 0 and wrap around.
    ///
    /// # Errors
    ///
    /// 20012 for a name that cannot be one; the limits of a transaction.
    pub fn add_to_counter(&self, name: &str, amount: i64) -> Result<()> {
        check_name("counter", name)?;
        let key = self.tenant.keys.counter(name)?;
        let operand = amount.to_le_bytes();
        let mut logged = change(name.as_bytes(), &operand, Space::Counters);
        logged.mutation = mutation_code(MutationType::Add);
        self.change(Change::Atomic(logged), write_size_bytes(key.len(), operand.len()))?;
        self.transaction.atomic(MutationType::Add, &key, &operand);
        Ok(())
    }

    /// A counter's value. Read so, it conflicts with everybody who adds to it: see [`set_isolation`](TenantTransaction::set_isolation).
    ///
    /// # Errors
    ///
    /// 20012; the engine's own.
    pub async fn counter(&self, name: &str) -> Result<i64> {
        check_name("counter", name)?;
        let bytes = self.transaction.get(&self.tenant.keys.counter(name)?, self.isolation()).await?;
        number(bytes, "a counter")
    }

    /// The next number of a sequence: 1, 2, 3, and so on, without gaps, in the order of the commits. Transactions that take from one sequence conflict.
    ///
    /// # Errors
    ///
    /// 20012; 20060 after the last of 2^63-1 numbers; the engine's own.
    pub async fn next_in_sequence(&self, name: &str) -> Result<i64> {
        check_name("sequence", name)?;
        let key = self.tenant.keys.sequence(name)?;
        let last = number(self.transaction.get(&key, Isolation::Serializable).await?, "a sequence")?;
        let Some(next) = last.checked_add(1) else {
            return Err(limit("the numbers of a sequence", usize::MAX, usize::MAX));
        };
        let value = next.to_le_bytes();
        let size_bytes = read_size_bytes(key.len()) + write_size_bytes(key.len(), value.len());
        self.change(Change::Set(change(name.as_bytes(), &value, Space::Sequences)), size_bytes)?;
        self.transaction.set(&key, &value);
        Ok(next)
    }
}

fn number(bytes: Option<Bytes>, what: &str) -> Result<i64> {
    let Some(bytes) = bytes else { return Ok(0) };
    match <[u8; 8]>::try_from(&bytes[..]) {
        Ok(bytes) => Ok(i64::from_le_bytes(bytes)),
        Err(_) => {
            Err(Error::new(Code::StoredDataInvalid, format!("{what} has {} bytes, not eight", bytes.len())))
        }
    }
}
