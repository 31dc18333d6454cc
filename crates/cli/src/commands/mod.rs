//! One module for each command.

pub(crate) mod aggregate;
pub(crate) mod check;
pub(crate) mod database;
pub(crate) mod demo;
pub(crate) mod expire;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod isolation;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod kv;
pub(crate) mod quotas;
pub(crate) mod rank;
pub(crate) mod records;
pub(crate) mod schema;
pub(crate) mod status;
pub(crate) mod tenant;
pub(crate) mod token;

use std::path::{Path, PathBuf};

use tenantry::{Database, Durability, KeyFiles, Options};
use tenantry_token::limits::KEY_SET_SIZE_BYTES_MAX;
use tenantry_token::{KeySet, Verifier};

use crate::output::{Failure, Outcome};

/// Which database a command works on, how, and by what right.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) url: String,
    pub(crate) durability: Durability,
    /// Where the keys of sealed tenants are.
    pub(crate) keys: Option<KeyFiles>,
    /// An access token: the command does what it allows and nothing else.
    pub(crate) token: Option<String>,
    /// The keys that tokens are checked with.
    pub(crate) jwks: Option<PathBuf>,
    pub(crate) issuer: String,
    pub(crate) audience: String,
}

impl Target {
    fn options(&self) -> Options {
        let options = Options::new().durability(self.durability);
        match &self.keys {
            Some(keys) => options.keys(keys.clone()),
            None => options,
        }
    }

    /// Who checks tokens, if the keys are given.
    fn verifier(&self) -> Outcome<Option<Verifier>> {
        let Some(path) = &self.jwks else { return Ok(None) };
        let keys = KeySet::from_json(&read_text(path, KEY_SET_SIZE_BYTES_MAX as u64)?)?;
        Ok(Some(Verifier::new(keys, &self.issuer, &self.audience)))
    }

    /// The database as the holder of the token sees it, if there is one.
    fn granted(&self, database: Database) -> Outcome<Database> {
        let Some(token) = &self.token else { return Ok(database) };
        let Some(verifier) = self.verifier()? else {
            let detail = "a token is checked with the keys that --jwks (TENANTRY_JWKS) names";
            return Err(Failure::Usage(detail.to_owned()));
        };
        let verified = verifier.verify(&token::token_text(token)?, &tenantry_env::system())?;
        Ok(database.with_grant(verified.grant)?)
    }
}

/// Opens the database for a command that may create it.
async fn open(target: &Target) -> Outcome<Database> {
    match target.token {
        // To create one is nobody's right who needs a token.
        Some(_) => open_existing(target).await,
        None => Ok(target.options().open(&target.url).await?),
    }
}

/// Opens the database for a command that needs one to be there.
async fn open_existing(target: &Target) -> Outcome<Database> {
    let url = &target.url;
    match target.options().creates(false).open(url).await {
        Ok(database) => target.granted(database),
        Err(error) if error.tag() == "StorageNotFound" => Err(Failure::NotFound(format!(
            "there is no database at {url}: create one with \"tenantry schema apply FILE\", or name another with --db"
        ))),
        Err(error) => Err(error.into()),
    }
}

/// Reads a small file whole.
fn read_text(path: &Path, size_bytes_max: u64) -> Outcome<String> {
    let unusable = |error| Failure::Io(path.display().to_string(), error);
    let size_bytes = std::fs::metadata(path).map_err(unusable)?.len();
    if size_bytes > size_bytes_max {
        let detail = format!("it has {size_bytes} bytes, the limit is {size_bytes_max}");
        return Err(unusable(std::io::Error::new(std::io::ErrorKind::FileTooLarge, detail)));
    }
    std::fs::read_to_string(path).map_err(unusable)
}

/// A moment for people.
fn moment(microseconds: i64) -> String {
    jiff::Timestamp::from_microsecond(microseconds)
        .map_or_else(|_| microseconds.to_string(), |moment| moment.to_string())
}
