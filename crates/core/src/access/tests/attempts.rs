//! One attempt for each operation there is.

use super::*;
use crate::jobs::{JobFilter, JobKinds, Reseal, Worker};
use crate::sealing::{Keyring, MemoryKeyStore, RootKey, SecretKey};
use crate::{
    Aggregation, Condition, Copier, Destination, Export, ImportMapping, ImportRow, Importer, Measure,
    PoolSettings, Query, RawRange, Result, RowContents, Suspension, TenantLimits,
};
use std::collections::BTreeMap;
use tenantry_kv::MutationType;

fn text(value: impl std::fmt::Debug) -> String {
    format!("{value:?}")
}

/// What an operation on the film of a key brings to whoever has a handle. The match has no arm for the rest: an operation that is new needs an attempt.
pub(super) async fn attempt(
    world: &World,
    handle: &Database,
    operation: Operation,
    id: i64,
) -> Result<String> {
    match operation {
        Operation::DeleteTenant => handle.delete_tenant("acme").await.map(text),
        Operation::ViewTokenEpoch => handle.granted_tenant("acme").await.map(text),
        Operation::RevokeTokens => handle.revoke_tokens("acme").await.map(text),
        Operation::DescribeTenant => handle.describe_tenant("acme").await.map(text),
        Operation::LabelTenant => handle.label_tenant("acme", &BTreeMap::new()).await.map(text),
        Operation::SuspendTenant => {
            handle.suspend_tenant("acme", Suspension::Blocked, "a test").await?;
            handle.resume_tenant("acme").await.map(text)
        }
        Operation::SealTenant => {
            give_keys(world).await;
            handle.tenant("acme").await?.seal().await.map(text)
        }
        Operation::ShredTenant => {
            give_keys(world).await;
            let acme = world.database.tenant("acme").await?;
            acme.seal().await?;
            world.database.create_job(&Reseal, Some(&acme), &json!({})).await?;
            Worker::new(&world.database, JobKinds::standard()).run_until_idle().await?;
            handle.tenant("acme").await?.shred().await.map(text)
        }
        Operation::UseKeys => handle.set_keyring(None).await.map(text),
        Operation::RenameTenant => handle.rename_tenant("acme", "other").await.map(text),
        Operation::SetPlan => handle.set_tenant_plan("acme", Some("gold")).await.map(text),
        Operation::SetLimits => {
            handle.tenant("acme").await?.set_limits(&TenantLimits::none()).await.map(text)
        }
        Operation::ViewPlans => {
            handle.plans().await?;
            match handle.plan("none").await {
                Err(error) if error.code() == Code::PlanNotFound => Ok(String::new()),
                found => found.map(text),
            }
        }
        Operation::ManagePlans => handle.set_plan("gold", &TenantLimits::none()).await.map(text),
        Operation::SetPool => handle.set_pool_settings(PoolSettings::default()).await.map(text),
        Operation::CreateTenant => handle.create_tenant("new", "s").await.map(text),
        Operation::ManageDeletedTenants => {
            handle.deleted_tenants(None, 10).await?;
            let not_found = handle.undelete_tenant("nobody", None, None).await.map(text);
            let also = handle.purge_tenant("nobody", None, true).await.map(text);
            let last = handle.deleted_tenant("nobody", None).await.map(text);
            for result in [not_found, also, last] {
                match result {
                    Err(error) if error.code() == Code::TenantNotFound => {}
                    other => return other,
                }
            }
            Ok(String::new())
        }
        Operation::CloneTenant => handle.clone_tenant("acme", "copy").await.map(|_| String::new()),
        Operation::ImportTenant => {
            let acme = world.database.tenant("acme").await?;
            let (mut archiver, mut importer) =
                (crate::Archiver::new(&acme).await?, crate::ArchiveImporter::new(handle, "imported"));
            while let Some(bytes) = archiver.step().await? {
                importer.feed(&bytes).await?;
            }
            importer.finish().await.map(|_| String::new())
        }
        Operation::ListTenants => handle.tenants(None, 10).await.map(text),
        Operation::ViewSchemas => {
            handle.schema_names().await?;
            handle.schema("s").await.map(|_| String::new())
        }
        Operation::ApplySchema => handle.apply_schema(&SchemaDefinition::from_toml(SCHEMA)?).await.map(text),
        Operation::RevokeAllTokens => handle.revoke_all_tokens().await.map(text),
        Operation::ViewDatabase => {
            handle.statistics().await?;
            handle.token_epoch().await?;
            handle.state().await.map(text)
        }
        Operation::ChangeState => {
            handle.set_read_only("a test").await?;
            handle.set_writable().await.map(text)
        }
        Operation::CopyDatabase => {
            world.database.set_read_only("a test").await?;
            let env = world.database.inner.env.clone();
            let target = crate::test_engine::engine(&env);
            Copier::begin(handle, target, env, &crate::test_engine::name("copy")).await.map(|_| String::new())
        }
        Operation::EraseDatabase => handle.erase().await.map(text),
        Operation::AttributeKeys => handle.attribute_keys(|_| {}).await.map(text),
        Operation::ProveIsolation => {
            let proof = handle.prove_isolation(&crate::isolation::ProofOptions::default(), |_| {}).await;
            match proof {
                Err(error) if error.code() == Code::ProofNeedsEmptyDatabase => Ok(String::new()),
                other => other.map(text),
            }
        }
        Operation::ManageAllJobs => {
            handle.jobs(&JobFilter::all(), None, 10).await?;
            Worker::new(handle, JobKinds::standard()).run_one_step().await.map(|_| String::new())
        }
        Operation::ViewJobs => {
            let mut of_acme = JobFilter::all();
            of_acme.tenant = Some("acme".to_owned());
            let listed = handle.jobs(&of_acme, None, 10).await?;
            drop(handle.watch_job(world.job).await?);
            let job = handle.job(world.job).await?;
            Ok(text((listed.jobs.len(), job.tenant)))
        }
        Operation::CancelJob => handle.cancel_job(world.job).await.map(|job| text(job.state)),
        Operation::Import | Operation::ImportReplacing => {
            let replaces = operation == Operation::ImportReplacing;
            let to = Destination::Tenant("acme".to_owned());
            let mut importer = Importer::new(handle, to, "film", ImportMapping::default(), replaces).await?;
            let row = json!({ "id": id, "owner": "ann", "title": "Heat", "rating": 5 });
            let contents = Ok(RowContents::Json(row.as_object().unwrap().clone()));
            let rejected = importer.write(vec![ImportRow { line: 1, contents }]).await?;
            rejected.into_iter().next().map_or(Ok(String::new()), |rejection| Err(rejection.reason))
        }
        _ => in_tenant(&handle.tenant("acme").await?, operation, id).await,
    }
}

