//! What is said where there is no client library, or where it is none.
#![allow(clippy::unwrap_used, reason = "a test")]

use tenantry_foundationdb::{ClientOptions, FoundationDbEngine};
use tenantry_kv::{Error, ErrorCode};

fn refusal(library: &str) -> Error {
    let mut options = ClientOptions::default();
    options.library_path = Some(library.to_owned());
    FoundationDbEngine::open(None, &options, tenantry_env::system()).unwrap_err()
}

#[test]
fn a_library_that_is_not_there_is_named_with_the_way_out() {
    let error = refusal("/nowhere/libfdb_c.so");
    assert_eq!(error.code(), ErrorCode::CLIENT_LIBRARY_UNUSABLE);
    for part in ["/nowhere/libfdb_c.so (not there)", "foundationdb-clients", "TENANTRY_FDB_LIBRARY"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_file_that_is_no_library_is_named() {
    let temporary = tempfile::NamedTempFile::new().unwrap();
    let path = temporary.path().to_str().unwrap();
    let error = refusal(path);
    assert_eq!(error.code(), ErrorCode::CLIENT_LIBRARY_UNUSABLE);
    assert!(error.to_string().contains(path), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_library_that_is_another_is_named_with_what_it_lacks() {
    let error = refusal("libc.so.6");
    assert_eq!(error.code(), ErrorCode::CLIENT_LIBRARY_UNUSABLE);
    assert!(error.to_string().contains("fdb_select_api_version_impl"), "{error}");
}
