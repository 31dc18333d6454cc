//! Row policies, read and typed against a record type.

use crate::error::{Code, Error, Result, shown};
use crate::expression::{Expression, Node, value_text};
use crate::schema::RecordType;
use crate::value::{Name, Value};

use super::grant::{Grant, RowPolicy};

/// The policy of a grant for a record type of a schema.
#[derive(Debug)]
pub(crate) struct CompiledPolicy {
    read: Expression,
    /// None where it is the same.
    write: Option<Expression>,
    /// What tells it from others: its text and its claims.
    identity: String,
}

impl CompiledPolicy {
    /// Types a policy. What does not fit refuses everything: a policy that cannot be applied is none that lets anything through.
    pub(super) fn new(grant: &Grant, policy: &RowPolicy, record_type: &RecordType) -> Result<CompiledPolicy> {
        let compile = |text: &str| {
            let (name, fields) = (&record_type.name, &record_type.fields);
            Expression::parse_with_claims(text, name, fields, grant.claims()).map_err(|error| {
                let detail = format!("the row policy for {}: {}", shown(name), error.detail());
                Error::new(Code::PolicyInvalid, detail)
            })
        };
        let mut identity = String::new();
        for text in [&policy.read, policy.of_writes()] {
            identity.push_str(&format!("{}:{text}", text.len()));
        }
        for (name, value) in grant.claims() {
            let value = value_text(value);
            identity.push_str(&format!("{}:{name}{}:{value}", name.len(), value.len()));
        }
        let write = policy.write.as_deref().map(compile).transpose()?;
        Ok(CompiledPolicy { read: compile(&policy.read)?, write, identity })
    }

    /// Whether a record of these values is seen.
    pub(crate) fn shows(&self, values: &[(Name, Value)]) -> bool {
        self.read.holds(values)
    }

    /// Whether a record of these values may be written over, or be what is written.
    pub(crate) fn lets_write(&self, values: &[(Name, Value)]) -> bool {
        self.write.as_ref().unwrap_or(&self.read).holds(values)
    }

    /// What tells it from others.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// The condition of whoever asks, and that of the policy.
    pub(crate) fn and(&self, filter: Option<Expression>) -> Expression {
        let own = self.read.conjuncts().into_iter().cloned();
        let asked = filter.iter().flat_map(Expression::conjuncts).cloned();
        let nodes: Vec<Node> = asked.chain(own).collect();
        match <[Node; 1]>::try_from(nodes) {
            Ok([root]) => Expression { root },
            Err(nodes) => Expression { root: Node::And(nodes) },
        }
    }
}
