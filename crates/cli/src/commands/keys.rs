//! `tenantry keys`.

use serde_json::{Value as Json, json};
use tenantry::KeyFiles;
use tenantry::sealing::{Certificate, Keyring, KeyringStatus};

use super::{Target, moment, read_text};
use crate::arguments::KeysCommand;
use crate::output::{Exit, Failure, Outcome, Printer, count};

/// The variable that has a root key.
const ROOT_KEY_VARIABLE: &str = "TENANTRY_ROOT_KEY";
/// No certificate is longer.
const CERTIFICATE_SIZE_BYTES_MAX: u64 = 4_000_000;

/// Where the keys are, by the options and the environment.
pub(crate) fn key_files(store: Option<String>, root_key: Option<String>) -> Option<KeyFiles> {
    let files = KeyFiles::new(store?);
    Some(match (root_key, std::env::var(ROOT_KEY_VARIABLE)) {
        (Some(path), _) => files.root_key_file(path),
        (None, Ok(text)) if !text.is_empty() => files.root_key(text),
        _ => files,
    })
}

pub(crate) async fn run(command: KeysCommand, target: &Target, printer: Printer) -> Outcome {
    let files = target.keys.as_ref().ok_or_else(|| {
        Failure::Usage("name the key store: --key-store FILE, or TENANTRY_KEY_STORE".to_owned())
    })?;
    match command {
        KeysCommand::Init => {
            let status = files.create().await?.status().await?;
            printer.document(&document(&status), || {
                format!(
                    "{} is there, its keys are wrapped by {}: keep the root key elsewhere",
                    status.store, status.root
                )
            })?;
        }
        KeysCommand::RotateRoot { new_root_key } => {
            let new = files.clone().root_key_file(&new_root_key);
            let (keyring, rotation) = files.rotate_root(&new).await?;
            let mut shown = document(&keyring.status().await?);
            shown["rewrapped"] = json!(rotation.rewrapped);
            printer.document(&shown, || {
                let rewrapped = count(rotation.rewrapped);
                format!(
                    "{rewrapped} keys are wrapped by {}: use {new_root_key} from now on",
                    keyring.wrapper().id()
                )
            })?;
        }
        KeysCommand::Status => status(&files.open()?, printer).await?,
        KeysCommand::Verify { certificate } => {
            let text = read_text(&certificate, CERTIFICATE_SIZE_BYTES_MAX)?;
            let verified = Certificate::from_json(&text)?.verify(&files.open()?).await?;
            let shown = json!({
                "tenant": verified.tenant.to_string(),
                "key": verified.key_id.to_string(),
                "destroyed": moment(verified.destroyed_us),
                "proven": verified.is_proven,
            });
            printer.document(&shown, || {
                let proof = match verified.is_proven {
                    true => "the proof holds",
                    false => "its proof was made with another root key, and was not looked at",
                };
                let (key, tenant, at) = (verified.key_id, verified.tenant, moment(verified.destroyed_us));
                format!("the key {key} of the tenant {tenant} was destroyed at {at}; {proof}")
            })?;
        }
    }
    Ok(Exit::Done)
}

async fn status(keyring: &Keyring, printer: Printer) -> Outcome<()> {
    let status = keyring.status().await?;
    printer.document(&document(&status), || {
        let mut rows = vec![vec!["root key at hand".to_owned(), status.root.clone()]];
        for (root, keys) in &status.wrapped {
            rows.push(vec![format!("keys wrapped by {root}"), count(*keys)]);
        }
        rows.push(vec!["keys destroyed".to_owned(), count(status.destroyed)]);
        printer.table(&["", ""], &rows).trim_start().to_owned()
    })
}

fn document(status: &KeyringStatus) -> Json {
    json!({
        "store": status.store,
        "root": status.root,
        "wrapped": status.wrapped,
        "destroyed": status.destroyed,
    })
}
