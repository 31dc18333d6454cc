//! A stack machine over the contract, which speaks the instruction set of FoundationDB's binding tester (its repository, `bindings/bindingtester/spec`): the tester writes
//! instructions into a cluster, lets a program run them, and compares what it left there with what another binding left.
//!
//! ```sh
//! bindingtester.py "tenantry-stack-tester" --test-name api --compare python3 --max-int-bits 63 --cluster-file fdb.cluster
//! ```
//!
//! With `--engine memory` the instructions are fetched from the cluster, run on an embedded engine, and what it holds afterwards is put back: so the tester drives either engine.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a face: it starts threads and ends the process"
)]

mod directories;
mod machine;
mod stack;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use pollster::block_on;
use tenantry_embedded::{EmbeddedEngine, Settings};
use tenantry_foundationdb::{ClientOptions, FoundationDbEngine};
use tenantry_kv::{Bytes, Engine, Error, Isolation, KeyValue, RangeRequest, Result, TransactionRef};

use machine::Machine;

/// How many bytes one transaction moves between the engines.
const CHUNK_SIZE_BYTES: usize = 1_000_000;

#[derive(Parser)]
#[command(about = "Runs the instructions of FoundationDB's binding tester")]
struct Arguments {
    /// The first element of the tuples under which the instructions lie
    prefix: String,
    /// The API version that the tester asks for; the client library decides which one is used
    api_version: u32,
    /// The cluster file; without it the default one
    cluster_file: Option<String>,
    /// Which engine runs the instructions
    #[arg(long, value_enum, default_value_t = Which::Fdb)]
    engine: Which,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Which {
    /// The cluster that holds them
    Fdb,
    /// An embedded engine in memory
    Memory,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the stack tester failed at API version {}: {error}", arguments.api_version);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let env = tenantry_env::system();
    let mut options = ClientOptions::default();
    options.library_path = tenantry_env::variable("TENANTRY_FDB_LIBRARY");
    let cluster: Arc<dyn Engine> =
        Arc::new(FoundationDbEngine::open(arguments.cluster_file.as_deref(), &options, env.clone())?);
    let engine = match arguments.engine {
        Which::Fdb => cluster.clone(),
        Which::Memory => {
            let engine: Arc<dyn Engine> =
                Arc::new(EmbeddedEngine::in_memory(Settings::default(), env.clone())?);
            copy(&cluster, &engine)?;
            engine
        }
    };
    Machine::new(engine.clone(), env, Bytes::from(arguments.prefix.clone().into_bytes())).run()?;
    if arguments.engine == Which::Memory {
        copy(&engine, &cluster)?;
    }
    Ok(())
}

/// Makes everything in the second engine what is in the first.
fn copy(from: &Arc<dyn Engine>, to: &Arc<dyn Engine>) -> Result<()> {
    let cleared = with_retry(to, |transaction| {
        transaction.clear_range(b"", b"\xff");
        Ok(())
    });
    cleared?;
    let mut next = Some(RangeRequest::new("", vec![0xff]).target_bytes(CHUNK_SIZE_BYTES));
    while let Some(request) = next {
        let batch =
            with_retry(from, |transaction| block_on(transaction.get_range(&request, Isolation::Snapshot)))?;
        let put = |transaction: &TransactionRef| {
            batch.rows.iter().for_each(|KeyValue { key, value }| transaction.set(key, value));
            Ok(())
        };
        with_retry(to, put)?;
        next = request.after(&batch);
    }
    Ok(())
}

/// Runs a transaction until it is committed, as the bindings do for operations on a database.
fn with_retry<T>(engine: &Arc<dyn Engine>, body: impl Fn(&TransactionRef) -> Result<T>) -> Result<T> {
    let transaction = engine.begin()?;
    loop {
        let attempt = body(&transaction).and_then(|value| block_on(transaction.commit()).map(|()| value));
        match attempt {
            Ok(value) => return Ok(value),
            Err(error) => block_on(transaction.on_error(&error))?,
        }
    }
}

/// An error as the tester wants it on the stack.
fn shown(error: &Error) -> Bytes {
    let code = error.code().number().to_string();
    let elements = [Bytes::from_static(b"ERROR").into(), Bytes::from(code.into_bytes()).into()];
    tenantry_kv::tuple::pack(&elements).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tenantry_kv::tuple::{self, Element};

    use super::*;

    /// Runs instructions on an embedded engine and returns what they logged, by the place on the stack.
    fn run(instructions: &[&[Element]]) -> Vec<Element> {
        let env = tenantry_env::system();
        let engine: Arc<dyn Engine> =
            Arc::new(EmbeddedEngine::in_memory(Settings::default(), env.clone()).unwrap());
        let last: [&[Element]; 2] =
            [&["PUSH".into(), Bytes::from_static(b"log").into()], &["LOG_STACK".into()]];
        with_retry(&engine, |transaction| {
            for (number, instruction) in instructions.iter().chain(&last).enumerate() {
                let key = tuple::pack(&[Bytes::from_static(b"test").into(), (number as i64).into()])?;
                transaction.set(&key, &tuple::pack(instruction)?);
            }
            Ok(())
        })
        .unwrap();
        Machine::new(engine.clone(), env, Bytes::from_static(b"test")).run().unwrap();
        let logged = RangeRequest::new("log", "loh");
        let batch =
            with_retry(&engine, |transaction| block_on(transaction.get_range(&logged, Isolation::Snapshot)));
        batch.unwrap().rows.iter().map(|row| tuple::unpack(&row.value).unwrap().remove(0)).collect()
    }

    #[test]
    fn instructions_do_what_the_tester_means() {
        let push = |value: Element| vec!["PUSH".into(), value];
        let bytes = |text: &'static str| Element::from(Bytes::from_static(text.as_bytes()));
        let instructions: Vec<Vec<Element>> = vec![
            vec!["NEW_TRANSACTION".into()],
            push(bytes("value")),
            push(bytes("key")),
            vec!["SET".into()],
            push(bytes("key")),
            vec!["GET".into()],
            push(bytes("absent")),
            vec!["GET_SNAPSHOT".into()],
            vec!["GET_VERSIONSTAMP".into()],
            vec!["COMMIT".into()],
            // Used after its commit.
            push(bytes("key")),
            vec!["GET".into()],
            push(bytes("key")),
            vec!["GET_DATABASE".into()],
            push(2.into()),
            push(5.into()),
            vec!["SUB".into()],
            push(tuple::pack(&["part".into()]).unwrap().into()),
            push("layer".into()),
            push("directory".into()),
            push(1.into()),
            vec!["DIRECTORY_CREATE_OR_OPEN_DATABASE".into()],
            push(Element::Nil),
            push("elsewhere".into()),
            push(1.into()),
            vec!["DIRECTORY_OPEN_DATABASE".into()],
        ];
        let instructions: Vec<&[Element]> = instructions.iter().map(Vec::as_slice).collect();
        let logged = run(&instructions);
        let error = |code: &'static str| Element::from(tuple::pack(&[bytes("ERROR"), bytes(code)]).unwrap());
        assert_eq!(logged[0], bytes("value"));
        assert_eq!(logged[1], bytes("RESULT_NOT_PRESENT"));
        assert_eq!(logged[2].as_bytes().unwrap().len(), 10);
        assert_eq!(logged[3], bytes("RESULT_NOT_PRESENT"), "the commit");
        assert_eq!(logged[4], error("2017"));
        assert_eq!(logged[5], bytes("value"));
        assert_eq!(logged[6], Element::Int(3));
        assert_eq!(logged[8..], [bytes("DIRECTORY_ERROR")]);
    }
}
