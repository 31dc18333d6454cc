//! `tenantry isolation`.

use std::time::Instant;

use serde_json::{Value as Json, json};
use tenantry::isolation::{Attributed, Finding, Proof, ProofOptions};

use super::{Target, open_existing};
use crate::arguments::{IsolationCommand, ProveArguments};
use crate::output::{Exit, Outcome, Printer, count, visible};

/// How many operations lie between two notes of progress.
const NOTE_OPERATIONS: u64 = 100_000;
/// How many keys lie between them.
const NOTE_KEYS: u64 = 1_000_000;

pub(crate) async fn run(command: IsolationCommand, target: &Target, printer: Printer) -> Outcome {
    match command {
        IsolationCommand::Prove(arguments) => prove(&arguments, target, printer).await,
        IsolationCommand::Scan => scan(target, printer).await,
    }
}

/// Proves in a database of its own, which is erased afterwards.
async fn prove(arguments: &ProveArguments, target: &Target, printer: Printer) -> Outcome {
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => format!("isolation-proof-{}-{}", std::process::id(), jiff::Timestamp::now().as_microsecond()),
    };
    let options = target.options().name(name.as_str());
    let database = options.open(&target.url).await?;
    let mut proof_options = ProofOptions::default();
    proof_options.operations = arguments.operations;
    proof_options.tenants = arguments.tenants;
    proof_options.seed = arguments.seed;
    let started = Instant::now();
    let mut noted = 0;
    let proof = database
        .prove_isolation(&proof_options, |operations| {
            if operations / NOTE_OPERATIONS > noted {
                noted = operations / NOTE_OPERATIONS;
                printer.note(format_args!("{} operations", count(operations)));
            }
        })
        .await;
    let seconds = started.elapsed().as_secs_f64();
    let is_ours = !proof.as_ref().is_err_and(|error| error.tag() == "ProofNeedsEmptyDatabase");
    if is_ours && !arguments.keep {
        database.erase().await?;
    }
    let proof = proof?;
    let document = proof_document(&proof, arguments, &name, seconds);
    printer.document(&document, || proof_words(&proof, seconds, printer))?;
    Ok(if proof.is_proven() { Exit::Done } else { Exit::PartlyDone })
}

/// Reads every key of a database.
async fn scan(target: &Target, printer: Printer) -> Outcome {
    let database = open_existing(target).await?;
    let started = Instant::now();
    let mut noted = 0;
    let attributed = database
        .attribute_keys(|keys| {
            if keys / NOTE_KEYS > noted {
                noted = keys / NOTE_KEYS;
                printer.note(format_args!("{} keys", count(keys)));
            }
        })
        .await?;
    let mut document = attributed_document(&attributed);
    document["seconds"] = started.elapsed().as_secs_f64().into();
    printer.document(&document, || attributed_words(&attributed, printer))?;
    Ok(if attributed.is_clean() { Exit::Done } else { Exit::PartlyDone })
}

fn finding_document(finding: &Finding) -> Json {
    json!({ "key": finding.key, "what": finding.what })
}

fn attributed_document(attributed: &Attributed) -> Json {
    let total = attributed.total();
    let kinds = attributed.kinds.iter().map(
        |(kind, count)| json!({ "kind": kind.name(), "keys": count.keys, "size_bytes": count.size_bytes }),
    );
    json!({
        "keys": total.keys,
        "size_bytes": total.size_bytes,
        "tenants": attributed.tenants.len(),
        "versions": attributed.versions,
        "wrong": attributed.wrong,
        "kinds": kinds.collect::<Vec<_>>(),
        "findings": attributed.findings.iter().map(finding_document).collect::<Vec<_>>(),
    })
}

fn proof_document(proof: &Proof, arguments: &ProveArguments, name: &str, seconds: f64) -> Json {
    let tenants = proof.tenants.iter().map(|(name, id)| json!({ "name": name, "id": id }));
    let mismatches = proof.mismatches_told.iter();
    json!({
        "proven": proof.is_proven(),
        "database": name,
        "seed": arguments.seed,
        "operations": proof.operations_total(),
        "operations_by_kind": proof.operations,
        "transactions": proof.transactions,
        "retried": proof.retried,
        "conflicts": proof.conflicts,
        "tenants": tenants.collect::<Vec<_>>(),
        "mismatches": proof.mismatches,
        "mismatches_told": mismatches.map(|told| json!({ "tenant": told.key, "what": told.what })).collect::<Vec<_>>(),
        "attributed": attributed_document(&proof.attributed),
        "moved": attributed_document(&proof.moved),
        "seconds": seconds,
    })
}

fn attributed_words(attributed: &Attributed, printer: Printer) -> String {
    let rows: Vec<Vec<String>> = attributed
        .kinds
        .iter()
        .map(|(kind, found)| vec![kind.name().to_owned(), count(found.keys), count(found.size_bytes)])
        .collect();
    let total = attributed.total();
    let mut lines = vec![
        printer.table(&["keys of", "keys", "bytes"], &rows),
        format!(
            "{} keys of {} tenants and the database, read at {} versions: {} are nobody's",
            count(total.keys),
            count(attributed.tenants.len() as u64),
            count(attributed.versions),
            count(attributed.wrong)
        ),
    ];
    lines.extend(attributed.findings.iter().map(|it| format!("{}: {}", visible(&it.key), visible(&it.what))));
    lines.join("\n")
}

fn proof_words(proof: &Proof, seconds: f64, printer: Printer) -> String {
    let rows: Vec<Vec<String>> =
        proof.operations.iter().map(|(kind, done)| vec![(*kind).to_owned(), count(*done)]).collect();
    let mut lines = vec![
        printer.table(&["operations", ""], &rows),
        attributed_words(&proof.attributed, printer),
        format!(
            "moved to another database: {} keys, {} are nobody's",
            count(proof.moved.total().keys),
            count(proof.moved.wrong)
        ),
    ];
    lines
        .extend(proof.moved.findings.iter().map(|it| format!("{}: {}", visible(&it.key), visible(&it.what))));
    let told = proof.mismatches_told.iter();
    lines.extend(told.map(|it| format!("tenant {}: {}", visible(&it.key), visible(&it.what))));
    lines.push(format!(
        "{}: {} operations of {} tenants in {} transactions, {} attempts again, {} conflicts; {} not as if the tenant were alone; {seconds:.1} s",
        if proof.is_proven() { "proven" } else { "NOT PROVEN" },
        count(proof.operations_total()),
        proof.tenants.len(),
        count(proof.transactions),
        count(proof.retried),
        count(proof.conflicts),
        count(proof.mismatches)
    ));
    lines.join("\n")
}
