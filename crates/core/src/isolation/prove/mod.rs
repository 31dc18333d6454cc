//! The proof of isolation: tenants with names, ids and keys that are made to be taken for each other's do random work and try what they can to reach their neighbours, several at a
//! time; what each is told is compared with a model of that tenant alone. Then every key of the database is attributed, the database is moved, and both are looked at again.

mod act;
mod lifecycle;
mod model;
mod moved;
mod operation;
mod plan;
mod random;
mod round;
mod special;
mod subject;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::report::{Attributed, Finding};
use crate::access::Operation;
use crate::database::Database;
use crate::error::{Code, Error, Result, limit};
use crate::limits::{ISOLATION_FINDINGS_MAX, PROOF_TENANTS_MAX};
use crate::schema::SchemaDefinition;
use crate::sealing::{Keyring, MemoryKeyStore, RootKey, SecretKey};
use random::Random;
use subject::Subject;

/// How much is tried.
///
/// ```
/// let mut options = tenantry_core::isolation::ProofOptions::default();
/// options.tenants = 20;
/// assert_eq!(options.operations, 1_000_000);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProofOptions {
    /// How many operations. Default a million.
    pub operations: u64,
    /// How many tenants, from 2 to 1,000. Default 12.
    pub tenants: usize,
    /// What decides which. Default 0.
    pub seed: u64,
}

impl Default for ProofOptions {
    fn default() -> ProofOptions {
        ProofOptions { operations: 1_000_000, tenants: 12, seed: 0 }
    }
}

/// What a proof found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proof {
    /// How many operations of which kind.
    pub operations: BTreeMap<&'static str, u64>,
    /// How many transactions.
    pub transactions: u64,
    /// How many attempts came to nothing, for whatever reason: old read versions, an engine that was busy.
    pub retried: u64,
    /// How many of these conflicted. Tenants that work side by side never do: on an engine that knows the outcomes of its commits, each is a mismatch.
    pub conflicts: u64,
    /// The tenants: name and id.
    pub tenants: Vec<(String, u64)>,
    /// How many outcomes were not what the tenant alone has to be told.
    pub mismatches: u64,
    /// The first of them.
    pub mismatches_told: Vec<Finding>,
    /// Whose every key of the database is.
    pub attributed: Attributed,
    /// The same of the database that it was moved to.
    pub moved: Attributed,
    /// Whether a conflict is a mismatch.
    pub counts_conflicts: bool,
}

impl Proof {
    /// Whether nobody was told of, changed, or held up anybody else.
    pub fn is_proven(&self) -> bool {
        let is_clean = self.attributed.is_clean() && self.moved.is_clean();
        self.mismatches == 0 && is_clean
    }

    /// All operations.
    pub fn operations_total(&self) -> u64 {
        self.operations.values().sum()
    }

    fn count(&mut self, operation: &'static str) {
        *self.operations.entry(operation).or_default() += 1;
    }

    fn mismatch(&mut self, tenant: &str, what: String) {
        self.mismatches += 1;
        if self.mismatches_told.len() < ISOLATION_FINDINGS_MAX {
            const SHOWN_CHARACTERS_MAX: usize = 1_000;
            let what = what.chars().take(SHOWN_CHARACTERS_MAX).collect();
            self.mismatches_told.push(Finding { key: tenant.to_owned(), what });
        }
    }
}

impl Database {
    /// Proves in this database, which has no tenant yet, that no tenant reaches another. What it leaves behind is for the caller to erase; the handle has a keyring of the proof's own from then
    /// on, whose keys are in memory alone. `progress` is told now and then how many operations were done.
    ///
    /// # Errors
    ///
    /// 20150 when the database has tenants; 20060 for fewer than two or more than a thousand tenants; the engine's own. What is found is no error.
    pub async fn prove_isolation(
        &self,
        options: &ProofOptions,
        mut progress: impl FnMut(u64),
    ) -> Result<Proof> {
        self.authorize(Operation::ProveIsolation).await?;
        if !(2..=PROOF_TENANTS_MAX).contains(&options.tenants) {
            return Err(limit("the tenants of a proof (at least two)", options.tenants, PROOF_TENANTS_MAX));
        }
        if !self.tenants(None, 1).await?.tenants.is_empty() {
            let detail = "the proof writes and moves what it likes: give it the name of a database that is not there yet";
            return Err(Error::new(Code::ProofNeedsEmptyDatabase, detail));
        }
        let mut prover = Prover::begin(self, options).await?;
        match prover.prove(options.operations, &mut progress).await {
            // Where isolation is broken, anything may end with an error: what was found before is told.
            Err(error) if prover.proof.mismatches > 0 => {
                prover.proof.mismatch("", format!("the proof ended with {error}"));
            }
            ended => ended?,
        }
        prover.proof.tenants = prover.subjects.iter().map(Subject::name_and_id).collect();
        Ok(prover.proof)
    }
}

/// A proof under way.
struct Prover {
    database: Database,
    /// The tenants of the proof, and behind them those that are there for a moment.
    subjects: Vec<Subject>,
    /// How many of the proof there are.
    tenants: usize,
    /// Keys that mean something else.
    keys: Vec<Vec<u8>>,
    random: Random,
    proof: Proof,
}

impl Prover {
    /// Keys, a schema and tenants for a proof.
    async fn begin(database: &Database, options: &ProofOptions) -> Result<Prover> {
        database.apply_schema(&SchemaDefinition::from_toml(act::SCHEMA)?).await?;
        let entropy = database.inner.env.entropy.clone();
        let root = RootKey::new(SecretKey::random(&*entropy), entropy);
        let keyring = Keyring::new(Arc::new(root), Arc::new(MemoryKeyStore::new()));
        database.set_keyring(Some(keyring)).await?;
        let subjects = subject::create(database, options.tenants).await?;
        let prefixes: Vec<Vec<u8>> = subjects.iter().take(words::PREFIXES_MAX).map(Subject::prefix).collect();
        let proof = Proof {
            counts_conflicts: !database.engine().profile().commits_can_be_unknown,
            ..Proof::default()
        };
        Ok(Prover {
            database: database.clone(),
            keys: words::keys(&prefixes),
            tenants: subjects.len(),
            subjects,
            random: Random::new(Random::new(options.seed).next()),
            proof,
        })
    }

    async fn prove(&mut self, operations: u64, progress: &mut dyn FnMut(u64)) -> Result<()> {
        // Each round does one operation at least.
        for _ in 0..operations {
            if self.proof.operations_total() >= operations || self.is_refuted() {
                break;
            }
            self.round().await?;
            progress(self.proof.operations_total());
        }
        if !self.is_refuted() {
            self.look_at_all().await?;
        }
        self.proof.attributed = self.attribute(&self.database).await?;
        match self.proof.mismatches {
            0 => self.move_all().await,
            // There is nothing more to prove.
            _ => Ok(()),
        }
    }

    /// Whether so much is wrong that nothing more of it is told.
    fn is_refuted(&self) -> bool {
        self.proof.mismatches >= ISOLATION_FINDINGS_MAX as u64
    }
}
