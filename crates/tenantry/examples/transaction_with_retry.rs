//! A transfer between two accounts, run by many threads at a time: every conflict is retried, and no money is made or lost.
//!
//! `cargo run --example transaction_with_retry`

#![allow(clippy::print_stdout, reason = "an example")]

use tenantry::{Code, Error, PrimaryKey, Record, SchemaDefinition, Tenant, TenantTransaction, Value};

async fn balance(transaction: &TenantTransaction, account: i64) -> tenantry::Result<i64> {
    match transaction
        .get("account", &PrimaryKey::of(account))
        .await?
        .and_then(|record| record.get("cents").cloned())
    {
        Some(Value::Int(cents)) => Ok(cents),
        _ => Err(Error::new(Code::RecordNotFound, format!("account {account}"))),
    }
}

async fn transfer(bank: &Tenant, from: i64, to: i64, cents: i64) -> tenantry::Result<u32> {
    let completed = bank
        .run_completed(|transaction| async move {
            let (paying, receiving) = (balance(&transaction, from).await?, balance(&transaction, to).await?);
            if paying < cents {
                // An error of the closure ends the transaction: nothing is written.
                return Err(Error::new(
                    Code::ConditionFailed,
                    format!("account {from} has {paying} cents, not {cents}"),
                ));
            }
            transaction.put("account", &Record::new().with("id", from).with("cents", paying - cents)).await?;
            transaction.put("account", &Record::new().with("id", to).with("cents", receiving + cents)).await
        })
        .await?;
    Ok(completed.attempts)
}

fn main() -> tenantry::Result<()> {
    let bank = tenantry::block_on(async {
        let database = tenantry::open("memory:").await?;
        let schema = r#"{"name":"bank","types":{"account":{"primary_key":["id"],"fields":{"id":"int","cents":"int"}}}}"#;
        database.apply_schema(&SchemaDefinition::from_json(schema)?).await?;
        let bank = database.create_tenant("bank", "bank").await?;
        for id in 0..3 {
            bank.insert("account", &Record::new().with("id", id).with("cents", 1_000)).await?;
        }
        Ok::<_, Error>((database, bank))
    })?;
    // The database stays open as long as a handle to it lives.
    let (_database, bank) = bank;

    let attempts: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread: i64| {
                let bank = &bank;
                scope.spawn(move || {
                    let transfers = (0..50).map(|round| {
                        let (from, to) = ((thread + round) % 3, (thread + round + 1) % 3);
                        tenantry::block_on(transfer(bank, from, to, 7)).unwrap_or(1)
                    });
                    transfers.sum::<u32>()
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).sum()
    });

    let total: i64 = tenantry::block_on(bank.read(|transaction| async move {
        let mut total = 0;
        for account in 0..3 {
            total += balance(&transaction, account).await?;
        }
        Ok::<_, Error>(total)
    }))?;
    println!("200 transfers took {attempts} attempts; the accounts hold {total} cents");
    assert_eq!(total, 3_000);
    assert!(tenantry::block_on(transfer(&bank, 0, 1, 1_000_000)).is_err());
    Ok(())
}

#[test]
fn runs() {
    assert_eq!(main(), Ok(()));
}
