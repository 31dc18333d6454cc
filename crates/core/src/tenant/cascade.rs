//! Deletions that take along more records than one transaction can: in steps, from the leaves on, so that each step is a deletion like any other.
//!
//! A step tries the record itself. If it takes too many along, the step deletes those that refer to it, one after the other, with all that these take along. If
//! the first of them takes too many along as well, the step goes down to it, and to the record where these became too many, and tries there. What it went down to
//! stands on a stack. So no record is ever without one that it refers to, and the record itself goes last, in a transaction that looks with a conflict for whatever
//! has come to refer to it meanwhile.
//!
//! Before a record of the stack is tried, the way from it up to the record itself is read with a conflict: one that somebody let refer to another record stays.

use std::collections::{BTreeMap, VecDeque};

use tenantry_kv::Isolation;
use tenantry_kv::tuple::{self, Element};

use super::records::Stored;
use super::references::{DeletePlan, Obstacle, Outlook};
use super::transaction::TenantTransaction;
use crate::access::Operation;
use crate::error::{Code, Error, Result, shown};
use crate::limits::{CASCADE_CLIMB_RECORDS_MAX, CASCADE_RECORDS_MAX};
use crate::messages::{CascadeCursor, RecordName};
use crate::record::{PrimaryKey, RecordKeys};
use crate::schema::{OnDelete, RecordType};

/// The records on the stack, and what their keys take. The first ones give way: they are found again.
const STACK_RECORDS_MAX: usize = 32;
const STACK_SIZE_BYTES_MAX: usize = 8_000;
/// How many records a step tries: each reads up to as many as the step may delete.
const TRIES_MAX: usize = 8;

/// What a deletion in several transactions did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cascaded {
    /// How many records were deleted, the one itself among them. None if it was not there.
    pub deleted: u64,
    /// How many stay, without what they referred to.
    pub changed: u64,
}

/// How a step of it ended.
#[derive(Debug)]
pub(crate) enum CascadeStep {
    More(CascadeCursor),
    Done(Cascaded),
    /// It cannot go on; what was deleted stays so.
    Refused(Cascaded, Error),
}

/// A record of a type.
struct Node<'a> {
    record_type: &'a RecordType,
    keys: RecordKeys,
}

/// A step under way.
struct Cascade<'a> {
    transaction: &'a TenantTransaction,
    root: Node<'a>,
    cursor: CascadeCursor,
    /// How many more records this step deletes or changes.
    left: usize,
    /// How many more records it tries.
    tries: usize,
    has_progress: bool,
}

/// What comes behind a try.
enum Next {
    /// Another one in this step.
    Again,
    /// The step is over.
    Pause,
    Done,
}

impl TenantTransaction {
    /// Does a step of the deletion of a record with all that it takes along: about so many records are deleted or changed. The first cursor is empty.
    pub(crate) async fn cascade(
        &self,
        record_type: &str,
        key: &PrimaryKey,
        cursor: CascadeCursor,
        records_max: usize,
    ) -> Result<CascadeStep> {
        let record_type = self.permit(Operation::DeleteCascading, record_type)?.record_type;
        self.check_deletion(record_type)?;
        let keys = self.record_keys(record_type, &key.elements(record_type)?)?;
        let mut cascade = Cascade {
            transaction: self,
            root: Node { record_type, keys },
            cursor,
            left: records_max.clamp(1, CASCADE_RECORDS_MAX),
            tries: TRIES_MAX,
            has_progress: false,
        };
        let next = loop {
            match cascade.next().await {
                Ok(Next::Again) => {}
                next => break next,
            }
        };
        let so_far = Cascaded { deleted: cascade.cursor.deleted, changed: cascade.cursor.changed };
        match next {
            Ok(Next::Done) => Ok(CascadeStep::Done(so_far)),
            Ok(_) => Ok(CascadeStep::More(cascade.cursor)),
            // What did not fit any more, or was refused, left nothing behind: the next step begins with it.
            Err(error)
                if cascade.has_progress && (is_refusal(&error) || error.code() == Code::LimitPassed) =>
            {
                Ok(CascadeStep::More(cascade.cursor))
            }
            Err(error) if is_refusal(&error) => Ok(CascadeStep::Refused(so_far, error)),
            Err(error) => Err(error),
        }
    }

