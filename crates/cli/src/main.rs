//! The command line of Tenantry.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a face: it reads files, the clock and the environment for the floors below"
)]

mod arguments;
mod commands;
mod output;
mod rows;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser;
use output::{Outcome, Printer};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
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
    let url = arguments.db.as_str();
    match arguments.command {
        Command::Demo => commands::demo::run(printer).await,
        Command::Schema(command) => commands::schema::run(command, url, printer).await,
        Command::Tenant(command) => commands::tenant::run(command, url, printer).await,
        Command::Import(arguments) => commands::import::run(arguments, url, printer).await,
        Command::Get(arguments) => commands::records::get(arguments, url, printer).await,
        Command::Put(arguments) => commands::records::put(arguments, url, printer).await,
        Command::Delete(arguments) => commands::records::delete(arguments, url, printer).await,
        Command::Query(arguments) => commands::records::query(arguments, url, printer).await,
        Command::Kv(arguments) => commands::kv::run(arguments, url, printer).await,
        Command::Status => commands::status::run(url, printer).await,
    }
}
