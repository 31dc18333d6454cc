//! No public operation is without a question to the grant: the sources are read for it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that reads the sources")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Whoever has one of these can do something with a database or a tenant.
const HANDLES: [&str; 12] = [
    "Database",
    "Tenant",
    "TenantTransaction",
    "TenantReader",
    "SequenceBlocks",
    "Exporter",
    "Importer",
    "Copier",
    "Worker",
    "Archiver",
    "ArchiveImporter",
    "ArchiveHasher",
];

/// Calls that ask the grant, by an operation.
const QUESTIONS: [&str; 6] = [
    "authorize(Operation::",
    "authorize_tenant(Operation::",
    "authorize_type(Operation::",
    "permit(Operation::",
    "permit_in(Operation::",
    "authorize_job(",
];

/// Public functions that ask by way of another one, which is called in them.
const BY_WAY_OF: [(&str, &str, &str); 43] = [
    ("Archiver", "resume", "Archiver::new"),
    ("Archiver", "step", "read"),
    ("ArchiveImporter", "feed", "begin"),
    ("ArchiveImporter", "finish", "tenant"),
    ("Database", "delete_tenant", "delete_tenant_with_grace"),
    ("Database", "jobs", "authorize_listing"),
    ("Database", "watch_job", "job"),
    ("Database", "tenant", "check_name_granted"),
    ("Database", "tenant_with_grant", "tenant"),
    ("Database", "create_tenant", "create_tenant_with"),
    ("Database", "tenants", "tenants_where"),
    ("TenantTransaction", "update", "update_if"),
    ("TenantTransaction", "merge_patch", "merge_patch_if"),
    ("Exporter", "new", "Plan::new"),
    ("Exporter", "step", "read"),
    ("Importer", "submit", "tenant"),
    ("Importer", "write", "submit"),
    ("Importer", "advance", "advance"),
    ("Importer", "finish", "advance"),
    ("Tenant", "delete_all_where", "delete_some_where"),
    ("Tenant", "delete_some_where", "delete_where"),
    ("Tenant", "export", "new"),
    ("Tenant", "read_only", "read"),
    ("Tenant", "replace", "put_if"),
    ("Tenant", "update", "update_if"),
    ("Tenant", "merge_patch", "merge_patch_if"),
    ("Tenant", "run", "run_completed"),
    ("Tenant", "run_completed", "run_prepared"),
    ("Tenant", "run_with", "run_prepared"),
    ("Tenant", "run_idempotent", "run_idempotent_bytes"),
    ("Tenant", "run_idempotent_bytes", "run"),
    ("Tenant", "stream", "query"),
    ("Tenant", "read", "read_as"),
    ("TenantTransaction", "insert", "put_if"),
    ("TenantTransaction", "put", "put_if"),
    ("TenantTransaction", "put_if", "permit"),
    ("TenantTransaction", "replace", "put_if"),
    ("TenantTransaction", "delete", "delete_if"),
    ("TenantTransaction", "delete_if", "permit"),
    ("TenantTransaction", "add_to_counter", "add_to_sharded_counter"),
    ("TenantTransaction", "at_rank", "ranked"),
    ("Worker", "run_until_idle", "run_one_step"),
    ("Importer", "new", "authorize_type"),
];

/// Public functions that need not ask, with the reason.
const NEED_NOT: [(&str, &str, &str); 50] = [
    ("Database", "open", "who has the engine has everything"),
    ("Database", "open_existing", "who has the engine has everything"),
    ("Database", "name", "what whoever opened it said"),
    ("Database", "uuid", "an identity alone"),
    ("Database", "now", "the clock's"),
    ("Database", "engine_profile", "what it is, not what it holds"),
    ("Database", "index_uses", "tells nothing without view_database"),
    ("Database", "pool_statistics", "tells nothing without view_database"),
    ("Tenant", "flush_meters", "brings what was counted already"),
    ("Database", "with_grant", "gives less, never more"),
    ("Database", "grant", "one's own"),
    ("Tenant", "database", "has the same grant"),
    ("Tenant", "info", "found when the tenant was opened"),
    ("Tenant", "now", "the clock's"),
    ("Tenant", "new_id", "a new number"),
    ("TenantTransaction", "schema", "read when the transaction began"),
    ("TenantTransaction", "set_isolation", "an option"),
    ("TenantTransaction", "read_version", "a moment, the same for everybody"),
    ("TenantTransaction", "versionstamp", "a moment, the same for everybody"),
    ("TenantTransaction", "size_bytes", "of what it wrote itself"),
    ("TenantTransaction", "size_bytes_left", "of what it wrote itself"),
    ("TenantTransaction", "changes_left", "of what it wrote itself"),
    ("TenantTransaction", "before_commit", "is given the same transaction"),
    ("TenantTransaction", "after_commit", "is given a version"),
    ("TenantReader", "schema", "read when the transaction began"),
    ("TenantReader", "read_version", "a moment, the same for everybody"),
    ("Exporter", "rows", "counts what is shown"),
    ("Exporter", "size_bytes", "of what it put aside itself"),
    ("Exporter", "finish", "what was read by steps that asked"),
    ("Importer", "reader", "reads rows, not the database"),
    ("Importer", "report", "counts its own rows"),
    ("Importer", "is_full", "of its own rows"),
    ("Importer", "is_idle", "of its own rows"),
    ("Importer", "take_rejections", "of its own rows"),
    ("Copier", "rows", "of what begin allowed"),
    ("Copier", "size_bytes", "of what begin allowed"),
    ("Copier", "rows_compared", "of what begin allowed"),
    ("Copier", "source_hash", "of what begin allowed"),
    ("Copier", "target_hash", "of what begin allowed"),
    ("Copier", "step", "of what begin allowed"),
    ("Worker", "owner", "one's own"),
    ("Archiver", "rows", "of what new allowed"),
    ("Archiver", "version", "of what new allowed"),
    ("ArchiveImporter", "new", "does nothing yet"),
    ("ArchiveImporter", "rows", "counts its own rows"),
    ("ArchiveHasher", "new", "reads a stream, not the database"),
    ("ArchiveHasher", "take", "reads a stream, not the database"),
    ("ArchiveHasher", "finish", "reads a stream, not the database"),
    ("Worker", "new", "does nothing yet"),
    ("Worker", "with_lease", "does nothing yet"),
];

