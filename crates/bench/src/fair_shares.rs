//! Many tenants and one that wants all there is, in real time: what the others notice of it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tenantry::{PoolSettings, Record, SchemaDefinition, Tenant};
use tenantry_kv::env::Env;

use crate::stores::Outcome;
use crate::{Arguments, Results, mix};

const SCHEMA: &str = r#"
name = "shares"
[types.row]
primary_key = ["id"]
fields = { id = "int", note = "string" }
"#;
/// How many tenants there are, and how often each writes, on the average.
const TENANTS: usize = 1_000;
const GAP: Duration = Duration::from_millis(250);
/// How many times as often the abuser writes as another tenant.
const ABUSER_TIMES: usize = 100;
/// How many transactions the abuser always has under way when it takes what there is.
const ABUSER_CLIENTS: usize = 1_000;
/// How many run at a time where shares are fair.
const TRANSACTIONS_MAX: usize = 16;
/// How long the map of the embedded engine waits at the most before it takes what was written.
const MAP_BEHIND: Duration = Duration::from_secs(20);

/// What the one tenant does that is not like the others.
#[derive(Clone, Copy, PartialEq)]
enum Abuser {
    Away,
    /// It writes so many times as often.
    Paced,
    /// It takes what there is.
    Boundless,
}

/// The latencies of the tenants, and how many transactions the abuser did.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    abuser_done: u64,
    abuser_refused: u64,
}

pub(crate) fn measure(arguments: &Arguments, results: &mut Results) -> Outcome<()> {
    let directory = tempfile::Builder::new().prefix("tenantry-bench-").tempdir_in(".")?;
    let url = arguments.url.clone().unwrap_or_else(|| format!("file:{}", directory.path().display()));
    let window = Duration::from_secs(arguments.seconds) / 4;
    pollster::block_on(async {
        let name = format!("bench-shares-{}", std::process::id());
        let database = tenantry::Options::new().name(name).open(&url).await?;
        database.apply_schema(&SchemaDefinition::from_toml(SCHEMA)?).await?;
        let mut tenants = Vec::new();
        for number in 0..=TENANTS {
            tenants.push(database.create_tenant(&format!("t{number}"), "shares").await?);
        }
        let env = tenantry_env::system();
        // The map begins to follow some seconds behind the first write: nothing is measured before.
        run(&tenants, &env, MAP_BEHIND.max(window), Abuser::Away).await;
        for (what, transactions_max, abuser) in [
            ("without an abuser", TRANSACTIONS_MAX, Abuser::Away),
            ("with one at 100 times its share", TRANSACTIONS_MAX, Abuser::Paced),
            ("with one that takes all", TRANSACTIONS_MAX, Abuser::Boundless),
            ("with one that takes all, all let in at once", 1_000_000, Abuser::Boundless),
        ] {
            let mut settings = PoolSettings::default();
            settings.transactions_max = transactions_max;
            settings.transactions_per_tenant_max = transactions_max;
            database.set_pool_settings(settings).await?;
            let seen = run(&tenants, &env, window, abuser).await;
            let mut note = |what: String, value: f64| {
                println!("  {:<10} {what:<60} {value:>12.1}", "shares");
                results.entry(what).or_default().push(("tenantry".to_owned(), value));
            };
            for percent in [50, 99] {
                let at = (seen.latencies.len() * percent / 100).min(seen.latencies.len().saturating_sub(1));
                let us = seen.latencies.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1e6);
                note(format!("g others' writes p{percent} us, {what}"), us);
            }
            let seconds = window.as_secs_f64();
            note(format!("g others' writes/s, {what}"), seen.latencies.len() as f64 / seconds);
            if abuser != Abuser::Away {
                note(format!("g the abuser's writes/s, {what}"), seen.abuser_done as f64 / seconds);
                note(format!("g the abuser's refusals/s, {what}"), seen.abuser_refused as f64 / seconds);
            }
        }
        database.erase().await?;
        Ok(())
    })
}

type Client<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

async fn run(tenants: &[Tenant], env: &Env, window: Duration, abuser: Abuser) -> Seen {
    let seen = RefCell::new(Seen::default());
    let end = Instant::now() + window;
    let mut clients: FuturesUnordered<Client<'_>> = FuturesUnordered::new();
    for (number, tenant) in (0..).zip(&tenants[..TENANTS]) {
        let done = |latency| seen.borrow_mut().latencies.push(latency);
        clients.push(Box::pin(now_and_then(tenant, number, env, end, done)));
    }
    let one = &tenants[TENANTS];
    match abuser {
        Abuser::Away => {}
        Abuser::Paced => (TENANTS..TENANTS + ABUSER_TIMES).for_each(|number| {
            let done = |_| seen.borrow_mut().abuser_done += 1;
            clients.push(Box::pin(now_and_then(one, number as u64, env, end, done)));
        }),
        Abuser::Boundless => (0..ABUSER_CLIENTS)
            .for_each(|number| clients.push(Box::pin(all_the_time(one, number as u64, env, end, &seen)))),
    }
    while clients.next().await.is_some() {}
    drop(clients);
    let mut seen = seen.into_inner();
    seen.latencies.sort_unstable();
    seen
}

fn row(number: u64) -> Record {
    Record::new().with("id", (number >> 1) as i64).with("note", "x".repeat(90))
}

async fn now_and_then(tenant: &Tenant, number: u64, env: &Env, end: Instant, done: impl Fn(Duration)) {
    let mut state = number << 32;
    while Instant::now() < end {
        state += 1;
        let gap = Duration::from_micros(mix(state) % (2 * GAP.as_micros() as u64));
        if env.timer.sleep(gap).await.is_err() {
            return;
        }
        let begun = Instant::now();
        if tenant.put("row", &row(mix(state))).await.is_ok() {
            done(begun.elapsed());
        }
    }
}

async fn all_the_time(tenant: &Tenant, number: u64, env: &Env, end: Instant, seen: &RefCell<Seen>) {
    let mut state = number << 32;
    while Instant::now() < end {
        state += 1;
        match tenant.put("row", &row(mix(state))).await {
            Ok(()) => seen.borrow_mut().abuser_done += 1,
            Err(error) => {
                seen.borrow_mut().abuser_refused += 1;
                let wait = error.retry_after().unwrap_or(Duration::from_millis(10));
                if env.timer.sleep(wait).await.is_err() {
                    return;
                }
            }
        }
    }
}
