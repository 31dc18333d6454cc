use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tenantry_kv::KvFuture;
use tenantry_kv::conformance::reference::{ManualClock, manual_env_with_clock};

use super::*;

const MILLISECOND: Duration = Duration::from_millis(1);

/// A timer that wakes nobody: who waits is polled by hand.
struct ByHand(Arc<ManualClock>);

impl Timer for ByHand {
    fn sleep(&self, duration: Duration) -> KvFuture<()> {
        let clock = self.0.clone();
        let until = clock.monotonic() + duration;
        KvFuture::pending(std::future::poll_fn(move |_| match clock.monotonic() >= until {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }))
    }
}

fn admission() -> (Admission, Arc<ManualClock>) {
    let (mut env, clock) = manual_env_with_clock();
    env.timer = Arc::new(ByHand(clock.clone()));
    (Admission::new(&env), clock)
}

fn settings(transactions_max: usize) -> PoolSettings {
    PoolSettings { transactions_max, ..PoolSettings::default() }
}

fn operations(operations: u64) -> Cost {
    Cost { operations, size_bytes: 0 }
}

fn admitted<'a>(admission: &'a Admission, account: &'a Arc<Account>, class: Class) -> Admitted<'a> {
    match admission.arrive(account, class, None).unwrap() {
        Arrival::Admitted(permit) => permit,
        Arrival::Queued(_) => panic!("it has to wait"),
    }
}

fn queued<'a>(admission: &'a Admission, account: &'a Arc<Account>, class: Class) -> Queued<'a> {
    match admission.arrive(account, class, Some(Duration::MAX)).unwrap() {
        Arrival::Admitted(_) => panic!("it does not wait"),
        Arrival::Queued(queued) => queued,
    }
}

type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Admitted<'a>>> + 'a>>;

fn waiting<'a>(queued: Queued<'a>) -> Waiting<'a> {
    Box::pin(async move {
        match queued.wait().await? {
            Event::Admitted(permit) => Ok(permit),
            Event::LeaseDue => panic!("there is no rate"),
        }
    })
}

fn poll<'a>(waiting: &mut Waiting<'a>) -> Option<Result<Admitted<'a>>> {
    match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

/// Tenants that always want more than they get, with one place, transactions of different costs, and weights: what each got after so many turns.
fn served(tenants: &[(u64, u64, u64, Class)], turns: usize) -> BTreeMap<u64, u64> {
    let (admission, clock) = admission();
    admission.set_settings(settings(1)).unwrap();
    let accounts: Vec<_> = tenants.iter().map(|(tenant, ..)| admission.account(*tenant)).collect();
    for ((_, weight, _, _), account) in tenants.iter().zip(&accounts) {
        let limits = TenantLimits::none().with(Limit::Weight, *weight);
        admission.set_limits(account, Some(&Effective::of(&limits)));
    }
    let holder = admission.account(1_000);
    let mut running = Some((admitted(&admission, &holder, Class::Normal), 0));
    let mut lines: Vec<Vec<Waiting<'_>>> = Vec::new();
    for ((.., class), account) in tenants.iter().zip(&accounts) {
        lines.push((0..3).map(|_| waiting(queued(&admission, account, *class))).collect());
    }
    let mut served = BTreeMap::new();
    for _ in 0..turns {
        clock.advance(MILLISECOND);
        if let Some((permit, cost)) = running.take() {
            permit.close(operations(cost));
        }
        for (index, (tenant, _, cost, class)) in tenants.iter().enumerate() {
            let found = (0..lines[index].len()).find_map(|at| Some((at, poll(&mut lines[index][at])?)));
            let Some((at, permit)) = found else { continue };
            drop(lines[index].remove(at));
            lines[index].push(waiting(queued(&admission, &accounts[index], *class)));
            *served.entry(*tenant).or_default() += cost;
            running = Some((permit.unwrap(), *cost));
        }
        assert!(running.is_some(), "somebody waits and nobody runs");
    }
    served
}