    /// Whether the deletion of a record takes another one along, as both are now: the way from the one to the other is read with a conflict.
    async fn is_taken_along(&self, record: &Node<'_>, stored: &Stored, root: &Node<'_>) -> Result<bool> {
        let mut seen = BTreeMap::from([(record.keys.prefix.clone(), ())]);
        let mut queue = VecDeque::from([(record.record_type, stored.clone())]);
        while let Some((record_type, stored)) = queue.pop_front() {
            for reference in record_type.references.iter().filter(|it| it.on_delete == OnDelete::Cascade) {
                let elements = stored.record.elements(&reference.columns, record_type)?;
                if elements.contains(&Element::Nil) {
                    continue;
                }
                let target_type = self.record_type(&reference.to)?;
                let keys = self.record_keys(target_type, &elements)?;
                if keys.prefix == root.keys.prefix {
                    return Ok(true);
                }
                if seen.insert(keys.prefix.clone(), ()).is_some() {
                    continue;
                }
                if seen.len() > CASCADE_CLIMB_RECORDS_MAX {
                    let detail = format!(
                        "a {} hangs on the record to delete by way of more than {CASCADE_CLIMB_RECORDS_MAX} others: delete those in the middle first",
                        shown(&record.record_type.name)
                    );
                    return Err(Error::new(Code::CascadeTooLarge, detail));
                }
                if let Some(stored) = self.load(target_type, &keys, Isolation::Serializable).await? {
                    queue.push_back((target_type, stored));
                }
            }
        }
        Ok(false)
    }
}

impl<'a> Cascade<'a> {
    /// Tries the record on top of the stack.
    async fn next(&mut self) -> Result<Next> {
        if self.tries == 0 || self.left == 0 {
            return Ok(Next::Pause);
        }
        self.tries -= 1;
        let top = self.top()?;
        let is_root = top.keys.prefix == self.root.keys.prefix;
        let stored = self.transaction.load(top.record_type, &top.keys, Isolation::Serializable).await?;
        let Some(stored) = stored else { return Ok(self.pop(is_root)) };
        if !is_root && !self.transaction.is_taken_along(&top, &stored, &self.root).await? {
            return Ok(self.pop(is_root));
        }
        match self.transaction.plan_delete(top.record_type, &top.keys, &stored, self.left - 1).await? {
            Outlook::Fits(plan) => {
                self.delete(plan).await?;
                Ok(self.pop(is_root))
            }
            Outlook::TooMany(of, _) => self.delete_children(&top, &stored, of.error).await,
            Outlook::Restricted(by) => self.go_across(by, &top, &stored).await,
        }
    }

    /// Deletes or changes those that refer to a record, one after the other, as many as there is room for.
    async fn delete_children(&mut self, top: &Node<'a>, stored: &Stored, too_many: Error) -> Result<Next> {
        let transaction = self.transaction;
        let key = stored.record.primary_key(top.record_type)?;
        let mut references: Vec<_> =
            transaction.schema().definition.references_to(&top.record_type.name).collect();
        references.retain(|(_, reference)| reference.on_delete != OnDelete::Restrict);
        // Those that may go all the same need not be changed before.
        references.sort_by_key(|(_, reference)| reference.on_delete == OnDelete::SetNull);
        let mut restricted = None;
        for (child_type, reference) in references {
            for keys in transaction.children(child_type, reference, &key, self.left).await? {
                if self.left == 0 {
                    return Ok(Next::Pause);
                }
                let stored = transaction.load(child_type, &keys, Isolation::Serializable).await?;
                // It may have gone with the one before it.
                let Some(stored) = stored else { continue };
                if reference.on_delete == OnDelete::SetNull {
                    transaction.set_null(child_type, reference, &keys, &stored).await?;
                    self.cursor.changed += 1;
                    self.note_progress(1);
                    continue;
                }
                let child = Node { record_type: child_type, keys };
                match transaction.plan_delete(child_type, &child.keys, &stored, self.left - 1).await? {
                    Outlook::Fits(plan) => self.delete(plan).await?,
                    // The next step has room for more.
                    Outlook::TooMany(..) if self.has_progress => return Ok(Next::Pause),
                    Outlook::TooMany(of, plan) => return self.go_down(of, &plan, &child, &stored).await,
                    Outlook::Restricted(by) => restricted = restricted.or(Some((by, child, stored))),
                }
            }
        }
        match restricted {
            _ if self.has_progress => Ok(Next::Pause),
            Some((by, child, stored)) => self.go_across(by, &child, &stored).await,
            None => Err(too_many),
        }
    }

    /// Does what was planned.
    async fn delete(&mut self, plan: DeletePlan<'a>) -> Result<()> {
        let (records, deleted) = (plan.len(), plan.deleted());
        self.transaction.delete_planned(plan).await.map_err(|error| match error.code() {
            // Fewer records may fit.
            Code::CascadeTooLarge => Error::new(Code::LimitPassed, error.detail()),
            _ => error,
        })?;
        self.cursor.deleted += deleted as u64;
        self.cursor.changed += (records - deleted) as u64;
        self.note_progress(records);
        Ok(())
    }

    fn note_progress(&mut self, records: usize) {
        self.left = self.left.saturating_sub(records);
        self.has_progress = true;
        (self.cursor.descents, self.cursor.passed) = (0, None);
    }

