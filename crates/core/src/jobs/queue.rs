//! Which job is next: round robin over the tenants, so that the thousand jobs of one do not keep the only one of another waiting.

use tenantry_kv::tuple::Element;
use tenantry_kv::{Isolation, RangeRequest, key_after};
use uuid::Uuid;

use super::kind::JobKinds;
use crate::database::Inner;
use crate::error::{Code, Error, Result};

/// How many places of the queue one transaction looks at.
const LOOK_ROWS_MAX: usize = 256;
/// Among how many jobs of a tenant a worker chooses when others were quicker than it before.
const CHOICE_MAX: usize = 8;

/// What the queue has for a worker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Picked {
    /// A job that seems to be free.
    Job { id: Uuid, tenant: u64 },
    /// Nothing now; from the moment that is told, maybe.
    None { next_us: Option<i64> },
}

struct Place {
    tenant: u64,
    due_us: i64,
    id: Uuid,
}

/// Looks for a job that can be taken, of the tenants after `after` first.
pub(super) async fn pick(inner: &Inner, kinds: &JobKinds, after: u64, collides: bool) -> Result<Picked> {
    let now_us = inner.env.clock.wall_us();
    let queue = inner.keys.job_queue()?.keys();
    let middle = inner.keys.job_queue_of(after.saturating_add(1))?;
    let mut next_us: Option<i64> = None;
    for (from, end) in [(middle.clone(), queue.end), (queue.begin, middle)] {
        let mut begin = Some(from);
        while let Some(from) = begin {
            let request = RangeRequest::new(from, end.clone()).limit(LOOK_ROWS_MAX);
            let batch = inner
                .runner
                .read(|transaction| {
                    let request = request.clone();
                    async move { Ok::<_, Error>(transaction.get_range(&request, Isolation::Snapshot).await?) }
                })
                .await?;
            let mut refused = None;
            let mut free: Vec<Place> = Vec::new();
            for row in &batch.rows {
                let place = place(&inner.keys.job_queue()?.unpack(&row.key)?)?;
                let is_known = std::str::from_utf8(&row.value).is_ok_and(|kind| kinds.has(kind));
                if refused == Some(place.tenant) || !is_known {
                    continue;
                }
                if free.first().is_some_and(|first| first.tenant != place.tenant) {
                    break;
                }
                if place.due_us <= now_us {
                    free.push(place);
                } else {
                    // Those behind it in the tenant are due later still.
                    refused = Some(place.tenant);
                    next_us = Some(next_us.map_or(place.due_us, |next| next.min(place.due_us)));
                }
            }
            if let Some(place) = choose(inner, free, collides) {
                return Ok(Picked::Job { id: place.id, tenant: place.tenant });
            }
            begin = match (batch.rows.last().filter(|_| batch.more), refused) {
                (None, _) => None,
                (Some(last), refused) => Some(match refused {
                    Some(tenant) => key_after(&last.key).max(inner.keys.job_queue_of(tenant + 1)?),
                    None => key_after(&last.key),
                }),
            };
        }
    }
    Ok(Picked::None { next_us })
}

/// The first; one of the first where several workers would all take it.
fn choose(inner: &Inner, mut free: Vec<Place>, collides: bool) -> Option<Place> {
    if free.is_empty() {
        return None;
    }
    let index = match collides {
        true => inner.env.randomness.next_u64("jobs: choice") as usize % free.len().min(CHOICE_MAX),
        false => 0,
    };
    Some(free.swap_remove(index))
}

fn place(elements: &[Element]) -> Result<Place> {
    match elements {
        [Element::Int(tenant), Element::Int(due_us), Element::Uuid(id)] => {
            Ok(Place { tenant: u64::try_from(*tenant).unwrap_or(0), due_us: *due_us, id: *id })
        }
        _ => Err(Error::new(
            Code::StoredDataInvalid,
            "a place in the queue of jobs has no tenant, time and id",
        )),
    }
}
