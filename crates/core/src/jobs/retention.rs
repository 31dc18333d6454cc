//! Jobs that have ended are kept for a while, and so many of them.

use tenantry_kv::tuple::Element;
use tenantry_kv::{Isolation, RangeRequest, Subspace};

use super::store;
use crate::database::Inner;
use crate::error::{Code, Error, Result};
use crate::limits::JOB_ENDED_DAYS_MAX;

/// How many jobs are removed at a time: more than end meanwhile.
const REMOVED_MAX: usize = 100;
const DAY_US: i64 = 24 * 3_600 * 1_000_000;

/// Removes some of the jobs that ended too long ago, or are more than `ended_max`.
pub(super) async fn trim(inner: &Inner, ended_max: usize) -> Result<()> {
    let oldest_us = inner.env.clock.wall_us() - i64::from(JOB_ENDED_DAYS_MAX) * DAY_US;
    inner
        .runner
        .run(|transaction| async move {
            let ended = inner.keys.jobs_ended()?;
            let ends = inner.keys.job_ends()?;
            let surplus = store::count(&*transaction, &ended).await?.saturating_sub(ended_max);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pollster::block_on;
    use tenantry_kv::conformance::reference::manual_env_with_clock;

    use super::*;
    use crate::jobs::{Count, JobFilter, JobId};
    use crate::{Database, SchemaDefinition};

    #[test]
    fn the_last_ones_are_kept_whole_and_the_others_leave_nothing() {
        let (env, clock) = manual_env_with_clock();
        let database =
            block_on(Database::open(crate::test_engine::engine(&env), env, &crate::test_engine::name("t")))
                .unwrap();
        let schema = "name = \"s\"\n[types.note]\nprimary_key = [\"id\"]\nfields = { id = \"int\" }\n";
        block_on(database.apply_schema(&SchemaDefinition::from_toml(schema).unwrap())).unwrap();
        let tenant = block_on(database.create_tenant("acme", "s")).unwrap();
        let mut ids: Vec<JobId> = Vec::new();
        for _ in 0..12 {
            clock.advance(Duration::from_millis(2));
            let parameters = Count::parameters("note");
            let id = block_on(database.create_job(&Count, Some(&tenant), &parameters)).unwrap();
            block_on(database.cancel_job(id)).unwrap();
            ids.push(id);
        }
        let inner = &database.inner;
        let listed = || -> Vec<JobId> {
            let page = block_on(database.jobs(&JobFilter::all(), None, 100)).unwrap();
            page.jobs.iter().rev().map(|job| job.id).collect()
        };
        let rows = || {
            let range = Subspace::new(inner.keys.root().clone()).child(&[3.into()]).unwrap().keys();
            let request = RangeRequest::new(range.begin, range.end);
            let transaction = database.engine().begin().unwrap();
            block_on(transaction.get_range(&request, Isolation::Snapshot)).unwrap().rows.len()
        };
        block_on(trim(inner, 12)).unwrap();
        assert_eq!(listed(), ids);
        block_on(trim(inner, 5)).unwrap();
        assert_eq!(listed(), ids[7..]);
        // Three parts of each job and its end, and the count of those.
        assert_eq!(rows(), 5 * 4 + 1);
        block_on(trim(inner, 5)).unwrap();
        assert_eq!(listed(), ids[7..]);
        block_on(trim(inner, 0)).unwrap();
        assert_eq!((listed(), rows()), (Vec::new(), 1));
    }
}
