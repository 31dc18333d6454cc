//! The command line of Tenantry.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a face: it reads files, the clock and the environment for the floors below"
)]

mod arguments;
mod commands;
mod csv;
mod feed;
mod output;
mod rows;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser;
use commands::Target;
use output::{Exit, Failure, Outcome, Printer};

/// Transactions are many small pieces of memory that one thread makes and another frees, at which this allocator is better than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing has been read of the words when they make no sense, so the option is looked for here.
            let json = std::env::args_os().any(|word| word == "--json");
            if json && error.use_stderr() {
                Printer { json }.failure(&Failure::Usage(error.to_string().trim().to_owned()));
                return ExitCode::from(Exit::Usage as u8);
            }
            let _ = error.print();
            return ExitCode::from(error.exit_code().clamp(0, 2) as u8);
        }
    };
    let printer = Printer { json: arguments.json };
    match tenantry::block_on(run(arguments, printer)) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => {
            printer.failure(&failure);
            ExitCode::from(failure.exit() as u8)
        }
    }
}

async fn run(arguments: Arguments, printer: Printer) -> Outcome {
    let keys = commands::keys::key_files(arguments.key_store, arguments.root_key);
    let target = &Target {
        url: arguments.db,
        durability: arguments.durability,
        keys,
        token: arguments.token,
        jwks: arguments.jwks,
        issuer: arguments.issuer,
        audience: arguments.audience,
    };
    match arguments.command {
        Command::Demo => commands::demo::run(target, printer).await,
        Command::Schema(command) => commands::schema::run(command, target, printer).await,
        Command::Tenant(command) => commands::tenant::run(command, target, printer).await,
        Command::Keys(command) => commands::keys::run(command, target, printer).await,
        Command::Import(arguments) => commands::import::run(arguments, target, printer).await,
        Command::Export(arguments) => commands::export::run(arguments, target, printer).await,
        Command::Get(arguments) => commands::records::get(arguments, target, printer).await,
        Command::Put(arguments) => commands::records::put(arguments, target, printer).await,
        Command::Delete(arguments) => commands::records::delete(arguments, target, printer).await,
        Command::Query(arguments) => commands::records::query(arguments, target, printer).await,
        Command::Aggregate(arguments) => commands::aggregate::run(arguments, target, printer).await,
        Command::Rank(arguments) => commands::rank::run(arguments, target, printer).await,
        Command::Kv(arguments) => commands::kv::run(arguments, target, printer).await,
        Command::Database(command) => commands::database::run(command, target, printer).await,
        Command::Copy(arguments) => commands::database::copy(arguments, target, printer).await,
        Command::Jobs(command) => commands::jobs::run(command, target, printer).await,
        Command::Count(arguments) => commands::jobs::count_records(arguments, target, printer).await,
        Command::Rewrite(arguments) => commands::jobs::rewrite(arguments, target, printer).await,
        Command::Check(arguments) => commands::check::run(arguments, target, printer).await,
        Command::Expire(arguments) => commands::expire::run(arguments, target, printer).await,
        Command::Usage(arguments) => commands::quotas::usage(arguments, target, printer).await,
        Command::Plan(command) => commands::quotas::plan(command, target, printer).await,
        Command::Reconcile(arguments) => commands::quotas::reconcile(arguments, target, printer).await,
        Command::Token(command) => commands::token::run(command, target, printer).await,
        Command::Isolation(command) => commands::isolation::run(command, target, printer).await,
        Command::Status => commands::status::run(target, printer).await,
    }
}
