//! What says that a tenant's key was destroyed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::keyring::Keyring;
use super::secret::SecretKey;
use super::store::{KeyEntry, KeyState};
use super::wrapping::hexadecimal;
use crate::error::{Code, Error, Result};
use crate::json::parse_json;
use crate::messages::StoredDataKey;

/// What a certificate calls itself.
const KIND: &str = "tenantry-shred-1";
/// What the proof is bound to.
const PROOF_CONTEXT: &[u8] = b"tenantry certificate 1";

/// What nobody reads any more, in words.
const UNREADABLE: [&str; 6] = [
    "the contents of records",
    "the contents of the change log",
    "the values of the tenant's own key-value space",
    "the values that indexes cover",
    "the columns of hashed indexes",
    "the results kept for idempotency keys",
];
/// What was never sealed, in words.
const READABLE: [&str; 7] = [
    "keys: primary keys, columns of indexes that are not hashed, with the words of text indexes, raw keys, names of counters and sequences, idempotency keys",
    "counters, sequences, counts, sums, extremes and ranks of indexes",
    "the tenant's entry in the catalog: name, UUID, schema; its header; parameters, results and cursors of its jobs",
    "which records have equal values in a hashed index, and how many have",
    "sizes, versions and times of records and log entries",
    "what was stored, logged or backed up before the tenant was sealed, where a copy of it is left",
    "whatever was exported, or read by somebody else, before",
];
const REMARKS: [&str; 2] = [
    "The key was taken out of the key store, whose file was written anew and overwritten where it lay before; copies of that file that were made elsewhere still open what is sealed.",
    "A process that had the key in memory keeps it for at most five minutes, and refuses the tenant from its next transaction on.",
];

/// Whose key was destroyed, and where.
pub(crate) struct Shredded<'a> {
    pub(crate) database: (&'a str, Uuid),
    pub(crate) tenant: (&'a str, Uuid, u64),
    pub(crate) data_keys: &'a [StoredDataKey],
    pub(crate) entry: &'a KeyEntry,
}

/// What says that a tenant's key was destroyed: what that was, when, and what stays readable. A JSON document, that whoever has the key store and the root key can verify.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    json: Json,
}

/// What a certificate that holds says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedCertificate {
    /// The tenant's UUID.
    pub tenant: Uuid,
    /// The id of the key that was destroyed.
    pub key_id: Uuid,
    /// When, in microseconds since 1970.
    pub destroyed_us: i64,
    /// Whether the root key at hand says that the certificate was made with it; `false` for one made with another root key, which only that one can tell.
    pub is_proven: bool,
}

impl Certificate {
    pub(crate) async fn new(keyring: &Keyring, shredded: &Shredded<'_>) -> Result<Certificate> {
        let entry = shredded.entry;
        let KeyState::Destroyed { at_us } = entry.state else {
            return Err(invalid("the key store still has the key"));
        };
        let data_keys = shredded.data_keys.iter().map(|key| {
            json!({
                "generation": key.generation,
                "hash": hexadecimal(&key.hash),
                "created": moment(key.created_us),
            })
        });
        let mut json = json!({
            "certificate": KIND,
            "database": { "name": shredded.database.0, "uuid": shredded.database.1.to_string() },
            "tenant": {
                "name": shredded.tenant.0,
                "uuid": shredded.tenant.1.to_string(),
                "id": shredded.tenant.2,
            },
            "key": {
                "id": entry.key_id.to_string(),
                "hash": entry.key_hash_text(),
                "created": moment(entry.created_us),
            },
            "data_keys": data_keys.collect::<Vec<_>>(),
            "destroyed": moment(at_us),
            "destroyed_us": at_us,
            "key_store": keyring.store.name(),
            "unreadable": UNREADABLE,
            "readable": READABLE,
            "remarks": REMARKS,
            "root": keyring.wrapper.id(),
        });
        let hash = blake3::hash(json.to_string().as_bytes());
        // Nobody else can wrap it, and with this context nothing else is wrapped.
        let wrapped = SecretKey::from_bytes(hash.as_bytes());
        let wrapped = wrapped.ok_or_else(|| invalid("its hash has not 32 bytes"))?;
        let proof = keyring.wrapper.wrap(&wrapped, PROOF_CONTEXT).await?;
        json["hash"] = json!(hash.to_hex().as_str());
        json["proof"] = json!(BASE64.encode(proof));
        Ok(Certificate { json })
    }

