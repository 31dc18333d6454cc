//! The attacker: each step, and what it is told, as a line in which versions, stamps, times and the text of tokens do not stand.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use serde_json::Value as Json;
use tenantry_core::jobs::{Count, JobKinds, Worker};
use tenantry_core::{
    Aggregation, Database, Error, Measure, Query, RawRange, Record, Result, RunOptions, Tenant,
    TenantTransaction,
};

use super::script::Step;
use super::victim::{IntoKey, Stolen, page};
use crate::executor::give_way;

/// More pages than the attacker has: where isolation is broken, they may have no end.
const PAGES_MAX: usize = 100;
/// More steps than a job of the attacker's takes.
const STEPS_MAX: usize = 100;

/// Does a step and tells what came of it. What is wrong with the world itself is an error.
pub(super) async fn act(
    database: &Database,
    tenant: &Tenant,
    stolen: &Stolen,
    step: &Step,
) -> Result<String> {
    let told = match step {
        Step::Request(name, fingerprint) => {
            let fingerprint = [*fingerprint];
            let done = tenant.run_idempotent(name.as_bytes(), &fingerprint, |transaction| async move {
                transaction.next_in_sequence("requests").await
            });
            done.await.map(|done| format!("{} {}", done.value, done.is_repeated))
        }
        Step::SweepRequests => {
            tenant.remove_expired_idempotency_records().await.map(|removed| removed.to_string())
        }
        Step::RawWatch(key) => watch(tenant, key).await,
        Step::Conflict => conflict(tenant).await,
        Step::CountJob => count(database, tenant).await,
        _ => within(tenant, stolen, step).await,
    };
    Ok(match told {
        Ok(told) => told,
        Err(error) => format!("{}: {error}", error.number()),
    })
}

/// A step within one transaction; how many attempts it took is told too.
async fn within(tenant: &Tenant, stolen: &Stolen, step: &Step) -> Result<String> {
    let completed = tenant
        .run_completed(|transaction| async move {
            // Others have their turn between its reads and its commit.
            give_way().await;
            let told = perform(&transaction, stolen, step).await;
            give_way().await;
            match told {
                Err(error) if error.code() == tenantry_core::Code::Engine => Err(error),
                Err(error) => Ok(format!("{}: {error}", error.number())),
                // Which shard a counter takes is drawn, and its number has one byte or two.
                Ok(told) if matches!(step, Step::Count(..)) => Ok(told),
                Ok(told) => Ok(format!("{told}, {} bytes", transaction.size_bytes())),
            }
        })
        .await?;
    Ok(format!("{} in {} attempts", completed.value, completed.attempts))
}

async fn perform(transaction: &TenantTransaction, stolen: &Stolen, step: &Step) -> Result<String> {
    let records = |records: &[Record]| texts(records.iter().map(|record| record.to_json().to_string()));
    Ok(match step {
        Step::Put { id, group, code } => {
            let id = *id as i64;
            let mut record = Record::new().with("id", id).with("group", *group).with("amount", id * 3);
            record.set("words", format!("alpha {id}"));
            record.set("code", format!("code {code}"));
            transaction.put("item", &record).await?;
            "put".to_owned()
        }
        Step::Delete(id) => transaction.delete("item", &(*id as i64).into_key()).await?.to_string(),
        Step::Get(id) => {
            records(&transaction.get("item", &(*id as i64).into_key()).await?.into_iter().collect::<Vec<_>>())
        }
        Step::OfGroup(group) => {
            records(&transaction.query(&Query::of("item").filter(format!("group == {group}"))).await?.records)
        }
        Step::OfCode(code) => {
            let query = Query::of("item").filter(format!("code == \"code {code}\""));
            records(&transaction.query(&query).await?.records)
        }
        Step::Words(word) => {
            let query = Query::of("item").filter(format!("matches(words, \"{word}\")"));
            records(&transaction.query(&query).await?.records)
        }
        Step::Amounts => {
            let asked = Aggregation::of("item").group_by("group");
            let asked = asked.measure(Measure::Count).measure(Measure::sum("amount"));
            let groups = transaction.aggregate(&asked).await?;
            format!("{:?} {:?} {}", groups.groups, groups.indexes, groups.keys_read)
        }
        Step::Ranked => records(&transaction.ranked("item", "board", &[Some(0.into())], 0, 10).await?),
        Step::Pages(rows_max) => pages(transaction, *rows_max).await?,
        Step::StolenToken => match &stolen.token {
            Some(token) => records(&transaction.query(&page(1).after(token.as_str())).await?.records),
            None => "nothing was stolen".to_owned(),
        },
        Step::DamagedToken => {
            let mut token = stolen.token.clone().unwrap_or_default();
            token.insert(token.len() / 2, 'A');
            records(&transaction.query(&page(1).after(token)).await?.records)
        }
        Step::StolenVersion => {
            let group = [Some(0.into())];
            records(&transaction.changed_after("item", "changes", &group, stolen.version, 100).await?)
        }
        Step::Counter(name) => transaction.counter(name).await?.to_string(),
        Step::Count(name, shards) => {
            transaction.add_to_sharded_counter(name, 7, *shards)?;
            "counted".to_owned()
        }
        Step::Sequence(name) => transaction.next_in_sequence(name).await?.to_string(),
        Step::Unknown => {
            let errors = [
                transaction.query(&Query::of("secret")).await.map(drop),
                transaction.query(&Query::of("item").filter("secret == 1")).await.map(drop),
                transaction.rank_of("item", "secret", &0_i64.into_key()).await.map(drop),
            ];
            texts(errors.map(|error| error.map_or_else(|error| error.to_string(), |()| "found".to_owned())))
        }
        Step::TooMuch => transaction.query(&page(10_001)).await.map(|_| "ten thousand".to_owned())?,
        raw => perform_raw(transaction, raw).await?,
    })
}

