//! A victim: other data and other work in every world.

use tenantry_core::{Error, Query, Record, RecordVersion, Result, Tenant};

use super::Beside;
use super::script::{KEYS, NAMES};
use crate::random::Stream;

/// The schema that attacker and victim share.
pub(super) const SCHEMA: &str = r#"
name = "shared"
[types.item]
primary_key = ["id"]
fields = { id = "int", group = "int", code = { type = "string", optional = true }, amount = "int", words = "string" }
indexes.by_group = { fields = ["group"] }
indexes.by_code = { fields = ["code"], unique = true }
indexes.per_group = { kind = "count", group = ["group"] }
indexes.amounts = { kind = "sum", group = ["group"], of = "amount" }
indexes.board = { kind = "rank", group = ["group"], fields = ["amount"] }
indexes.changes = { kind = "version", group = ["group"] }
indexes.by_words = { kind = "text", fields = ["words"] }
"#;

/// The query whose pages are stolen.
pub(super) fn page(rows_max: usize) -> Query {
    Query::of("item").rows_max(rows_max)
}

/// What an attacker has of a victim.
#[derive(Clone, Debug, Default)]
pub(super) struct Stolen {
    pub(super) token: Option<String>,
    pub(super) version: Option<RecordVersion>,
}

impl Beside {
    pub(super) fn name(self) -> &'static str {
        match self {
            Beside::One | Beside::Gone => "secret",
            Beside::Another => "a/victim of another name",
        }
    }

    /// What decides the victim's work.
    pub(super) fn stream(self, seed: u64) -> Stream {
        match self {
            Beside::One | Beside::Gone => Stream::new(seed, "one victim"),
            Beside::Another => Stream::new(seed ^ 0x5a5a, "another victim"),
        }
    }
}

/// Some transactions of a victim's.
pub(super) async fn work(tenant: &Tenant, random: &mut Stream, transactions: u64) -> Result<()> {
    for _ in 0..transactions {
        let (id, group) = (random.below(30) as i64, random.below(3) as i64);
        let amount = random.below(1_000) as i64;
        let (key, other) = (*random.pick(&KEYS), *random.pick(&KEYS));
        let name = *random.pick(&NAMES);
        let kind = random.below(8);
        let mut record = Record::new().with("id", id).with("group", group).with("amount", amount);
        record.set("words", format!("secret {amount}"));
        if random.percent(30) {
            // The codes of the attacker's too: they are unique in each tenant, not in all.
            record.set("code", format!("code {}", random.below(4)));
        }
        let record = &record;
        let done = tenant
            .run(|transaction| async move {
                match kind {
                    0 | 1 => transaction.put("item", record).await?,
                    2 => transaction.raw_set(key, format!("secret {amount}").as_bytes())?,
                    3 => transaction.raw_clear_range(key.min(other), key.max(other))?,
                    4 => transaction.add_to_sharded_counter(name, amount, 2)?,
                    5 => drop(transaction.next_in_sequence(name).await?),
                    6 => drop(transaction.raw_set_versionstamped(key, b"", b"secret")?),
                    _ => drop(transaction.delete("item", &id.into_key()).await?),
                }
                Ok::<_, Error>(())
            })
            .await;
        match done {
            Err(error) if error.code() == tenantry_core::Code::Engine => return Err(error),
            // A code that the victim itself has already.
            _ => {}
        }
        if kind == 5 {
            let result =
                tenant.run_idempotent(name.as_bytes(), &[0], |_| async move { Ok::<_, Error>(amount) }).await;
            result.map(drop).or_else(|error| match error.code() {
                tenantry_core::Code::Engine => Err(error),
                _ => Ok(()),
            })?;
        }
    }
    Ok(())
}

/// An int as a primary key.
pub(super) trait IntoKey {
    fn into_key(self) -> tenantry_core::PrimaryKey;
}

impl IntoKey for i64 {
    fn into_key(self) -> tenantry_core::PrimaryKey {
        tenantry_core::PrimaryKey::of(self)
    }
}

/// Gives the victim so much that there is a page to steal, and steals it.
pub(super) async fn steal(tenant: &Tenant) -> Result<Stolen> {
    for id in 100..104_i64 {
        let record = Record::new().with("id", id).with("group", 0).with("amount", id).with("words", "secret");
        tenant.put("item", &record).await?;
    }
    let found = tenant.query(&page(1)).await?;
    Ok(Stolen { token: found.next, version: found.records.first().and_then(Record::version) })
}
