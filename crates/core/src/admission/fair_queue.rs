//! Weighted fair queueing over tenants: start-time fair queueing, with two classes.
//!
//! A tenant has a tag in virtual time. Whoever of the tenants that wait has the least tag is next, and its tag goes on by what its transaction costs over its weight. A tenant that comes back
//! begins at the tag of whoever was let in last, so that nobody saves up. What a transaction costs is known behind it: it is charged an estimate, and the tag
//! is corrected at its end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::bucket::Bucket;
use super::lease::{Demand, Granted, WHOLE_PPM};
use super::waiting::Waiter;
use super::{Account, Admitted, Class, Cost, Effective, PoolSettings, throttled};
use crate::error::Result;
use crate::limits::TENANT_WEIGHT_DEFAULT;

/// The virtual time of one unit of cost at weight one.
const TAG_PER_COST: u64 = 1 << 20;
/// The bytes that cost as much as an operation.
const BYTES_PER_COST: u64 = 1_000;
/// Of so many transactions that are let in, one is of the lower class, if one waits.
const LOWER_CLASS_EVERY: u32 = 16;
/// How many tenants are kept before those that say nothing any more are dropped.
const SHARES_KEPT: usize = 1_000;
/// A wait for ever, as far as anybody waits.
const FOR_EVER: Duration = Duration::from_secs(3_600);

/// What one class of a tenant's transactions waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Nothing waits.
    #[default]
    Idle,
    /// It is in the order of the tags.
    Ready,
    /// Until its rate allows it.
    Blocked,
    /// Until one of its transactions ends.
    Full,
}

#[derive(Default)]
struct Line {
    tag: u64,
    place: Place,
    /// Of one that is blocked: when it is looked at again.
    until: Duration,
    waiters: VecDeque<Arc<Waiter>>,
}

/// A lease on the rates.
#[derive(Clone, Copy)]
struct Lease {
    renew_at: Duration,
    ends_at: Duration,
    /// Whether it is written nowhere.
    is_assumed: bool,
}

/// What the queue knows of a tenant.
struct Share {
    account: Arc<Account>,
    weight: u64,
    transactions_max: usize,
    operations: Option<Bucket>,
    bytes: Option<Bucket>,
    limits: Option<Effective>,
    share_ppm: u64,
    lease: Option<Lease>,
    /// Whether somebody is renewing it, and until when that is believed.
    renewing_until: Duration,
    /// What was used since the lease was renewed, and since when.
    used: Cost,
    used_since: Duration,
    was_held: bool,
    /// What a transaction costs, about.
    estimate: Cost,
    lines: [Line; 2],
}

/// The queue.
pub(super) struct FairQueue {
    settings: PoolSettings,
    shares: BTreeMap<u64, Share>,
    waiting: usize,
    /// By tag, for each class.
    ready: [BTreeSet<(u64, u64)>; 2],
    /// By when to look again: tenant and class.
    blocked: BTreeSet<(Duration, u64, usize)>,
    /// The tag of whoever was let in last, for each class.
    virtual_time: [u64; 2],
    since_lower: u32,
    sweep_at: usize,
}

fn line_of(class: Class) -> usize {
    match class {
        Class::Normal | Class::Immediate => 0,
        Class::Batch | Class::Background => 1,
    }
}

impl Cost {
    /// How far it moves a tag.
    fn tag(self, weight: u64) -> u64 {
        let cost = self.operations.max(1).saturating_add(self.size_bytes / BYTES_PER_COST);
        (cost.saturating_mul(TAG_PER_COST) / weight.max(1)).max(1)
    }

    /// The running average with another one.
    fn with(self, other: Cost) -> Cost {
        let average = |old: u64, new: u64| (7 * old + new + 4) / 8;
        Cost {
            operations: average(self.operations, other.operations),
            size_bytes: average(self.size_bytes, other.size_bytes),
        }
    }
}