async fn perform_raw(transaction: &TenantTransaction, step: &Step) -> Result<String> {
    Ok(match step {
        Step::RawGet(key) => format!("{:?}", transaction.raw_get(key).await?),
        Step::RawSet(key, value) => {
            transaction.raw_set(key, format!("mine {value}").as_bytes())?;
            "set".to_owned()
        }
        Step::RawClearRange(begin, end) => {
            transaction.raw_clear_range(begin, end)?;
            "cleared".to_owned()
        }
        Step::RawStamped(key) => {
            transaction.raw_set_versionstamped(key, b"", b"mine")?;
            "stamped".to_owned()
        }
        Step::RawRange { begin, end, is_reverse } => {
            let range = match end {
                Some(end) => RawRange::new(*begin, *end),
                None => RawRange::prefix(begin),
            };
            let page = transaction.raw_range(&range.reverse(*is_reverse)).await?;
            texts(page.rows.iter().map(|(key, value)| format!("{} = {value:?}", masked(key, value))))
        }
        _ => String::new(),
    })
}

/// A key without its stamp, which only those have that were written with one: ten bytes in front of the ordinal at the end.
fn masked(key: &[u8], value: &[u8]) -> String {
    match (value, key.len().checked_sub(12)) {
        (b"mine", Some(begin)) => format!("{}<stamp>{:?}", key[..begin].escape_ascii(), &key[begin + 10..]),
        _ => key.escape_ascii().to_string(),
    }
}

fn texts(texts: impl IntoIterator<Item = String>) -> String {
    texts.into_iter().collect::<Vec<_>>().join("; ")
}

/// Every page, and how long its token is.
async fn pages(transaction: &TenantTransaction, rows_max: usize) -> Result<String> {
    let mut told = Vec::new();
    let mut query = page(rows_max);
    for _ in 0..PAGES_MAX {
        let found = transaction.query(&query).await?;
        let explanation = &found.explanation;
        told.push(format!("{} records by {:?}, {:?}", found.records.len(), explanation.index, found.stop));
        told.extend(found.records.iter().map(|record| record.to_json().to_string()));
        match found.next {
            Some(token) => {
                told.push(format!("a token of {} bytes", token.len()));
                query = query.after(token);
            }
            None => return Ok(texts(told)),
        }
    }
    Ok("the pages never end".to_owned())
}

/// Whether a watch fires before the attacker itself has changed the key; others have some turns meanwhile.
async fn watch(tenant: &Tenant, key: &[u8]) -> Result<String> {
    let watch = tenant.run(|transaction| async move { transaction.raw_watch(key) }).await?;
    for _ in 0..200 {
        give_way().await;
    }
    let mut watch = pin!(watch);
    let fired = watch.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    Ok(match fired {
        Poll::Pending => "quiet".to_owned(),
        Poll::Ready(fired) => format!("fired: {fired:?}"),
    })
}

/// What an error says of a conflict with oneself.
async fn conflict(tenant: &Tenant) -> Result<String> {
    let mut options = RunOptions::default();
    options.retries_max = 0;
    let done = tenant
        .run_with(&options, |transaction| async move {
            transaction.raw_get(b"mine").await?;
            tenant.run(|other| async move { other.raw_set(b"mine", b"other") }).await?;
            transaction.raw_set(b"mine", b"one")
        })
        .await;
    Ok(format!("{:?}", done.map(|completed| completed.attempts)))
}

/// A job that counts; its result without the version.
async fn count(database: &Database, tenant: &Tenant) -> Result<String> {
    let id = database.create_job(&Count, Some(tenant), &Count::parameters("item")).await?;
    let mut worker = Worker::new(database, JobKinds::standard());
    for _ in 0..STEPS_MAX {
        let job = database.job(id).await?;
        if job.state.has_ended() {
            let result = job.result.unwrap_or(Json::Null);
            let error = job.error.map(|error| error.message);
            return Ok::<_, Error>(format!("{} in {} steps, {error:?}", result["count"], job.steps));
        }
        worker.run_one_step().await?;
    }
    Ok("the job does not end".to_owned())
}