#[test]
fn weights_are_kept_whatever_a_transaction_costs() {
    let tenants = [
        (1, 100, 1, Class::Normal),
        (2, 200, 1, Class::Normal),
        (3, 400, 7, Class::Normal),
        (4, 100, 40, Class::Normal),
    ];
    let served = served(&tenants, 20_000);
    let total: u64 = served.values().sum();
    for (tenant, weight, ..) in tenants {
        let due = total as f64 * weight as f64 / 800.0;
        let found = served[&tenant] as f64;
        assert!((found - due).abs() < 0.1 * due, "tenant {tenant} got {found}, {due} were due: {served:?}");
    }
}

#[test]
fn the_lower_class_is_behind_and_does_not_starve() {
    let served = served(&[(1, 100, 1, Class::Normal), (2, 100, 1, Class::Batch)], 1_700);
    assert!(served[&2].abs_diff(100) <= 2 && served[&1] > 1_590, "{served:?}");
}

#[test]
fn nothing_is_left_behind_by_those_who_give_up() {
    let (admission, _) = admission();
    admission.set_settings(settings(1)).unwrap();
    let (first, second) = (admission.account(2), admission.account(1));
    let running = admitted(&admission, &first, Class::Normal);
    let gives_up = queued(&admission, &second, Class::Normal);
    let is_admitted = queued(&admission, &second, Class::Normal);
    let mut waits = waiting(queued(&admission, &first, Class::Normal));
    assert_eq!(admission.statistics().pending_requests, 3);
    drop(gives_up);
    assert_eq!(admission.statistics().pending_requests, 2);
    assert!(poll(&mut waits).is_none());
    // The second is let in and never looks.
    drop(running);
    assert!(poll(&mut waits).is_none());
    drop(is_admitted);
    let permit = poll(&mut waits).unwrap().unwrap();
    assert_eq!((admission.statistics().pending_requests, admission.statistics().used), (0, 1));
    drop((permit, waits));
    let statistics = admission.statistics();
    assert_eq!((statistics.used, statistics.wait_time.count, statistics.use_time.count), (0, 3, 3));
    // With nobody waiting, nobody looks at the queue.
    drop(admitted(&admission, &second, Class::Normal));
    assert!(!admission.is_crowded.load(Ordering::SeqCst));
}

#[test]
fn one_tenant_has_its_places_and_others_theirs() {
    let (admission, clock) = admission();
    admission.set_settings(PoolSettings { transactions_per_tenant_max: 2, ..settings(3) }).unwrap();
    let (greedy, other) = (admission.account(1), admission.account(2));
    let running = [(); 2].map(|()| admitted(&admission, &greedy, Class::Normal));
    let mut waits = waiting(queued(&admission, &greedy, Class::Normal));
    assert!(poll(&mut waits).is_none());
    drop(admitted(&admission, &other, Class::Normal));
    // A limit of its own is lower still.
    let limits = TenantLimits::none().with(Limit::Transactions, 1);
    admission.set_limits(&greedy, Some(&Effective::of(&limits)));
    let [first, second] = running;
    drop(first);
    assert!(poll(&mut waits).is_none());
    drop(second);
    let permit = poll(&mut waits).unwrap().unwrap();
    let mut waits = waiting(queued(&admission, &greedy, Class::Normal));
    assert!(poll(&mut waits).is_none());
    clock.advance(Duration::from_secs(6));
    let error = poll(&mut waits).unwrap().err().unwrap();
    assert_eq!(error.code(), Code::Throttled);
    assert!(error.retry_after().unwrap() > Duration::ZERO, "{error}");
    assert_eq!(admission.statistics().timeouts, 1);
    drop((permit, waits));
    assert_eq!((admission.statistics().used, admission.statistics().pending_requests), (0, 0));
    // Repairs wait for nobody.
    let all: Vec<_> = (0..5).map(|_| admitted(&admission, &greedy, Class::Immediate)).collect();
    assert_eq!(admission.statistics().used, all.len());
}