impl Share {
    fn new(account: &Arc<Account>, now: Duration) -> Share {
        Share {
            account: account.clone(),
            weight: TENANT_WEIGHT_DEFAULT,
            transactions_max: usize::MAX,
            operations: None,
            bytes: None,
            limits: None,
            share_ppm: 0,
            lease: None,
            renewing_until: Duration::ZERO,
            used: Cost::default(),
            used_since: now,
            was_held: false,
            estimate: Cost { operations: 1, size_bytes: 0 },
            lines: Default::default(),
        }
    }

    fn has_rate(&self) -> bool {
        self.operations.is_some() || self.bytes.is_some()
    }

    fn buckets(&mut self) -> impl Iterator<Item = &mut Bucket> {
        self.operations.iter_mut().chain(self.bytes.iter_mut())
    }

    /// Whether the rates let a transaction in; otherwise how long until they may.
    fn rate_allows(&mut self, class: Class, now: Duration) -> std::result::Result<(), Duration> {
        if class == Class::Background {
            return Ok(());
        }
        self.end_lease(now);
        self.buckets().for_each(|bucket| bucket.fill(now));
        let has_some = self.buckets().all(|bucket| bucket.has_some());
        match has_some {
            true => Ok(()),
            false => Err(self.wait(0).unwrap_or(FOR_EVER)),
        }
    }

    /// Once the lease has run out, others may have what it was of.
    fn end_lease(&mut self, now: Duration) {
        if self.has_rate() && self.share_ppm > 0 && self.lease.is_none_or(|lease| lease.ends_at <= now) {
            self.set_share(0, now);
        }
    }

    fn set_share(&mut self, share_ppm: u64, now: Duration) {
        self.share_ppm = share_ppm;
        let Some(limits) = self.limits else { return };
        let change = |bucket: &mut Option<Bucket>, rate: Option<u64>| {
            *bucket = match (bucket.take(), rate) {
                (Some(mut bucket), Some(rate)) => {
                    bucket.change(rate, share_ppm, now);
                    Some(bucket)
                }
                (None, Some(rate)) => Some(Bucket::new(rate, share_ppm, now)),
                (_, None) => None,
            };
        };
        change(&mut self.operations, limits.operations_per_second);
        change(&mut self.bytes, limits.bytes_per_second);
    }

    /// How long until the rates let in a transaction that has so many before it.
    fn wait(&self, before: u64) -> Option<Duration> {
        let of = |bucket: &Option<Bucket>, each: u64| match bucket {
            Some(bucket) => bucket.wait(before.saturating_mul(each)),
            None => Some(Duration::ZERO),
        };
        let operations = of(&self.operations, self.estimate.operations)?;
        Some(operations.max(of(&self.bytes, self.estimate.size_bytes)?))
    }

    fn charge(&mut self, cost: Cost) {
        if let Some(bucket) = &mut self.operations {
            bucket.take(cost.operations);
        }
        if let Some(bucket) = &mut self.bytes {
            bucket.take(cost.size_bytes);
        }
    }

    fn refund(&mut self, cost: Cost) {
        if let Some(bucket) = &mut self.operations {
            bucket.give_back(cost.operations);
        }
        if let Some(bucket) = &mut self.bytes {
            bucket.give_back(cost.size_bytes);
        }
    }

    /// Whether it says something that a new one would not.
    fn is_needed(&self, virtual_time: &[u64; 2]) -> bool {
        self.limits.is_some()
            || self
                .lines
                .iter()
                .zip(virtual_time)
                .any(|(line, now)| !line.waiters.is_empty() || line.tag > *now)
    }
}

impl FairQueue {
    pub(super) fn new(settings: PoolSettings) -> FairQueue {
        FairQueue {
            settings,
            shares: BTreeMap::new(),
            waiting: 0,
            ready: Default::default(),
            blocked: BTreeSet::new(),
            virtual_time: [0; 2],
            since_lower: 0,
            sweep_at: SHARES_KEPT,
        }
    }

    pub(super) fn settings(&self) -> &PoolSettings {
        &self.settings
    }