async fn in_tenant(tenant: &Tenant, operation: Operation, id: i64) -> Result<String> {
    let of_ann = film(id, "ann").with("rating", 7);
    let by_id = Query::of("film").filter(format!("id == {id}").as_str());
    let (of_ann, by_id, key) = (&of_ann, &by_id, &key(id));
    match operation {
        Operation::Get => tenant.get("film", key).await.map(text),
        Operation::GetMany => tenant.get_many("film", std::slice::from_ref(key)).await.map(text),
        Operation::Exists => tenant.exists("film", key).await.map(text),
        Operation::Query => {
            let page = tenant.query(by_id).await?;
            Ok(text((page.records, page.stop, page.explanation.scanned)))
        }
        Operation::Aggregate => {
            tenant.aggregate(&Aggregation::of("film").measure(Measure::Count)).await.map(text)
        }
        Operation::Rank => {
            tenant.rank_count("film", "by_rating", &[]).await?;
            tenant.rank_of_value("film", "by_rating", &[], &[]).await?;
            tenant.ranked("film", "by_rating", &[], 0, 10).await?;
            tenant.at_rank("film", "by_rating", &[], 0).await?;
            tenant.rank_of("film", "by_rating", key).await.map(text)
        }
        Operation::ChangedAfter => tenant.changed_after("film", "changes", &[], None, 10).await.map(text),
        Operation::WatchRecord => {
            tenant.run(|it| async move { it.watch_record("film", key).map(drop) }).await.map(text)
        }
        Operation::Defaults => {
            tenant.read(|it| async move { it.with_defaults("film", of_ann) }).await.map(text)
        }
        Operation::Insert => tenant.insert("film", of_ann).await.map(text),
        Operation::InsertNew => tenant.insert_new("film", of_ann).await.map(text),
        Operation::Put => tenant.put("film", of_ann).await.map(text),
        Operation::Replace => tenant.replace("film", of_ann).await.map(text),
        Operation::ReplaceMatching => {
            tenant.put_if("film", of_ann, Condition::Matches("rating > 0")).await.map(text)
        }
        Operation::Update => {
            let patched = tenant.merge_patch("film", key, &json!({ "rating": 8 })).await.map(text);
            let updated = tenant.update("film", key, |record| {
                record.set("rating", 9);
                Ok(())
            });
            updated.await.and(patched)
        }
        Operation::Delete => tenant.delete("film", key).await.map(text),
        Operation::DeleteMatching => {
            tenant.delete_if("film", key, Condition::Matches("rating > 0")).await.map(text)
        }
        Operation::DeleteWhere => tenant.delete_all_where(by_id).await.map(text),
        Operation::DeleteCascading => tenant.delete_cascading("film", key).await.map(text),
        Operation::Export => {
            let exported = tenant.export(Export::of(by_id.clone())).await?;
            exported.map(|record| record.map(|record| text(record.to_json()))).collect()
        }
        Operation::RawGet => tenant.read_only(|it| async move { it.raw_get(b"k").await }).await.map(text),
        Operation::RawRange => {
            tenant.read_only(|it| async move { it.raw_range(&RawRange::all()).await }).await.map(text)
        }
        Operation::RawWatch => tenant.run(|it| async move { it.raw_watch(b"k").map(drop) }).await.map(text),
        Operation::RawSet => tenant.run(|it| async move { it.raw_set(b"k", b"v") }).await.map(text),
        Operation::RawClear => tenant.run(|it| async move { it.raw_clear(b"k") }).await.map(text),
        Operation::RawClearRange => {
            tenant.run(|it| async move { it.raw_clear_range(b"a", b"z") }).await.map(text)
        }
        Operation::RawAtomic => {
            tenant.run(|it| async move { it.raw_atomic(MutationType::Add, b"n", &[1]) }).await.map(text)
        }
        Operation::RawSetVersionstamped => {
            tenant.run(|it| async move { it.raw_set_versionstamped(b"p", b"", b"v") }).await.map(text)
        }
        Operation::Counter => tenant.read_only(|it| async move { it.counter("c").await }).await.map(text),
        Operation::AddToCounter => tenant.run(|it| async move { it.add_to_counter("c", 1) }).await.map(text),
        Operation::NextInSequence => {
            tenant.sequence_blocks("n", 10)?.next().await?;
            tenant.run(|it| async move { it.next_in_sequence("n").await }).await.map(text)
        }
        Operation::ViewUsage => {
            tenant.quota().await?;
            tenant.usage(0).await.map(|usage| text(usage.records))
        }
        Operation::WatchTenant => tenant.watch().await.map(|_| String::new()),
        Operation::Expire => tenant.expire().await.map(text),
        Operation::ForgetResults => tenant.remove_expired_idempotency_records().await.map(text),
        Operation::CreateJob => {
            let parameters = &json!({ "type": "film" });
            tenant.run(|it| async move { it.create_job(&Count, parameters).await }).await?;
            tenant.database().create_job(&Count, Some(tenant), parameters).await.map(|_| String::new())
        }
        Operation::ArchiveTenant => {
            let mut archiver = crate::Archiver::new(tenant).await?;
            while archiver.step().await?.is_some() {}
            tenant.content_hash(&crate::ContentOptions::default()).await.map(|hash| hash.to_hex())
        }
        Operation::ManageDeletedTenants
        | Operation::CloneTenant
        | Operation::ImportTenant
        | Operation::DescribeTenant
        | Operation::LabelTenant
        | Operation::SuspendTenant
        | Operation::SealTenant
        | Operation::ShredTenant
        | Operation::UseKeys
        | Operation::RenameTenant
        | Operation::SetPlan
        | Operation::SetLimits
        | Operation::ViewPlans
        | Operation::ManagePlans
        | Operation::SetPool
        | Operation::DeleteTenant
        | Operation::ViewTokenEpoch
        | Operation::RevokeTokens
        | Operation::CreateTenant
        | Operation::ListTenants
        | Operation::ViewSchemas
        | Operation::ApplySchema
        | Operation::RevokeAllTokens
        | Operation::ViewDatabase
        | Operation::ChangeState
        | Operation::CopyDatabase
        | Operation::EraseDatabase
        | Operation::AttributeKeys
        | Operation::ProveIsolation
        | Operation::ManageAllJobs
        | Operation::ViewJobs
        | Operation::CancelJob
        | Operation::Import
        | Operation::ImportReplacing => unreachable!("an operation of the database"),
    }
}

/// A key store in memory, for operations that need keys.
async fn give_keys(world: &World) {
    let entropy = world.database.inner.env.entropy.clone();
    let root = RootKey::new(SecretKey::random(&*entropy), entropy);
    let keyring = Keyring::new(Arc::new(root), Arc::new(MemoryKeyStore::new()));
    world.database.set_keyring(Some(keyring)).await.unwrap();
}
