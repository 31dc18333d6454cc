//! Numbers of a sequence without conflicts: a block of them is taken in a transaction of its own, and given out in memory.

use futures_util::lock::Mutex;
use tenantry_kv::Isolation;

use super::Tenant;
use super::counters::{read_number, sequence_change};
use super::transaction::{TenantTransaction, read_size_bytes, write_size_bytes};
use crate::access::Operation;
use crate::error::{Result, limit};
use crate::limits::SEQUENCE_BLOCK_MAX;
use crate::messages::Change;
use crate::names::check_name;

/// Gives numbers of a sequence out of blocks: see [`Tenant::sequence_blocks`]. Share it between tasks; each gets other numbers.
#[derive(Debug)]
pub struct SequenceBlocks {
    tenant: Tenant,
    name: String,
    block: i64,
    left: Mutex<Left>,
}

/// The numbers of the block that were not given yet.
#[derive(Debug, Default)]
struct Left {
    next: i64,
    count: i64,
}

impl Tenant {
    /// A handle that gives numbers of a sequence out of blocks of `block` numbers: no number twice, by whatever process and after whatever outcome, but with gaps,
    /// for what a handle has left when it is dropped is lost. Between processes the numbers are not in the order of time.
    ///
    /// It may be the same sequence as that of [`next_in_sequence`](TenantTransaction::next_in_sequence), which then goes on behind the blocks.
    ///
    /// # Errors
    ///
    /// 20012 for a name that cannot be one, 20060 for a block of none or more than 1,000,000 numbers.
    pub fn sequence_blocks(&self, name: &str, block: usize) -> Result<SequenceBlocks> {
        self.authorize(Operation::NextInSequence)?;
        check_name("sequence", name)?;
        if block == 0 || block > SEQUENCE_BLOCK_MAX {
            return Err(limit("the numbers of a block (at least one)", block, SEQUENCE_BLOCK_MAX));
        }
        let block = i64::try_from(block).unwrap_or(i64::MAX);
        Ok(SequenceBlocks { tenant: self.clone(), name: name.to_owned(), block, left: Mutex::default() })
    }
}

impl SequenceBlocks {
    /// The next number. Most calls ask nobody; one in each block waits for a transaction, and the others with it.
    ///
    /// # Errors
    ///
    /// 20060 after the last of 2^63-1 numbers; as [`Tenant::run`]. A block whose transaction ended with an error is not used, even if it was taken.
    pub async fn next(&self) -> Result<i64> {
        self.tenant.authorize(Operation::NextInSequence)?;
        let mut left = self.left.lock().await;
        if left.count == 0 {
            let last = self
                .tenant
                .run(|transaction| async move { transaction.take_block(&self.name, self.block).await })
                .await?;
            *left = Left { next: last - self.block + 1, count: self.block };
        }
        let number = left.next;
        // The last of all numbers has none behind it.
        left.next = number.saturating_add(1);
        left.count -= 1;
        Ok(number)
    }
}

impl TenantTransaction {
    /// Takes so many numbers of a sequence and returns the last of them.
    async fn take_block(&self, name: &str, block: i64) -> Result<i64> {
        let key = self.tenant.keys.sequence(name)?;
        let last = read_number(self.transaction.get(&key, Isolation::Serializable).await?, "a sequence")?;
        let Some(last) = last.checked_add(block) else {
            return Err(limit("the numbers of a sequence", usize::MAX, usize::MAX));
        };
        let value = last.to_le_bytes();
        let size_bytes = read_size_bytes(key.len()) + write_size_bytes(key.len(), value.len());
        self.change(Change::Set(sequence_change(name, &value)), size_bytes)?;
        self.transaction.set(&key, &value);
        Ok(last)
    }
}
