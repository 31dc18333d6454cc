//! The rules are those of the page, the reference keeps them, and wrong engines do not.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::time::Duration;

use pollster::block_on;
use tenantry_kv::Engine;
use tenantry_kv::conformance::reference::{Fault, ManualClock, ReferenceEngine, manual_env_with_clock};
use tenantry_kv::conformance::{Subject, rules};

#[derive(Debug)]
struct Reference {
    engine: ReferenceEngine,
    clock: std::sync::Arc<ManualClock>,
}

impl Reference {
    fn boxed(fault: Option<Fault>) -> Box<dyn Subject> {
        let (env, clock) = manual_env_with_clock();
        Box::new(Reference { engine: ReferenceEngine::with_fault(env, fault), clock })
    }
}

impl Subject for Reference {
    fn engine(&self) -> &dyn Engine {
        &self.engine
    }

    fn make_too_old(&self) -> bool {
        self.clock.advance(Duration::from_secs(6));
        true
    }
}

#[test]
fn the_page_and_the_checks_have_the_same_rules() {
    let page = include_str!("../../../docs/contract.md");
    let mut stated: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("- **")?.split_once("**"))
        .map(|(number, _)| number)
        .collect();
    let mut checked: Vec<&str> = rules::RULES.iter().copied().flatten().map(|rule| rule.number).collect();
    stated.sort_unstable();
    checked.sort_unstable();
    assert_eq!(stated, checked);
}

#[test]
fn the_reference_keeps_every_rule() {
    let failures = block_on(rules::run(&|| Reference::boxed(None)));
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn every_deliberately_wrong_engine_is_found() {
    let mut found = Vec::new();
    let mut missed = Vec::new();
    for fault in Fault::ALL {
        let failures = block_on(rules::run(&move || Reference::boxed(Some(fault))));
        let numbers: Vec<&str> = failures.iter().map(|failure| failure.rule).collect();
        println!("{fault:?}: {numbers:?}");
        if failures.is_empty() { missed.push(fault) } else { found.push(fault) }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
    assert_eq!(found.len(), 22);
}
