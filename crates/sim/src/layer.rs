//! The record layer: tenants whose names and keys collide on purpose. Every index says what a look at all records says, and nobody sees another's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tenantry_core::{Code, Database, PrimaryKey, Query, Record, SchemaDefinition, Tenant, TenantTransaction};
use tenantry_kv::Engine;
use tenantry_kv::env::Env;

use crate::executor::give_way;
use crate::finding::{Oracle, Verdict};
use crate::random::Stream;
use crate::workload::Tally;

const SCHEMA: &str = r#"
name = "sim"
[types.item]
primary_key = ["id"]
fields = { id = "int", group = "int", code = { type = "string", optional = true }, owner = "string" }
indexes = { by_group = { fields = ["group"] }, by_code = { fields = ["code"], unique = true } }
"#;
const TENANTS: [&str; 4] = ["a", "ab", "b", "a/b"];
const KEYS: u64 = 8;
const GROUPS: u64 = 3;

async fn tenants(engine: Arc<dyn Engine>, env: Env, count: usize) -> tenantry_core::Result<Vec<Tenant>> {
    let database = Database::open(engine, env, "sim").await?;
    database.apply_schema(&SchemaDefinition::from_toml(SCHEMA)?).await?;
    let mut tenants = Vec::new();
    for name in &TENANTS[..count] {
        tenants.push(match database.create_tenant(name, "sim").await {
            Err(error) if error.code() == Code::TenantExists => database.tenant(name).await?,
            created => created?,
        });
    }
    Ok(tenants)
}

/// A client that writes records at random. It ends when the engine has stopped.
pub(crate) async fn client(
    engine: Arc<dyn Engine>,
    env: Env,
    mut random: Stream,
    rounds: u64,
    tally: Rc<RefCell<Tally>>,
    count: usize,
) {
    let Ok(tenants) = tenants(engine, env, count).await else { return };
    for _ in 0..rounds {
        give_way().await;
        let index = random.below(count as u64) as usize;
        let id = random.below(KEYS) as i64;
        let mut record = Record::new()
            .with("id", id)
            .with("group", random.below(GROUPS) as i64)
            .with("owner", TENANTS[index]);
        if random.percent(50) {
            record.set("code", format!("code {}", random.below(3)));
        }
        let kind = random.below(4);
        let (first, second) = (&record, PrimaryKey::of(id));
        let key = &second;
        let done = tenants[index]
            .run(|transaction| async move {
                match kind {
                    0 => transaction.delete("item", key).await.map(drop),
                    1 => transaction.insert("item", first).await,
                    _ => transaction.put("item", first).await,
                }?;
                give_way().await;
                Ok::<_, tenantry_core::Error>(())
            })
            .await;
        if done.is_err_and(|error| error.code() == Code::Engine) {
            return;
        }
        // Now and then within the run too: what was committed so far fits together.
        if random.percent(10)
            && let Ok(Some(what)) = inconsistency(&tenants[index], TENANTS[index]).await
        {
            tally.borrow_mut().broken.get_or_insert(Oracle::Records.says(what));
        }
    }
}

/// Whether indexes and records fit together, and each tenant has its own alone.
pub(crate) async fn check(engine: Arc<dyn Engine>, env: Env, count: usize) -> Verdict {
    let refused = |error: tenantry_core::Error| Oracle::Records.says(error.to_string());
    let tenants = tenants(engine, env, count).await.map_err(refused)?;
    for (tenant, name) in tenants.iter().zip(TENANTS) {
        if let Some(what) = inconsistency(tenant, name).await.map_err(refused)? {
            return Err(Oracle::Records.says(what));
        }
    }
    Ok(())
}

/// Every record, page by page.
async fn all_pages(transaction: &TenantTransaction, query: &Query) -> tenantry_core::Result<Vec<Record>> {
    let mut records = Vec::new();
    let mut page = transaction.query(query).await?;
    loop {
        records.append(&mut page.records);
        match page.next {
            Some(token) => page = transaction.query(&query.clone().after(token)).await?,
            None => return Ok(records),
        }
    }
}

async fn inconsistency(tenant: &Tenant, name: &str) -> tenantry_core::Result<Option<String>> {
    tenant
        .read(|transaction| async move {
            let all = all_pages(&transaction, &Query::of("item").filter("id >= 0").rows_max(1_000)).await?;
            if let Some(record) = all.iter().find(|record| record.get("owner") != Some(&name.into())) {
                return Ok(Some(format!("the tenant {name:?} sees {}", record.to_json())));
            }
            let mut by_group: BTreeMap<i64, Vec<String>> = BTreeMap::new();
            let mut codes: BTreeMap<String, u64> = BTreeMap::new();
            for record in &all {
                let json = record.to_json();
                by_group.entry(json["group"].as_i64().unwrap_or(-1)).or_default().push(json.to_string());
                if let Some(code) = json["code"].as_str() {
                    *codes.entry(code.to_owned()).or_default() += 1;
                }
            }
            for group in 0..GROUPS as i64 {
                let query = Query::of("item").filter(format!("group == {group}")).rows_max(1_000);
                let found = all_pages(&transaction, &query).await?;
                let mut found: Vec<String> =
                    found.iter().map(|record| record.to_json().to_string()).collect();
                let mut expected = by_group.remove(&group).unwrap_or_default();
                found.sort();
                expected.sort();
                if found != expected {
                    return Ok(Some(format!(
                        "the index says {found:?} of group {group}, the records {expected:?}"
                    )));
                }
            }
            // A token goes on with its own query alone, also where another one takes the same path.
            let page = transaction.query(&Query::of("item").filter("id >= 0").rows_max(1)).await?;
            if let Some(token) = page.next {
                let other =
                    Query::of("item").filter("id >= 0 && owner != \"nobody\"").rows_max(1).after(token);
                if transaction.query(&other).await.is_ok() {
                    return Ok(Some("a token was good for another query".to_owned()));
                }
            }
            for (code, count) in codes {
                let query = Query::of("item").filter(format!("code == {code:?}")).rows_max(1_000);
                let found = all_pages(&transaction, &query).await?.len() as u64;
                if count != 1 || found != 1 {
                    return Ok(Some(format!(
                        "the code {code:?} is there {count} times, its index says {found}"
                    )));
                }
            }
            Ok::<_, tenantry_core::Error>(None)
        })
        .await
}
