//! The life of a tenant: it is created, renamed, labelled, suspended and resumed. `docs/tenants.md` has it for users.

mod change;
mod create;
mod delete;
mod labels;
mod list;
pub(crate) mod parked;

pub use change::Suspension;
pub use create::TenantOptions;
pub use list::{TenantFilter, TenantPage};
