//! What may be done with a tenant, and who is let through.
//!
//! The state stands in the tenant's header, which every transaction on the tenant reads with a conflict: a change of it holds for every transaction that begins after it, in
//! whatever process, and no transaction that began before it commits after it.

use crate::error::{Code, Error, Result};
use crate::messages::{TenantHeader, TenantStateKind};

/// What may be done with a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TenantState {
    /// Everything.
    Active,
    /// It is read, and not written.
    ReadOnly,
    /// It is neither read nor written.
    Blocked,
    /// It is deleted: there is no way to it but to bring it back, until it is purged.
    Deleted,
    /// It is the target of a clone or an import, and not complete.
    Filling,
}

impl TenantState {
    /// Every state.
    pub const ALL: [TenantState; 5] = [
        TenantState::Active,
        TenantState::ReadOnly,
        TenantState::Blocked,
        TenantState::Deleted,
        TenantState::Filling,
    ];

    /// The state in a word, for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            TenantState::Active => "active",
            TenantState::ReadOnly => "read-only",
            TenantState::Blocked => "blocked",
            TenantState::Deleted => "deleted",
            TenantState::Filling => "filling",
        }
    }

    /// The state of a [name](TenantState::name).
    pub fn from_name(name: &str) -> Option<TenantState> {
        TenantState::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The state that a number in an entry or header stands for. One that this build does not know is no state to guess at.
    pub(crate) fn stored(number: i32) -> Result<TenantState> {
        Ok(match TenantStateKind::try_from(number) {
            Ok(TenantStateKind::Active) => TenantState::Active,
            Ok(TenantStateKind::ReadOnly) => TenantState::ReadOnly,
            Ok(TenantStateKind::Blocked) => TenantState::Blocked,
            Ok(TenantStateKind::Deleted) => TenantState::Deleted,
            Ok(TenantStateKind::Filling) => TenantState::Filling,
            Err(_) => {
                let detail = format!("a tenant has the state {number}, which this build does not know");
                return Err(Error::new(Code::DatabaseFormat, detail));
            }
        })
    }

    pub(crate) fn number(self) -> i32 {
        let kind = match self {
            TenantState::Active => TenantStateKind::Active,
            TenantState::ReadOnly => TenantStateKind::ReadOnly,
            TenantState::Blocked => TenantStateKind::Blocked,
            TenantState::Deleted => TenantStateKind::Deleted,
            TenantState::Filling => TenantStateKind::Filling,
        };
        kind as i32
    }
}

/// For whom a handle works: who is let through in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pass {
    /// The tenant's users.
    #[default]
    Ordinary,
    /// Whoever manages tenants: reads them as well while they are blocked or filled.
    Operator,
    /// A clone or an import that fills the tenant: writes while it is being filled, and only then.
    Fill,
}

/// Fails unless a transaction may begin on the tenant.
pub(crate) fn check_begin(header: &TenantHeader, id: u64, pass: Pass) -> Result<()> {
    match (TenantState::stored(header.state)?, pass) {
        (TenantState::Deleted, _) => {
            Err(Error::new(Code::TenantNotFound, format!("the tenant with the id {id} has been deleted")))
        }
        (TenantState::Filling, Pass::Fill) => Ok(()),
        (_, Pass::Fill) => Err(Error::new(
            Code::TenantFilling,
            "it is not being filled any more: the clone or import has ended, or somebody else finished it",
        )),
        (TenantState::Active | TenantState::ReadOnly, _) | (_, Pass::Operator) => Ok(()),
        (TenantState::Blocked, Pass::Ordinary) => Err(suspended(Code::TenantSuspended, header)),
        (TenantState::Filling, Pass::Ordinary) => Err(filling()),
    }
}

/// Fails unless what a transaction has written in the tenant may be committed.
pub(crate) fn check_commit(header: &TenantHeader, id: u64, pass: Pass) -> Result<()> {
    check_begin(header, id, pass)?;
    match (TenantState::stored(header.state)?, pass) {
        (TenantState::Active, _) | (TenantState::Filling, Pass::Fill) => Ok(()),
        (TenantState::ReadOnly, _) => Err(suspended(Code::TenantReadOnly, header)),
        (TenantState::Filling, _) => Err(filling()),
        _ => Err(suspended(Code::TenantSuspended, header)),
    }
}

/// Whether an error says that a tenant is in a state that may pass, so that work on it can wait.
pub(crate) fn is_of_state(error: &Error) -> bool {
    matches!(
        error.code(),
        Code::TenantReadOnly | Code::TenantSuspended | Code::TenantFilling | Code::TenantNotFound
    )
}

fn suspended(code: Code, header: &TenantHeader) -> Error {
    let reason = if header.reason.is_empty() { "no reason was given" } else { &header.reason };
    Error::new(code, reason)
}

fn filling() -> Error {
    Error::new(
        Code::TenantFilling,
        "a clone or an import into it is not complete: wait for it, or run it again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_let_through_in_which_state() {
        use TenantState::*;
        let code = |result: Result<()>| result.err().map(|error| error.code());
        let gone = Some(Code::TenantNotFound);
        let (read_only, blocked, filling) =
            (Some(Code::TenantReadOnly), Some(Code::TenantSuspended), Some(Code::TenantFilling));
        let table = [
            (Active, Pass::Ordinary, None, None),
            (ReadOnly, Pass::Ordinary, None, read_only),
            (Blocked, Pass::Ordinary, blocked, blocked),
            (Deleted, Pass::Ordinary, gone, gone),
            (Filling, Pass::Ordinary, filling, filling),
            (Active, Pass::Operator, None, None),
            (ReadOnly, Pass::Operator, None, read_only),
            (Blocked, Pass::Operator, None, blocked),
            (Deleted, Pass::Operator, gone, gone),
            (Filling, Pass::Operator, None, filling),
            (Active, Pass::Fill, filling, filling),
            (ReadOnly, Pass::Fill, filling, filling),
            (Blocked, Pass::Fill, filling, filling),
            (Deleted, Pass::Fill, gone, gone),
            (Filling, Pass::Fill, None, None),
        ];
        for (state, pass, begin, commit) in table {
            let header = TenantHeader { state: state.number(), ..TenantHeader::default() };
            assert_eq!(code(check_begin(&header, 1, pass)), begin, "{state:?} {pass:?}");
            assert_eq!(code(check_commit(&header, 1, pass)), commit, "{state:?} {pass:?}");
            assert_eq!(TenantState::from_name(state.name()), Some(state));
            assert_eq!(TenantState::stored(state.number()).unwrap(), state);
        }
        assert_eq!(TenantState::stored(99).unwrap_err().code(), Code::DatabaseFormat);
    }

    #[test]
    fn who_is_refused_is_told_why() {
        let header = TenantHeader {
            state: TenantState::Blocked.number(),
            reason: "the bill of May".to_owned(),
            ..TenantHeader::default()
        };
        let error = check_begin(&header, 1, Pass::Ordinary).unwrap_err();
        assert_eq!(error.to_string(), "The tenant is suspended: the bill of May (error 20014)");
    }
}