#[test]
fn who_would_be_one_too_many_is_refused_at_once() {
    let (admission, _) = admission();
    let bounds = PoolSettings { waiting_max: 3, waiting_per_tenant_max: 2, ..settings(1) };
    admission.set_settings(bounds).unwrap();
    let accounts = [1, 2, 3].map(|tenant| admission.account(tenant));
    let running = admitted(&admission, &accounts[0], Class::Normal);
    let waits = [0, 0, 1].map(|index| queued(&admission, &accounts[index], Class::Normal));
    for index in [0, 2] {
        let error = admission.arrive(&accounts[index], Class::Normal, None).err().unwrap();
        assert_eq!(error.code(), Code::Throttled, "{error}");
        assert!(error.retry_after().is_some());
    }
    drop((running, waits));
    assert_eq!((admission.statistics().used, admission.statistics().pending_requests), (0, 0));
    for bad in [settings(0), PoolSettings { queue_deadline: Duration::from_secs(61), ..settings(1) }] {
        assert_eq!(admission.set_settings(bad).unwrap_err().code(), Code::LimitPassed);
    }
}

#[test]
fn a_tenant_that_was_forgotten_finds_its_account_again() {
    let (admission, _) = admission();
    let limited = admission.account(1);
    let limits = TenantLimits::none().with(Limit::Watches, 1);
    let header = Arc::default();
    let effective = Arc::new(Effective::of(&limits));
    assert!(limited.note_limits(&header, 1, Some(&effective)));
    assert!(!limited.note_limits(&header, 2, Some(&effective)));
    let watch = limited.take_watch(effective.watches).unwrap();
    assert_eq!(limited.take_watch(effective.watches).err().unwrap().code(), Code::QuotaExceeded);
    drop(limited);
    for tenant in 2..30_000 {
        drop(admission.account(tenant));
    }
    let again = admission.account(1);
    assert!(again.take_watch(effective.watches).is_err());
    drop(watch);
    assert!(again.take_watch(effective.watches).is_ok());
    assert!(admission.accounts.lock().unwrap().len() < 25_000);
}

/// A renewal that failed once gave every process the whole rate, whatever the others had leased.
#[test]
fn a_lease_that_is_not_renewed_holds_to_its_end() {
    let (admission, clock) = admission();
    let account = admission.account(1);
    let limits = TenantLimits::none().with(Limit::OperationsPerSecond, 1_000);
    admission.set_limits(&account, Some(&Effective::of(&limits)));
    let second = Duration::from_secs(1);
    let granted =
        |share_ppm, is_assumed| Granted { share_ppm, renew_after: second, holds_for: 3 * second, is_assumed };
    let alone = granted(WHOLE_PPM, true);
    // How many operations come in so many steps, for whoever takes all.
    let taken = |milliseconds: u32| {
        let mut taken = 0;
        for _ in 0..milliseconds {
            while let Ok(Arrival::Admitted(permit)) = admission.arrive(&account, Class::Normal, None) {
                permit.close(operations(1));
                taken += 1;
            }
            clock.advance(MILLISECOND);
        }
        taken
    };
    admission.set_lease(&account, granted(WHOLE_PPM / 10, false));
    taken(500);
    for _ in 0..10 {
        admission.lease_failed(&account, alone, second / 4);
        assert!((20..=30).contains(&taken(250)));
    }
    // It has run out: there is nothing to keep, and nobody who could say that there are others.
    assert!(taken(250) <= 2);
    for _ in 0..3 {
        admission.lease_failed(&account, alone, second / 4);
        taken(1_000);
        // The assumption is made again, and not kept to its end: that would be a gap.
        admission.lease_failed(&account, alone, second / 4);
        assert!((990..=1_010).contains(&taken(1_000)));
    }
}
