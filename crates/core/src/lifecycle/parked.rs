//! Jobs of a tenant that is suspended: they keep their places in the queue, under a mark that no worker takes for a kind of job. Whoever changes the tenant's state takes the
//! marks away, in the same transaction.

use bytes::Bytes;
use tenantry_kv::{Isolation, RangeRequest, Subspace, Transaction};

use crate::database::Inner;
use crate::error::Result;
use crate::key_space::behind;

/// What stands before the kind of a job that is parked. No kind's name begins so.
const MARK: &[u8] = &[0];

/// The value of a parked job's place in the queue.
pub(crate) fn parked(kind: &str) -> Bytes {
    behind(MARK, kind.as_bytes())
}

/// Makes the parked jobs of a tenant free again.
pub(crate) async fn release(inner: &Inner, transaction: &dyn Transaction, tenant: u64) -> Result<()> {
    let range = Subspace::new(inner.keys.job_queue_of(tenant)?).tuples();
    let mut next = Some(RangeRequest::new(range.begin, range.end));
    // With a conflict: who parks a job has read the state that changes here, and either comes before this or finds the new one.
    while let Some(request) = next {
        let batch = transaction.get_range(&request, Isolation::Serializable).await?;
        for row in &batch.rows {
            if let Some(kind) = row.value.strip_prefix(MARK) {
                transaction.set(&row.key, kind);
            }
        }
        next = request.after(&batch);
    }
    Ok(())
}
