//! `tenantry token`: keys, and tokens that say what somebody may do.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::Path;

use serde_json::{Value as Json, json};
use tenantry::{Action, Role, RowPolicy};
use tenantry_token::limits::{KEY_SET_SIZE_BYTES_MAX, LIFETIME_MAX, TOKEN_SIZE_BYTES_MAX};
use tenantry_token::{Algorithm, ClaimedRole, ClaimedTenants, KeySet, SigningKey, TokenClaims, Verifier};

use super::{Target, moment, open_existing, read_text};
use crate::arguments::{InspectArguments, IssueArguments, KeygenArguments, TokenCommand};
use crate::output::{Exit, Failure, Outcome, Printer};

pub(crate) async fn run(command: TokenCommand, target: &Target, printer: Printer) -> Outcome {
    match command {
        TokenCommand::Keygen(arguments) => keygen(&arguments, printer),
        TokenCommand::Issue(arguments) => issue(*arguments, target, printer).await,
        TokenCommand::Inspect(arguments) => inspect(&arguments, target, printer),
        TokenCommand::Revoke { tenant, .. } => revoke(tenant.as_deref(), target, printer).await,
    }
}

fn keygen(arguments: &KeygenArguments, printer: Printer) -> Outcome {
    let Some(algorithm) = Algorithm::of_name(&arguments.algorithm) else {
        return Err(Failure::Usage("the algorithm is EdDSA, ES256 or RS256".to_owned()));
    };
    let key = SigningKey::generate(algorithm)?;
    let public = key.verifying_key()?;
    let set = match arguments.jwks.exists() {
        true => KeySet::from_json(&read_text(&arguments.jwks, KEY_SET_SIZE_BYTES_MAX as u64)?)?,
        false => KeySet::default(),
    };
    let known: Vec<_> = set.keys().cloned().chain([public.clone()]).collect();
    let set = KeySet::of(known)?;
    write_secret(&arguments.key, &key.to_pem())?;
    replace(&arguments.jwks, &set.to_json())?;
    let document = json!({ "kid": public.id(), "algorithm": algorithm.name(), "keys": set.keys().count() });
    printer.document(&document, || {
        let (key, jwks) = (arguments.key.display(), arguments.jwks.display());
        format!("the key {} is in {key}, its public half in {jwks}", public.id())
    })?;
    Ok(Exit::Done)
}

/// Writes a file that must not be there yet, and that nobody else can read.
fn write_secret(path: &Path, text: &str) -> Outcome<()> {
    let unusable = |error| Failure::Io(path.display().to_string(), error);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(unusable)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(unusable)
}

/// Writes a file as a whole: whoever reads it meanwhile sees the old one or the new one.
fn replace(path: &Path, text: &str) -> Outcome<()> {
    let unusable = |error| Failure::Io(path.display().to_string(), error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(unusable)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(unusable)?;
    #[cfg(unix)]
    {
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(readable).map_err(unusable)?;
    }
    file.persist(path).map(drop).map_err(|error| unusable(error.error))
}

async fn issue(arguments: IssueArguments, target: &Target, printer: Printer) -> Outcome {
    let database = open_existing(target).await?;
    let key = SigningKey::from_pem(&read_text(&arguments.key, 16_384)?)?;
    let now_s = tenantry_env::system().clock.wall_us().div_euclid(1_000_000);
    let lifetime_s = seconds(&arguments.lifetime)?;
    let (issuer, audience) = (target.issuer.as_str(), target.audience.as_str());
    let mut claims = TokenClaims::new(issuer, audience, arguments.subject, now_s, lifetime_s);
    claims.role = role(&arguments.role, &arguments.action)?;
    claims.tenants = match arguments.all_tenants {
        true => ClaimedTenants::All { database: database.uuid(), epoch: database.token_epoch().await? },
        false => {
            let mut tenants = Vec::new();
            for name in &arguments.tenant {
                tenants.push(database.granted_tenant(name).await?);
            }
            ClaimedTenants::Named(tenants)
        }
    };
    claims.types = (!arguments.types.is_empty()).then(|| arguments.types.into_iter().collect());
    for text in &arguments.policy {
        let (record_type, condition) = pair(text, "TYPE=CEL")?;
        claims.policies.push((record_type.to_owned(), RowPolicy::new(condition)));
    }
    for text in &arguments.write_policy {
        let (record_type, condition) = pair(text, "TYPE=CEL")?;
        let found = claims.policies.iter_mut().find(|(name, _)| name == record_type);
        let Some((_, policy)) = found else {
            let detail = format!("--write-policy {record_type}=... needs a --policy {record_type}=...");
            return Err(Failure::Usage(detail));
        };
        *policy = policy.clone().write(condition);
    }
    for text in &arguments.claim {
        let (name, value) = pair(text, "NAME=JSON")?;
        claims.claims.insert(name.to_owned(), tenantry::parse_json(value)?);
    }
    claims.id = Some(token_id());
    // What cannot be meant in the schemas of the tenants is told now, and not to whoever comes with the token.
    let grant = claims.grant(0)?;
    if let ClaimedTenants::Named(tenants) = &claims.tenants {
        for tenant in tenants {
            database.tenant_with_grant(&tenant.name, grant.clone()).await?;
        }
    }
    let token = key.sign(&claims)?;
    printer.document(&json!({ "token": token, "claims": claims.to_json() }), || token.clone())?;
    Ok(Exit::Done)
}

/// A name for a token, for logs.
fn token_id() -> String {
    let mut bytes = [0; 16];
    tenantry_env::system().entropy.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn role(name: &str, actions: &[String]) -> Outcome<ClaimedRole> {
    let actions = actions.iter().map(|name| Action::of_name(name));
    let actions: BTreeSet<Action> = actions.collect::<Result<_, _>>()?;
    match (Role::of_name(name), actions.is_empty()) {
        (Some(role), true) => Ok(ClaimedRole::Whole(role)),
        (None, true) => Err(Failure::Usage(format!(
            "the role {name:?} needs its actions: --action read --action insert ..., or be one of admin, owner, writer, reader, auditor"
        ))),
        (_, false) => Ok(ClaimedRole::Actions(name.to_owned(), actions)),
    }
}

fn pair<'a>(text: &'a str, form: &str) -> Outcome<(&'a str, &'a str)> {
    text.split_once('=').ok_or_else(|| Failure::Usage(format!("write {form}, not {text:?}")))
}

/// A time like 90s, 15m, 8h or 30d.
fn seconds(text: &str) -> Outcome<i64> {
    let usage = || {
        let most = LIFETIME_MAX.as_secs() / 86_400;
        Failure::Usage(format!("a lifetime is written 90s, 15m, 8h or 30d, and is {most}d at the most"))
    };
    let unit = text.chars().last().ok_or_else(usage)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(usage()),
    };
    let number: i64 = text.strip_suffix(unit).and_then(|digits| digits.parse().ok()).ok_or_else(usage)?;
    let seconds = number.checked_mul(factor).filter(|seconds| *seconds > 0).ok_or_else(usage)?;
    match seconds.unsigned_abs() <= LIFETIME_MAX.as_secs() {
        true => Ok(seconds),
        false => Err(usage()),
    }
}

