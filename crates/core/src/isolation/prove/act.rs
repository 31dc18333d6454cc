//! The operations, as a transaction on a tenant does them.

use bytes::Bytes;
use tenantry_kv::MutationType;

use super::operation::{After, Item, Operation, Outcome};
use crate::error::{Error, Result};
use crate::record::{PrimaryKey, Record, RecordVersion};
use crate::value::Value;
use crate::{Aggregation, Measure, Query, RawRange, TenantTransaction};

/// The schema of the tenants that the proof works with: every kind of index.
pub(super) const SCHEMA: &str = r#"
name = "isolation"
[types.item]
primary_key = ["id"]
fields.id = "bytes"
fields.group = "int"
fields.code = { type = "string", optional = true }
fields.amount = "int"
fields.words = "string"
fields.expires = "timestamp"
fields.owner = "string"
indexes.by_group = { fields = ["group"], covering = ["owner"] }
indexes.by_code = { fields = ["code"], unique = true }
indexes.per_group = { kind = "count", group = ["group"] }
indexes.amounts = { kind = "sum", group = ["group"], of = "amount" }
indexes.least = { kind = "min", group = ["group"], of = "amount" }
indexes.board = { kind = "rank", group = ["group"], fields = ["amount"] }
indexes.changes = { kind = "version", group = ["group"] }
indexes.by_words = { kind = "text", fields = ["words"] }
indexes.expiry = { kind = "time_to_live", fields = ["expires"] }
[types.pair]
primary_key = ["name", "number"]
fields = { name = "string", number = "int", value = "string" }
"#;

/// A moment that is long past, and one that never comes while anybody waits, in seconds since 1970.
const EXPIRES_S: [i64; 2] = [86_400, 32_503_680_000];

/// More pages than a tenant has of anything: where isolation is broken, they may have no end.
const PAGES_MAX: usize = 200;

/// How the values of a tenant are marked: no other tenant's holds this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark(pub(super) String);

impl Mark {
    const BEGIN: &'static str = "<owner ";

    pub(super) fn of(tenant: usize) -> Mark {
        Mark(format!("{}{tenant}>", Mark::BEGIN))
    }

    /// Whether there is anybody's mark in some bytes.
    pub(super) fn is_in(bytes: &[u8]) -> bool {
        bytes.windows(Mark::BEGIN.len()).any(|window| window == Mark::BEGIN.as_bytes())
    }

    /// Whether there is another's mark in some bytes.
    pub(super) fn is_missing_in(&self, bytes: &[u8]) -> bool {
        let begin = Mark::BEGIN.as_bytes();
        let marks = bytes.windows(begin.len()).enumerate().filter(|(_, window)| *window == begin);
        marks.map(|(place, _)| &bytes[place..]).any(|rest| !rest.starts_with(self.0.as_bytes()))
    }
}

fn record(item: &Item, mark: &Mark) -> Result<Record> {
    let expires_s = EXPIRES_S[usize::from(!item.has_expired)];
    let expires = jiff::Timestamp::from_second(expires_s)
        .map_err(|error| Error::new(crate::Code::QueryInvalid, error.to_string()))?;
    let mut record = Record::new()
        .with("id", Value::Bytes(item.id.clone().into()))
        .with("group", item.group)
        .with("amount", item.amount)
        .with("words", item.words.as_str())
        .with("expires", expires)
        .with("owner", mark.0.as_str());
    if let Some(code) = &item.code {
        record.set("code", code.as_str());
    }
    Ok(record)
}

fn id_of(record: &Record) -> Vec<u8> {
    match record.get("id") {
        Some(Value::Bytes(id)) => id.to_vec(),
        _ => Vec::new(),
    }
}

fn integer(value: Option<&Value>) -> i64 {
    match value {
        Some(Value::Int(number)) => *number,
        _ => i64::MIN,
    }
}

fn text(record: &Record, field: &str) -> Option<String> {
    match record.get(field) {
        Some(Value::String(text)) => Some(text.to_string()),
        _ => None,
    }
}

