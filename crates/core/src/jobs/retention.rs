//! Jobs that have ended are kept for a while, and so many of them.

use tenantry_kv::tuple::Element;
use tenantry_kv::{Isolation, RangeRequest, Subspace};

use super::store;
use crate::database::Inner;
use crate::error::{Code, Error, Result};
use crate::limits::{JOB_ENDED_DAYS_MAX, JOBS_ENDED_MAX};

/// How many jobs are removed at a time: more than end meanwhile.
const REMOVED_MAX: usize = 100;
const DAY_US: i64 = 24 * 3_600 * 1_000_000;

/// Removes some of the jobs that ended too long ago, or are too many.
pub(super) async fn trim(inner: &Inner) -> Result<()> {
    let oldest_us = inner.env.clock.wall_us() - i64::from(JOB_ENDED_DAYS_MAX) * DAY_US;
    inner
        .runner
        .run(|transaction| async move {
            let ended = inner.keys.jobs_ended()?;
            let ends = inner.keys.job_ends()?;
            let surplus = store::count(&*transaction, &ended).await?.saturating_sub(JOBS_ENDED_MAX);
            let range = ends.tuples();
            let request = RangeRequest::new(range.begin, range.end).limit(REMOVED_MAX.min(surplus.max(1)));
            let mut removed = 0;
            // With a conflict: two who remove the same jobs must not both count them.
            for row in transaction.get_range(&request, Isolation::Serializable).await?.rows {
                let elements = ends.unpack(&row.key)?;
                let [Element::Int(ended_us), Element::Uuid(id)] = elements[..] else {
                    return Err(Error::new(Code::StoredDataInvalid, "the end of a job has no time and id"));
                };
                if removed >= surplus && ended_us >= oldest_us {
                    break;
                }
                let job = Subspace::new(inner.keys.jobs()?.pack(&[Element::Uuid(id)])?).keys();
                transaction.clear_range(&job.begin, &job.end);
                transaction.clear(&row.key);
                removed += 1;
            }
            if removed > 0 {
                store::add(&*transaction, &ended, -i64::try_from(removed).unwrap_or(0));
            }
            Ok(())
        })
        .await
}
