//! The life of a tenant: it is created, renamed, labelled, suspended and resumed, deleted, brought back or purged. `docs/tenants.md` has it for users.

mod batch;
mod change;
mod create;
mod delete;
mod labels;
mod list;
pub(crate) mod parked;
pub(crate) mod purge;

#[cfg(test)]
mod tests;

pub use batch::{CreatedTenants, RefusedTenant};
pub use change::Suspension;
pub(crate) use create::NewTenant;
pub use create::TenantOptions;
pub use list::{TenantFilter, TenantPage};