/// The item of a record; a leak if it is marked as another's.
fn item(record: &Record, mark: &Mark) -> Outcome {
    if text(record, "owner").as_ref() != Some(&mark.0) {
        return Outcome::Leak(record.to_json().to_string());
    }
    let never = jiff::Timestamp::from_second(EXPIRES_S[1]).ok();
    Outcome::Item(Some(Item {
        id: id_of(record),
        group: integer(record.get("group")),
        code: text(record, "code"),
        amount: integer(record.get("amount")),
        words: text(record, "words").unwrap_or_default(),
        has_expired: record.get("expires") != never.map(Value::from).as_ref(),
    }))
}

fn ids(records: &[Record], mark: &Mark) -> Outcome {
    match records.iter().find(|record| text(record, "owner").as_ref() != Some(&mark.0)) {
        Some(record) => Outcome::Leak(record.to_json().to_string()),
        None => Outcome::Ids(records.iter().map(id_of).collect()),
    }
}

/// In the order of their ids.
fn sorted(mut records: Vec<Record>, mark: &Mark) -> Outcome {
    records.sort_by_key(id_of);
    ids(&records, mark)
}

fn key(id: &[u8]) -> PrimaryKey {
    PrimaryKey { values: vec![Value::Bytes(Bytes::copy_from_slice(id))] }
}

fn pair_key(name: &str, number: i64) -> PrimaryKey {
    PrimaryKey { values: vec![name.into(), number.into()] }
}

/// The query whose pages are stolen: the same for every tenant.
pub(super) fn paged(rows_max: usize) -> Query {
    Query::of("item").rows_max(rows_max)
}

/// Does an operation. An error that asks for another attempt is the transaction's; every other one is the outcome.
pub(super) async fn act(
    transaction: &TenantTransaction,
    operation: &Operation,
    mark: &Mark,
    seen: &mut Vec<(Vec<u8>, RecordVersion)>,
) -> Result<Outcome> {
    match perform(transaction, operation, mark, seen).await {
        Err(error) if super::special::is_retried(&error) => Err(error),
        Err(error) if mark.is_missing_in(error.to_string().as_bytes()) => {
            Ok(Outcome::Leak(error.to_string()))
        }
        Err(error) => Ok(Outcome::Refused(error.number())),
        Ok(outcome) => Ok(outcome),
    }
}

async fn perform(
    transaction: &TenantTransaction,
    operation: &Operation,
    mark: &Mark,
    seen: &mut Vec<(Vec<u8>, RecordVersion)>,
) -> Result<Outcome> {
    let all_pages = |query: Query| all_pages(transaction, query);
    Ok(match operation {
        Operation::Put(item) => {
            transaction.put("item", &record(item, mark)?).await?;
            Outcome::Done
        }
        Operation::Insert(item) => {
            transaction.insert("item", &record(item, mark)?).await?;
            Outcome::Done
        }
        Operation::Delete(id) => Outcome::Flag(transaction.delete("item", &key(id)).await?),
        Operation::Get(id) => match transaction.get("item", &key(id)).await? {
            Some(record) => item(&record, mark),
            None => Outcome::Item(None),
        },
        Operation::Exists(id) => Outcome::Flag(transaction.exists("item", &key(id)).await?),
        Operation::All(rows_max) => sorted(all_pages(paged(*rows_max)).await?, mark),
        Operation::OfGroup(group) => {
            sorted(all_pages(Query::of("item").filter(format!("group == {group}")).rows_max(7)).await?, mark)
        }
        Operation::OfCode(code) => {
            let query = Query::of("item").filter("code == param.code").parameter("code", code.as_str());
            sorted(all_pages(query).await?, mark)
        }
        Operation::OfWord(word) => {
            sorted(all_pages(Query::of("item").filter(format!("matches(words, {word:?})"))).await?, mark)
        }
        Operation::Amounts => amounts(transaction).await?,
        Operation::RankOf(id) => Outcome::Rank(transaction.rank_of("item", "board", &key(id)).await?),
        Operation::Ranked { group, from, rows_max } => {
            let group = [Some(Value::Int(*group))];
            ids(&transaction.ranked("item", "board", &group, *from, *rows_max).await?, mark)
        }
        Operation::Changed { group, after } => {
            let after = match after {
                After::Begin => None,
                After::Own(version, _) | After::Anothers(version) => Some(*version),
            };
            let group = [Some(Value::Int(*group))];
            let records = transaction.changed_after("item", "changes", &group, after, 1_000).await?;
            seen.extend(records.last().and_then(|last| Some((id_of(last), last.version()?))));
            ids(&records, mark)
        }
        Operation::PutPair { name, number, value } => {
            let record =
                Record::new().with("name", *name).with("number", *number).with("value", value.as_str());
            transaction.put("pair", &record).await?;
            Outcome::Done
        }
        Operation::DeletePair { name, number } => {
            Outcome::Flag(transaction.delete("pair", &pair_key(name, *number)).await?)
        }
        Operation::PairsOf(name) => {
            let query = Query::of("pair").filter("name == param.name").parameter("name", *name);
            let records = all_pages(query).await?;
            let mut numbers: Vec<i64> = records.iter().map(|record| integer(record.get("number"))).collect();
            numbers.sort_unstable();
            let is_foreign = |record: &&Record| {
                text(record, "value").is_none_or(|value| mark.is_missing_in(value.as_bytes()))
            };
            match records.iter().find(is_foreign) {
                Some(record) => Outcome::Leak(record.to_json().to_string()),
                None => Outcome::Numbers(numbers),
            }
        }
        Operation::CounterAdd { name, amount, shards } => {
            transaction.add_to_sharded_counter(name, *amount, *shards)?;
            Outcome::Done
        }
        Operation::Counter(name) => Outcome::Number(transaction.counter(name).await?),
        Operation::Sequence(name) => Outcome::Number(transaction.next_in_sequence(name).await?),
        Operation::TokenOfAnother(token) => {
            sorted(transaction.query(&paged(1).after(token.as_str())).await?.records, mark)
        }
        Operation::TooManyRows(rows_max) => sorted(transaction.query(&paged(*rows_max)).await?.records, mark),
        raw => perform_raw(transaction, raw).await?,
    })
}

