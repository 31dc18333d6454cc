//! The kinds of jobs that come with the library. A new one has a file here, or where its work belongs, and a line in [`all`].

mod cascade_delete;
mod check;
mod clone;
mod count;
mod delete_where;
mod expire;
mod forget_results;
mod purge;
mod reconcile;
mod reseal;
mod rewrite;
mod verify;

use std::sync::Arc;

use serde_json::Value as Json;

use super::kind::JobKind;
use crate::error::{Code, Error, Result};

pub use cascade_delete::CascadeDelete;
pub use check::Check;
pub use clone::CloneTenant;
pub use count::Count;
pub use delete_where::DeleteWhere;
pub use expire::Expire;
pub use forget_results::ForgetResults;
pub use purge::Purge;
pub use reconcile::Reconcile;
pub use reseal::Reseal;
pub use rewrite::Rewrite;
pub use verify::Verify;

/// Every kind, in one place.
pub(super) fn all() -> Vec<Arc<dyn JobKind>> {
    vec![
        Arc::new(CascadeDelete),
        Arc::new(Check),
        Arc::new(CloneTenant),
        Arc::new(Count),
        Arc::new(DeleteWhere),
        Arc::new(Expire),
        Arc::new(ForgetResults),
        Arc::new(Purge),
        Arc::new(Reconcile),
        Arc::new(Reseal),
        Arc::new(Rewrite),
        Arc::new(Verify),
    ]
}

/// The record type that the parameters name.
fn type_of(parameters: &Json) -> Result<&str> {
    match parameters["type"].as_str() {
        Some(name) => Ok(name),
        None => Err(Error::new(Code::JobInvalid, "name the record type: {\"type\": \"film\"}")),
    }
}