/// Prints what stands in a token, and with a set of keys whether it would be taken.
fn inspect(arguments: &InspectArguments, target: &Target, printer: Printer) -> Outcome {
    let token = token_text(&arguments.token)?;
    let found = Verifier::inspect(&token)?;
    let mut document = json!({
        "algorithm": found.algorithm.name(),
        "kid": found.key_id,
        "claims": found.claims.to_json(),
        "expires": moment(found.claims.expires_s.saturating_mul(1_000_000)),
    });
    let verdict = target.verifier()?.map(|verifier| verifier.verify(&token, &tenantry_env::system()));
    let (said, exit) = match &verdict {
        None => ("not checked: give the keys with --jwks".to_owned(), Exit::Done),
        Some(Ok(_)) => ("signed by a known key, and good now".to_owned(), Exit::Done),
        Some(Err(error)) => (error.to_string(), Exit::Refused),
    };
    document["valid"] = verdict.as_ref().map_or(Json::Null, |verdict| verdict.is_ok().into());
    document["verdict"] = said.as_str().into();
    printer.document(&document, || {
        let claims = format!("{:#}", found.claims.to_json());
        let expires = moment(found.claims.expires_s.saturating_mul(1_000_000));
        format!("{claims}\n{} by the key {}, until {expires}\n{said}", found.algorithm.name(), found.key_id)
    })?;
    Ok(exit)
}

async fn revoke(tenant: Option<&str>, target: &Target, printer: Printer) -> Outcome {
    let database = open_existing(target).await?;
    let epoch = match tenant {
        Some(name) => database.revoke_tokens(name).await?,
        None => database.revoke_all_tokens().await?,
    };
    printer.document(&json!({ "tenant": tenant, "epoch": epoch }), || match tenant {
        Some(name) => format!("every token on {name} is revoked; the epoch is {epoch}"),
        None => format!("every token on all tenants is revoked; the epoch is {epoch}"),
    })?;
    Ok(Exit::Done)
}

/// A token as it is given: itself, `@FILE`, or `-` for standard input.
pub(super) fn token_text(given: &str) -> Outcome<String> {
    let text = match given.strip_prefix('@') {
        Some(path) => read_text(Path::new(path), 4 * TOKEN_SIZE_BYTES_MAX as u64)?,
        None if given == "-" => {
            let mut text = String::new();
            let read =
                std::io::stdin().lock().take(4 * TOKEN_SIZE_BYTES_MAX as u64).read_to_string(&mut text);
            read.map_err(|error| Failure::Io("standard input".to_owned(), error))?;
            text
        }
        None => given.to_owned(),
    };
    Ok(text.trim().to_owned())
}