    pub(super) fn set_settings(&mut self, settings: PoolSettings) {
        self.settings = settings;
        let full: Vec<u64> = self.shares.keys().copied().collect();
        full.into_iter().for_each(|tenant| self.make_ready(tenant, Place::Full));
    }

    fn share(&mut self, account: &Arc<Account>, now: Duration) -> &mut Share {
        if self.shares.len() >= self.sweep_at && !self.shares.contains_key(&account.tenant) {
            let virtual_time = self.virtual_time;
            self.shares.retain(|_, share| share.is_needed(&virtual_time));
            self.sweep_at = SHARES_KEPT.max(2 * self.shares.len());
        }
        self.shares.entry(account.tenant).or_insert_with(|| Share::new(account, now))
    }

    /// Puts somebody at the end of its tenant's line.
    pub(super) fn push(&mut self, account: &Arc<Account>, waiter: Arc<Waiter>) -> Result<()> {
        let (total, settings) = (self.waiting, self.settings.clone());
        let line = line_of(waiter.class);
        let virtual_time = self.virtual_time[line];
        let share = self.share(account, Duration::ZERO);
        let of_tenant: usize = share.lines.iter().map(|line| line.waiters.len()).sum();
        if total >= settings.waiting_max || of_tenant >= settings.waiting_per_tenant_max {
            return Err(throttled(
                &format!("{of_tenant} transactions of the tenant and {total} in all wait already"),
                settings.queue_deadline / 2,
            ));
        }
        let line_of_share = &mut share.lines[line];
        line_of_share.waiters.push_back(waiter);
        if line_of_share.place == Place::Idle {
            line_of_share.tag = line_of_share.tag.max(virtual_time);
            line_of_share.place = Place::Ready;
            let tag = line_of_share.tag;
            self.ready[line].insert((tag, account.tenant));
        }
        self.waiting += 1;
        Ok(())
    }

    /// Takes somebody out who does not want to wait any more. False if it is not there.
    pub(super) fn remove(&mut self, account: &Account, waiter: &Arc<Waiter>) -> bool {
        let Some(share) = self.shares.get_mut(&account.tenant) else { return false };
        let waiters = &mut share.lines[line_of(waiter.class)].waiters;
        let Some(place) = waiters.iter().position(|other| Arc::ptr_eq(other, waiter)) else { return false };
        waiters.remove(place);
        self.waiting -= 1;
        // Where that leaves nobody, the line is found to be empty when it is its turn.
        true
    }

    pub(super) fn has_ready(&self) -> bool {
        self.ready.iter().any(|ready| !ready.is_empty())
    }

    /// Puts lines in order again whose rate may allow them now.
    pub(super) fn unblock(&mut self, now: Duration) {
        while let Some((at, tenant, line)) = self.blocked.first().copied() {
            if at > now {
                return;
            }
            self.blocked.pop_first();
            self.put_in_order(tenant, line, Place::Blocked);
        }
    }

    /// Puts the lines of a tenant in order that are at a place.
    fn make_ready(&mut self, tenant: u64, from: Place) {
        (0..2).for_each(|line| self.put_in_order(tenant, line, from));
    }

    fn put_in_order(&mut self, tenant: u64, line: usize, from: Place) {
        let virtual_time = self.virtual_time[line];
        let Some(share) = self.shares.get_mut(&tenant) else { return };
        let line_of_share = &mut share.lines[line];
        if line_of_share.place != from || from == Place::Idle || from == Place::Ready {
            return;
        }
        // While it was held, it had no claim to what others got.
        line_of_share.tag = line_of_share.tag.max(virtual_time);
        line_of_share.place = Place::Ready;
        self.ready[line].insert((line_of_share.tag, tenant));
        self.blocked.remove(&(line_of_share.until, tenant, line));
    }