    /// Reads a certificate.
    ///
    /// # Errors
    ///
    /// 20070 for what is no JSON, 20119 for what is no certificate, or one that was altered.
    pub fn from_json(text: &str) -> Result<Certificate> {
        let json = parse_json(text)?;
        if json["certificate"].as_str() != Some(KIND) {
            return Err(invalid("it is no certificate of a shredded tenant that this build knows"));
        }
        let certificate = Certificate { json };
        if certificate.json["hash"].as_str() != Some(certificate.hash().to_hex().as_str()) {
            return Err(invalid("it was altered: it does not have the hash that it tells"));
        }
        Ok(certificate)
    }

    /// The document.
    pub fn to_json(&self) -> &Json {
        &self.json
    }

    /// The hash of all but hash and proof.
    fn hash(&self) -> blake3::Hash {
        let mut json = self.json.clone();
        if let Some(object) = json.as_object_mut() {
            object.shift_remove("hash");
            object.shift_remove("proof");
        }
        blake3::hash(json.to_string().as_bytes())
    }

    /// Compares the certificate with the key store: the key is gone, and it is that key. With the root key that was at hand then, its proof holds too.
    ///
    /// # Errors
    ///
    /// 20119 when something does not agree; the store's.
    pub async fn verify(&self, keyring: &Keyring) -> Result<VerifiedCertificate> {
        let text = |json: &Json| json.as_str().map(str::to_owned).unwrap_or_default();
        let uuid = |json: &Json| {
            json.as_str()
                .and_then(|text| text.parse::<Uuid>().ok())
                .ok_or_else(|| invalid("an id of it is none"))
        };
        let (tenant, key_id) = (uuid(&self.json["tenant"]["uuid"])?, uuid(&self.json["key"]["id"])?);
        let Some(entry) = keyring.store.get(tenant).await? else {
            return Err(invalid(&format!("{} knows nothing of the tenant {tenant}", keyring.store.name())));
        };
        let KeyState::Destroyed { at_us } = entry.state else {
            return Err(invalid(&format!("{} still has a key of the tenant {tenant}", keyring.store.name())));
        };
        let told = (key_id, text(&self.json["key"]["hash"]), self.json["destroyed_us"].as_i64());
        if told != (entry.key_id, entry.key_hash_text(), Some(at_us)) {
            return Err(invalid(&format!(
                "{} has destroyed another key of the tenant {tenant}, or at another time",
                keyring.store.name()
            )));
        }
        let is_proven = self.json["root"].as_str() == Some(keyring.wrapper.id());
        if is_proven {
            let proof = BASE64.decode(text(&self.json["proof"])).unwrap_or_default();
            let proven = keyring.wrapper.unwrap(&proof, PROOF_CONTEXT).await;
            if !proven.is_ok_and(|proven| proven.bytes() == self.hash().as_bytes()) {
                return Err(invalid("its proof was not made with the root key at hand"));
            }
        }
        Ok(VerifiedCertificate { tenant, key_id, destroyed_us: at_us, is_proven })
    }
}

fn invalid(why: &str) -> Error {
    Error::new(Code::CertificateInvalid, why)
}

fn moment(microseconds: i64) -> String {
    jiff::Timestamp::from_microsecond(microseconds)
        .map_or_else(|_| microseconds.to_string(), |moment| moment.to_string())
}
