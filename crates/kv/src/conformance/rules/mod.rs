//! The contract rule by rule: every numbered rule of `docs/contract.md` has a check here, and the crate does not compile when one is missing or too many.
//!
//! ```
//! use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
//! use tenantry_kv::conformance::{Subject, rules};
//! use tenantry_kv::Engine;
//!
//! #[derive(Debug)]
//! struct Reference(ReferenceEngine);
//!
//! impl Subject for Reference {
//!     fn engine(&self) -> &dyn Engine {
//!         &self.0
//!     }
//! }
//!
//! let failures = pollster::block_on(rules::run(&|| Box::new(Reference(ReferenceEngine::new(manual_env())))));
//! assert!(failures.is_empty(), "{failures:?}");
//! ```

mod basics;
mod conflicts;
mod reads;
mod writes;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use super::Subject;
use crate::engine::{Isolation, TransactionRef};
use crate::error::{Error, ErrorCode, Result};
use crate::range::RangeRequest;

/// A numbered rule of the contract.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Its number in `docs/contract.md`.
    pub number: &'static str,
    check: for<'a> fn(&'a dyn Subject) -> Running<'a>,
}

type Running<'a> = Pin<Box<dyn Future<Output = Check> + Send + 'a>>;
/// What a check brought: nothing, or what was found in place of what the rule says.
type Check = std::result::Result<(), String>;

impl fmt::Debug for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Rule({})", self.number)
    }
}

/// A rule that an engine does not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The rule's number.
    pub rule: &'static str,
    /// What was found.
    pub found: String,
}

/// Every rule, in the order of the page.
pub const RULES: &[&[Rule]] = &[basics::RULES, reads::RULES, conflicts::RULES, writes::RULES];

/// The page that states the rules: each begins a line with its number in bold.
const PAGE: &str = include_str!("../../../../../docs/contract.md");

// A rule without a check, or a check without a rule, does not compile.
const _: () = {
    let mut checks = 0;
    let mut file = 0;
    while file < RULES.len() {
        checks += RULES[file].len();
        file += 1;
    }
    assert!(
        count_rules(PAGE.as_bytes()) == checks,
        "docs/contract.md and the checks do not have the same rules"
    );
};

/// How many lines begin with `- **`.
const fn count_rules(page: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while at + 5 <= page.len() {
        if page[at] == b'\n'
            && page[at + 1] == b'-'
            && page[at + 2] == b' '
            && page[at + 3] == b'*'
            && page[at + 4] == b'*'
        {
            count += 1;
        }
        at += 1;
    }
    count
}

/// Checks every rule, each on an engine of its own from `make`, and returns those that are not kept.
pub async fn run(make: &(dyn Fn() -> Box<dyn Subject> + Sync)) -> Vec<Failure> {
    let mut failures = Vec::new();
    for rule in RULES.iter().copied().flatten() {
        let subject = make();
        if let Err(found) = (rule.check)(&*subject).await {
            failures.push(Failure { rule: rule.number, found });
        }
    }
    failures
}

/// Declares the rules of a file: number, then the check with the subject in scope.
macro_rules! rules {
    ($($number:literal => |$subject:ident| $body:block)*) => {
        pub(super) const RULES: &[super::Rule] = &[$(super::Rule {
            number: $number,
            check: |$subject| Box::pin(async move {
                $body
                #[allow(unreachable_code, reason = "a check may end early")]
                Ok(())
            }),
        }),*];
    };
}

/// Fails the check unless both sides are equal.
macro_rules! same {
    ($found:expr, $expected:expr) => {
        match (&$found, &$expected) {
            (found, expected) => {
                if found != expected {
                    return Err(format!("{} gave {found:?}, not {expected:?}", stringify!($found)));
                }
            }
        }
    };
}

pub(crate) use {rules, same};

/// A new transaction.
fn begin(subject: &dyn Subject) -> std::result::Result<TransactionRef, String> {
    subject.engine().begin().map_err(|error| error.to_string())
}

/// The number of the error, 0 for success.
fn code<T>(result: Result<T>) -> i32 {
    result.err().map_or(0, |error| error.code().number())
}

/// Commits rows.
async fn put(subject: &dyn Subject, rows: &[(&str, &str)]) -> Check {
    let transaction = begin(subject)?;
    for (key, value) in rows {
        transaction.set(key.as_bytes(), value.as_bytes());
    }
    transaction.commit().await.map_err(|error| error.to_string())
}

/// Reads a key in a transaction of its own.
async fn value(subject: &dyn Subject, key: &[u8]) -> std::result::Result<Option<Bytes>, String> {
    begin(subject)?.get(key, Isolation::Snapshot).await.map_err(|error| error.to_string())
}

/// The keys that a range read gives, and whether there are more. Read to the end of the range or to the limit: how much comes in one batch is up to the
/// engine.
async fn keys(
    transaction: &TransactionRef,
    request: &RangeRequest,
    isolation: Isolation,
) -> std::result::Result<(Vec<String>, bool), i32> {
    match super::read_all(transaction, request, isolation).await {
        Ok(batch) => {
            let keys = batch.rows.iter().map(|row| String::from_utf8_lossy(&row.key).into_owned()).collect();
            Ok((keys, batch.more))
        }
        Err(error) => Err(error.code().number()),
    }
}

/// Conflict ranges as text.
fn shown(ranges: Result<Vec<crate::KeyRange>>) -> String {
    match ranges {
        Ok(ranges) => {
            let shown = ranges
                .iter()
                .map(|range| format!("{}..{}", range.begin.escape_ascii(), range.end.escape_ascii()));
            shown.collect::<Vec<_>>().join(" ")
        }
        Err(error) => format!("error {}", error.code().number()),
    }
}

/// Polls a future once: whether it is still pending.
async fn is_pending<T>(future: &mut crate::KvFuture<T>) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(Pin::new(&mut *future).poll(context).is_pending()))
        .await
}

/// The outcome of a future that could stay pending, such as a watch: a read in the future takes about a second, on every engine. -1 if it is still pending
/// by then.
async fn fires<T>(subject: &dyn Subject, mut watch: crate::KvFuture<T>) -> std::result::Result<i32, String> {
    let clock = begin(subject)?;
    clock.set_read_version(i64::MAX / 4);
    let mut second = clock.get(b"", Isolation::Snapshot);
    let outcome = std::future::poll_fn(|context| {
        if let std::task::Poll::Ready(result) = Pin::new(&mut watch).poll(context) {
            return std::task::Poll::Ready(code(result));
        }
        Pin::new(&mut second).poll(context).map(|_| -1)
    });
    Ok(outcome.await)
}

fn error(number: i32) -> Error {
    ErrorCode::from_number(number).into()
}