/// A public function of a handle: where it stands, and its body.
struct Function {
    file: String,
    handle: String,
    name: String,
    body: String,
}

fn sources(folder: &Path, into: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, into);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            into.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The public functions in blocks that begin with `impl` of a handle. The sources are formatted: a block ends at the brace with its own indentation.
fn functions(file: &str, text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let end_of = |begin: usize| {
        let end = format!("{}}}", " ".repeat(indent(lines[begin])));
        (begin..lines.len()).find(|at| *at > begin && lines[*at].starts_with(&end)).unwrap_or(begin)
    };
    let mut found = Vec::new();
    for (begin, line) in lines.iter().enumerate() {
        let Some(header) = line.trim_start().strip_prefix("impl") else { continue };
        let header = header.split_once('{').map_or(header, |(header, _)| header).trim();
        if header.contains(" for ") {
            continue;
        }
        let Some(handle) = HANDLES.iter().find(|handle| header == **handle) else { continue };
        for at in begin + 1..end_of(begin) {
            let signature = lines[at].trim_start();
            let Some(rest) = signature.strip_prefix("pub ") else { continue };
            let Some(rest) = rest.trim_start_matches("async ").strip_prefix("fn ") else { continue };
            let name = rest.split(['(', '<']).next().unwrap().to_owned();
            let body = lines[at..=end_of(at)].join("\n");
            found.push(Function { file: file.to_owned(), handle: (*handle).to_owned(), name, body });
        }
    }
    found
}

fn asks(function: &Function) -> bool {
    let Function { name, body, .. } = function;
    let same = ["transaction.", "self.0.", "self.transaction()."];
    QUESTIONS.iter().any(|question| body.contains(question))
        || same.iter().any(|receiver| body.contains(&format!("{receiver}{name}(")))
}

#[test]
fn every_public_operation_asks_the_grant() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let functions: Vec<Function> = files.iter().flat_map(|(file, text)| functions(file, text)).collect();
    assert!(functions.len() > 100, "only {} functions were found: has the form changed?", functions.len());
    let by_way_of: BTreeMap<(&str, &str), &str> =
        BY_WAY_OF.iter().map(|(handle, name, of)| ((*handle, *name), *of)).collect();
    let need_not: BTreeSet<(&str, &str)> =
        NEED_NOT.iter().map(|(handle, name, _)| (*handle, *name)).collect();
    let mut missing = Vec::new();
    let mut met = BTreeSet::new();
    for function in &functions {
        let key = (function.handle.as_str(), function.name.as_str());
        let is_named = by_way_of.get(&key).is_some_and(|of| {
            function.body.contains(&format!("{of}(")) || function.body.contains(&format!("{of}::<"))
        });
        met.insert(key);
        if !asks(function) && !is_named && !need_not.contains(&key) {
            missing.push(format!("{}: {}::{}", function.file, function.handle, function.name));
        }
    }
    assert!(
        missing.is_empty(),
        "these ask no grant: begin each with self.authorize(Operation::...)? or self.permit(Operation::..., record_type)?, and put what is new into \
         src/access/operation.rs and src/access/tests/attempts.rs; what needs no question goes into the list here, with the reason:\n{}",
        missing.join("\n")
    );
    // Names that are not there any more hide whoever takes them next.
    let listed = by_way_of.keys().chain(&need_not);
    let gone: Vec<_> = listed.filter(|key| !met.contains(*key)).collect();
    assert!(gone.is_empty(), "these are listed and not there: {gone:?}");
    let twice: Vec<_> = by_way_of.keys().filter(|key| need_not.contains(*key)).collect();
    assert!(twice.is_empty(), "these stand in both lists: {twice:?}");
}

/// The reading of the sources finds what it is for.
#[test]
fn a_forgotten_question_is_found() {
    let text = "impl Tenant {\n    pub async fn leak(&self) -> u8 {\n        self.keys.all()\n    }\n\n    pub fn get(&self) {\n        self.read(|transaction| transaction.get(1))\n    }\n}\n";
    let found = functions("x.rs", text);
    let names: Vec<(&str, bool)> = found.iter().map(|it| (it.name.as_str(), asks(it))).collect();
    assert_eq!(names, [("leak", false), ("get", true)]);
}