    /// Goes down to a child, and to the record that it takes along where the plan of its deletion became too large.
    async fn go_down(
        &mut self,
        of: Obstacle<'a>,
        plan: &DeletePlan<'a>,
        child: &Node<'a>,
        stored: &Stored,
    ) -> Result<Next> {
        let above = self.stacked().collect::<Result<Vec<_>>>()?;
        let is_above =
            |node: &Node<'_>| node.keys.prefix != child.keys.prefix && plan.deletes(&node.keys.prefix);
        if is_above(&self.root) || above.iter().any(is_above) {
            return self.delete_together(of.error, child, stored).await;
        }
        if of.keys.prefix != child.keys.prefix {
            // Of a chain the far end comes first; where many are beside one another, the child is the one to go on with.
            let error = Error::new(of.error.code(), of.error.detail());
            let between = Obstacle { record_type: child.record_type, keys: child.keys.clone(), error };
            match self.push(between, child, stored).await? {
                Next::Again => {}
                next => return Ok(next),
            }
        }
        self.push(of, child, stored).await
    }

    /// Goes to a record that forbids the deletion of `top`, if it goes as well.
    async fn go_across(&mut self, by: Obstacle<'a>, top: &Node<'a>, stored: &Stored) -> Result<Next> {
        let node = Node { record_type: by.record_type, keys: by.keys.clone() };
        let found = self.transaction.load(node.record_type, &node.keys, Isolation::Serializable).await?;
        let Some(found) = found else { return Err(by.error) };
        if !self.transaction.is_taken_along(&node, &found, &self.root).await? {
            return Err(by.error);
        }
        // It need not be below what is on the stack.
        self.cursor.stack.clear();
        self.push(by, top, stored).await
    }

    async fn push(&mut self, obstacle: Obstacle<'a>, top: &Node<'a>, stored: &Stored) -> Result<Next> {
        let Obstacle { record_type, keys, error } = obstacle;
        let name = RecordName { type_id: record_type.id, key: keys.packed };
        if self.cursor.passed.as_ref() == Some(&name) {
            // It has come round.
            return self.delete_together(error, top, stored).await;
        }
        self.cursor.descents += 1;
        if self.cursor.descents.is_power_of_two() {
            self.cursor.passed = Some(name.clone());
        }
        let stack = &mut self.cursor.stack;
        stack.push(name);
        let size_bytes = |stack: &[RecordName]| stack.iter().map(|name| name.key.len()).sum::<usize>();
        while stack.len() > 1 && (stack.len() > STACK_RECORDS_MAX || size_bytes(stack) > STACK_SIZE_BYTES_MAX)
        {
            stack.remove(0);
        }
        Ok(Next::Again)
    }

    /// Who is in a circle goes with all the others of it, or not at all.
    async fn delete_together(&mut self, error: Error, top: &Node<'a>, stored: &Stored) -> Result<Next> {
        let transaction = self.transaction;
        let plan = transaction.plan_delete(top.record_type, &top.keys, stored, CASCADE_RECORDS_MAX).await?;
        if let Outlook::Fits(plan) = plan {
            return self.delete(plan).await.map(|()| Next::Pause);
        }
        let (root_type, keys) = (self.root.record_type, self.root.keys.clone());
        let Some(stored) = transaction.load(root_type, &keys, Isolation::Serializable).await? else {
            return Ok(Next::Done);
        };
        match transaction.plan_delete(root_type, &keys, &stored, CASCADE_RECORDS_MAX).await? {
            Outlook::Fits(plan) => self.delete(plan).await.map(|()| Next::Done),
            Outlook::Restricted(by) => Err(by.error),
            Outlook::TooMany(..) => {
                let detail = format!("{}; they refer to one another in a circle", error.detail());
                Err(Error::new(error.code(), detail))
            }
        }
    }

    fn top(&self) -> Result<Node<'a>> {
        let root = || Node { record_type: self.root.record_type, keys: self.root.keys.clone() };
        self.stacked().next_back().unwrap_or_else(|| Ok(root()))
    }

    /// What is on the stack.
    fn stacked(&self) -> impl DoubleEndedIterator<Item = Result<Node<'a>>> {
        let transaction = self.transaction;
        self.cursor.stack.iter().map(|RecordName { type_id, key }| {
            let types = &transaction.schema().definition.types;
            let record_type = types.iter().find(|record_type| record_type.id == *type_id);
            let record_type = record_type.ok_or_else(|| {
                Error::new(Code::StoredDataInvalid, "a deletion in steps names a type that is not there")
            })?;
            let keys = transaction.record_keys(record_type, &tuple::unpack(key)?)?;
            Ok(Node { record_type, keys })
        })
    }

    fn pop(&mut self, is_root: bool) -> Next {
        self.cursor.stack.pop();
        (self.cursor.descents, self.cursor.passed) = (0, None);
        if is_root { Next::Done } else { Next::Again }
    }
}

/// Whether no repetition and no smaller step mends it.
fn is_refusal(error: &Error) -> bool {
    use Code::{CascadeTooLarge, ConstraintViolated, ReferenceRestricts, UniqueViolation};
    matches!(error.code(), ReferenceRestricts | CascadeTooLarge | UniqueViolation | ConstraintViolated)
}

#[cfg(test)]
mod tests;