async fn perform_raw(transaction: &TenantTransaction, operation: &Operation) -> Result<Outcome> {
    Ok(match operation {
        Operation::RawGet(key) => Outcome::Value(transaction.raw_get(key).await?.map(|value| value.to_vec())),
        Operation::RawSet(key, value) => transaction.raw_set(key, value).map(|()| Outcome::Done)?,
        Operation::RawClear(key) => transaction.raw_clear(key).map(|()| Outcome::Done)?,
        Operation::RawClearRange(begin, end) => {
            transaction.raw_clear_range(begin, end).map(|()| Outcome::Done)?
        }
        Operation::RawAdd(key, amount) => {
            transaction.raw_atomic(MutationType::Add, key, &amount.to_le_bytes())?;
            Outcome::Done
        }
        Operation::RawRange { begin, end, rows_max, is_reverse } => {
            let range = RawRange { begin: begin.clone().into(), ..RawRange::all() };
            let range = RawRange { end: end.clone().map(Bytes::from), ..range };
            let page = transaction.raw_range(&range.rows_max(*rows_max).reverse(*is_reverse)).await?;
            Outcome::Rows(page.rows.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect())
        }
        Operation::RawStamped { prefix, suffix, value } => {
            Outcome::Ordinal(transaction.raw_set_versionstamped(prefix, suffix, value)?)
        }
        _ => Outcome::Done,
    })
}

async fn all_pages(transaction: &TenantTransaction, mut query: Query) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = transaction.query(&query).await?;
        records.extend(page.records);
        match page.next {
            Some(token) => query = query.after(token),
            None => return Ok(records),
        }
    }
    Err(Error::new(crate::Code::StoredDataInvalid, "the pages never end"))
}

async fn amounts(transaction: &TenantTransaction) -> Result<Outcome> {
    let asked = Aggregation::of("item")
        .group_by("group")
        .measure(Measure::Count)
        .measure(Measure::sum("amount"))
        .measure(Measure::min("amount"));
    let groups = transaction.aggregate(&asked).await?.groups;
    let row = |group: &crate::Group| {
        let measure = |place: usize| integer(group.measures.get(place).and_then(Option::as_ref));
        [integer(group.key.first().and_then(Option::as_ref)), measure(0), measure(1), measure(2)]
    };
    Ok(Outcome::Amounts(groups.iter().map(row).collect()))
}