    /// Whoever is next, let in and charged. The caller has a place for it.
    pub(super) fn next(&mut self, now: Duration, per_tenant_max: usize) -> Option<Arc<Waiter>> {
        loop {
            let is_lower_due = self.since_lower >= LOWER_CLASS_EVERY && !self.ready[1].is_empty();
            let line = usize::from(self.ready[0].is_empty() || is_lower_due);
            let (tag, tenant) = self.ready[line].pop_first()?;
            let Some(share) = self.shares.get_mut(&tenant) else { continue };
            let Some(first) = share.lines[line].waiters.front() else {
                share.lines[line].place = Place::Idle;
                continue;
            };
            let class = first.class;
            if let Err(wait) = share.rate_allows(class, now) {
                (share.lines[line].place, share.lines[line].until) = (Place::Blocked, now + wait);
                // Without a lease it is not known yet whether there is too little.
                share.was_held |= share.share_ppm > 0;
                self.blocked.insert((now + wait, tenant, line));
                continue;
            }
            let most = share.transactions_max.min(per_tenant_max);
            if !super::take(&share.account.in_flight, most) {
                share.lines[line].place = Place::Full;
                continue;
            }
            let charge = share.estimate;
            if class != Class::Background {
                share.charge(charge);
            }
            let step = charge.tag(share.weight);
            let line_of_share = &mut share.lines[line];
            let waiter = line_of_share.waiters.pop_front()?;
            line_of_share.tag = tag.saturating_add(step);
            match line_of_share.waiters.is_empty() {
                true => line_of_share.place = Place::Idle,
                false => drop(self.ready[line].insert((line_of_share.tag, tenant))),
            }
            self.virtual_time[line] = self.virtual_time[line].max(tag);
            self.since_lower = if line == 1 { 0 } else { self.since_lower.saturating_add(1) };
            self.waiting -= 1;
            waiter.admit(charge);
            return Some(waiter);
        }
    }

    /// Puts right what a transaction was charged for.
    pub(super) fn settle(&mut self, permit: &Admitted<'_>, now: Duration) {
        let Admitted { account, class, charge, cost, .. } = permit;
        let Some(share) = self.shares.get_mut(&account.tenant) else { return };
        let cost = Cost { operations: cost.operations.max(1), ..*cost };
        if share.has_rate() || charge.is_some() {
            share.estimate = share.estimate.with(cost);
        }
        if *class != Class::Background {
            share.buckets().for_each(|bucket| bucket.fill(now));
            share.refund(charge.unwrap_or_default());
            share.charge(cost);
            share.used.operations += cost.operations;
            share.used.size_bytes += cost.size_bytes;
        }
        if let Some(charge) = charge {
            let (weight, index) = (share.weight, line_of(*class));
            let (charged, due) = (charge.tag(weight), cost.tag(weight));
            let line = &mut share.lines[index];
            let tag = line.tag.saturating_sub(charged).saturating_add(due);
            if line.place == Place::Ready {
                self.ready[index].remove(&(line.tag, account.tenant));
                self.ready[index].insert((tag, account.tenant));
            }
            line.tag = tag;
        }
        self.make_ready(account.tenant, Place::Full);
    }

    /// Notes that somebody was turned away.
    pub(super) fn note_held(&mut self, account: &Account) {
        if let Some(share) = self.shares.get_mut(&account.tenant) {
            share.was_held = true;
        }
    }

    /// How long a waiter waits for its tenant's rate, as things stand; none for one that waits for something else.
    pub(super) fn wait_for_rate(
        &mut self,
        account: &Account,
        waiter: &Arc<Waiter>,
        now: Duration,
    ) -> Option<Duration> {
        let share = self.shares.get_mut(&account.tenant)?;
        if waiter.class == Class::Background || !share.has_rate() || share.share_ppm == 0 {
            return None;
        }
        share.buckets().for_each(|bucket| bucket.fill(now));
        let waiters = &share.lines[line_of(waiter.class)].waiters;
        let before = waiters.iter().position(|other| Arc::ptr_eq(other, waiter))?;
        share.wait(before as u64)
    }

    /// The limits that hold for a tenant from now on.
    pub(super) fn set_limits(&mut self, account: &Arc<Account>, limits: Option<&Effective>, now: Duration) {
        let share = self.share(account, now);
        share.weight = limits.map_or(TENANT_WEIGHT_DEFAULT, |limits| limits.weight);
        let transactions = limits.and_then(|limits| limits.transactions);
        share.transactions_max =
            transactions.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        share.limits = limits.copied();
        let share_ppm = share.share_ppm;
        match limits.is_some_and(Effective::has_rate) {
            true => share.set_share(share_ppm, now),
            false => {
                (share.operations, share.bytes, share.lease) = (None, None, None);
                share.share_ppm = 0;
            }
        }
        self.make_ready(account.tenant, Place::Blocked);
        self.make_ready(account.tenant, Place::Full);
    }

    pub(super) fn is_leased(&self, account: &Account) -> bool {
        self.shares.get(&account.tenant).is_some_and(Share::has_rate)
    }

    pub(super) fn lease_is_due(&self, account: &Account, now: Duration) -> bool {
        self.shares.get(&account.tenant).is_some_and(|share| {
            share.has_rate()
                && share.renewing_until <= now
                && share.lease.is_none_or(|lease| lease.renew_at <= now)
        })
    }

    /// What this process wants of a tenant's rates, if the lease is due. Whoever gets an answer renews it.
    pub(super) fn demand(&mut self, account: &Account, now: Duration) -> Option<Demand> {
        if !self.lease_is_due(account, now) {
            return None;
        }
        let share = self.shares.get_mut(&account.tenant)?;
        let limits = share.limits?;
        // Whoever renews it may give up: then another one does.
        share.renewing_until = now + Duration::from_secs(1);
        let mut used = share.used;
        let mut elapsed_us = now.saturating_sub(share.used_since).as_micros().max(1);
        if share.lease.is_none() {
            // Of somebody who just came all that is known is who waits.
            let waiting: usize = share.lines.iter().map(|line| line.waiters.len()).sum();
            used.operations = share.estimate.operations.saturating_mul(waiting as u64);
            used.size_bytes = share.estimate.size_bytes.saturating_mul(waiting as u64);
            elapsed_us = 1_000_000;
        }
        let part = |used: u64, rate: Option<u64>| match rate {
            Some(rate) => {
                let of_rate = u128::from(rate).saturating_mul(elapsed_us).max(1);
                let used = u128::from(used).saturating_mul(1_000_000).saturating_mul(u128::from(WHOLE_PPM));
                u64::try_from(used / of_rate).unwrap_or(WHOLE_PPM)
            }
            None => 0,
        };
        let used_ppm = part(used.operations, limits.operations_per_second)
            .max(part(used.size_bytes, limits.bytes_per_second));
        let waits = share.share_ppm > 0 && share.lines.iter().any(|line| line.place == Place::Blocked);
        let is_new = share.lease.is_none();
        let demand = Demand::of(used_ppm, share.share_ppm, is_new, share.was_held || waits);
        (share.used, share.used_since, share.was_held) = (Cost::default(), now, false);
        Some(demand)
    }

    /// The part of the rates that this process has from now on.
    pub(super) fn set_lease(&mut self, account: &Account, granted: Granted, now: Duration) {
        let Some(share) = self.shares.get_mut(&account.tenant) else { return };
        share.renewing_until = Duration::ZERO;
        let Granted { renew_after, holds_for, is_assumed, .. } = granted;
        share.lease = Some(Lease { renew_at: now + renew_after, ends_at: now + holds_for, is_assumed });
        share.set_share(granted.share_ppm, now);
        self.make_ready(account.tenant, Place::Blocked);
    }

    /// The lease could not be renewed. What is left of it holds, and another try is made before it ends. False where nothing is left.
    pub(super) fn keep_lease(&mut self, account: &Account, renew_after: Duration, now: Duration) -> bool {
        let Some(share) = self.shares.get_mut(&account.tenant) else { return true };
        let Some(lease) = &mut share.lease else { return false };
        if lease.is_assumed || lease.ends_at <= now {
            return false;
        }
        lease.renew_at = lease.ends_at.min(now + renew_after);
        share.renewing_until = Duration::ZERO;
        true
    }
}
