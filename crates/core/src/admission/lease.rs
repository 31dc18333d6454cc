//! How processes share a tenant's rates: each leases a part of them for a short time, by what it wanted lately: who wants little has that, and the others the rest, alike.

use std::time::Duration;

/// All of a rate, in millionths.
pub(crate) const WHOLE_PPM: u64 = 1_000_000;
/// What a process asks for at least.
const DEMAND_PPM_MIN: u64 = 10_000;
/// How much more than it used a process asks for that nothing held, in percent.
const HEADROOM_PERCENT: u64 = 110;

/// What a process wants of a tenant's rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    /// In millionths of the rates. All of them, where it had to hold somebody.
    pub(crate) demand_ppm: u64,
    /// Whether it has no lease yet.
    pub(crate) is_new: bool,
    /// Whether it had to hold somebody, and does not know what it would have used.
    pub(crate) is_guess: bool,
    /// What it had, in millionths of the rates.
    pub(crate) had_ppm: u64,
}

impl Demand {
    /// The demand of a process that used so many millionths of the rates of so many that it had, and had to hold somebody or not.
    pub(super) fn of(used_ppm: u64, had_ppm: u64, is_new: bool, was_held: bool) -> Demand {
        let demand_ppm = match was_held {
            true => WHOLE_PPM,
            false => (used_ppm.saturating_mul(HEADROOM_PERCENT) / 100).clamp(DEMAND_PPM_MIN, WHOLE_PPM),
        };
        Demand { demand_ppm, is_new, is_guess: was_held, had_ppm }
    }

    /// Whether a part is settled: as much as is due, and not one that was guessed at just now, which may be far more than is used.
    pub(crate) fn is_settled_by(&self, share_ppm: u64, due_ppm: u64) -> bool {
        let has_enough = share_ppm.saturating_add(due_ppm / 20) >= due_ppm;
        let has_grown = share_ppm > self.had_ppm.saturating_add(WHOLE_PPM / 20);
        has_enough && !self.is_new && !(self.is_guess && has_grown)
    }
}

/// What a process got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    /// In millionths of the rates.
    pub(crate) share_ppm: u64,
    /// When it asks again.
    pub(crate) renew_after: Duration,
    /// How long it holds.
    pub(crate) holds_for: Duration,
    /// Whether it is no lease, and the process takes itself for alone.
    pub(crate) is_assumed: bool,
}

/// The part of a process that wants `demand_ppm`, beside others with their demands and what each has: what is due to it, and never more than the others leave.
/// The second number is the part that it ought to have.
pub(crate) fn share_out(demand_ppm: u64, others: &[(u64, u64)]) -> (u64, u64) {
    let due = due(demand_ppm, others.iter().map(|(demand, _)| *demand));
    let taken = others.iter().fold(0u64, |sum, (_, share)| sum.saturating_add(*share));
    (due.min(WHOLE_PPM.saturating_sub(taken)), due)
}

/// Where there is enough, all of it in proportion to the demands. Otherwise to each the same, but to nobody more than it wants: whoever wants little is not held by others who want all.
fn due(demand_ppm: u64, others: impl Iterator<Item = u64>) -> u64 {
    let mut demands: Vec<u64> = others.collect();
    demands.push(demand_ppm);
    let sum = demands.iter().fold(0u64, |sum, demand| sum.saturating_add(*demand)).max(1);
    if sum <= WHOLE_PPM {
        return (u128::from(demand_ppm) * u128::from(WHOLE_PPM) / u128::from(sum)) as u64;
    }
    demands.sort_unstable();
    let (mut rest, mut takers) = (WHOLE_PPM, demands.len() as u64);
    for demand in demands {
        let level = rest / takers;
        if demand >= level {
            return demand_ppm.min(level);
        }
        (rest, takers) = (rest - demand, takers - 1);
    }
    demand_ppm
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processes that come, go and change their minds: together they never have more than the whole, and soon all of it, as each wants.
    #[test]
    fn parts_never_add_up_to_more_than_the_whole() {
        let mut state = 7u64;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let mut processes: Vec<(u64, u64)> = Vec::new();
        let renew = |processes: &mut Vec<(u64, u64)>, index: usize| {
            let mut others = processes.clone();
            let (demand, _) = others.remove(index);
            processes[index].1 = share_out(demand, &others).0;
            assert!(processes.iter().map(|(_, share)| share).sum::<u64>() <= WHOLE_PPM);
        };
        for _ in 0..2_000 {
            match below(10) {
                0 if processes.len() < 8 => processes.push((1 + below(WHOLE_PPM), 0)),
                1 if processes.len() > 1 => {
                    let _ = processes.swap_remove(below(processes.len() as u64) as usize);
                }
                2 if !processes.is_empty() => {
                    let index = below(processes.len() as u64) as usize;
                    processes[index].0 = 1 + below(WHOLE_PPM);
                }
                _ if !processes.is_empty() => {
                    let index = below(processes.len() as u64) as usize;
                    renew(&mut processes, index);
                }
                _ => {}
            }
        }
        for round in 0..3 * processes.len() {
            let index = round % processes.len();
            renew(&mut processes, index);
        }
        let demands: u64 = processes.iter().map(|(demand, _)| demand).sum();
        // The level at which everybody has at most that, and all together the whole.
        let of_level = |level: u64| processes.iter().map(|(demand, _)| (*demand).min(level)).sum::<u64>();
        let level = (0..=WHOLE_PPM).rev().find(|level| of_level(*level) <= WHOLE_PPM).unwrap();
        for (demand, share) in &processes {
            let due = if demands <= WHOLE_PPM { demand * WHOLE_PPM / demands } else { *demand.min(&level) };
            assert!(share.abs_diff(due) <= 8, "{share} of {due}");
        }
    }

    #[test]
    fn who_wants_little_is_not_held_by_who_wants_all() {
        let table: [(&[u64], &[u64]); 7] = [
            (&[1_000_000, 1_000_000], &[500_000, 500_000]),
            (&[1_000_000, 110_000], &[890_000, 110_000]),
            (&[600_000, 1_000_000], &[500_000, 500_000]),
            (&[1_000_000, 100_000, 1_000_000], &[450_000, 100_000, 450_000]),
            (&[300_000, 100_000], &[750_000, 250_000]),
            (&[0], &[0]),
            (&[u64::MAX, u64::MAX], &[500_000, 500_000]),
        ];
        for (demands, dues) in table {
            for (index, expected) in dues.iter().enumerate() {
                let others = demands.iter().enumerate().filter(|(other, _)| *other != index);
                assert_eq!(due(demands[index], others.map(|(_, demand)| *demand)), *expected, "{demands:?}");
            }
        }
    }

    /// A process that came had half of the rate for seconds, whatever it wanted, and another one that wanted all went without.
    #[test]
    fn what_was_guessed_at_is_looked_at_again_soon() {
        let demand = Demand::of(10_000, 10_000, false, true);
        assert_eq!(demand.demand_ppm, WHOLE_PPM);
        assert!(!demand.is_settled_by(500_000, 500_000));
        assert!(Demand::of(500_000, 500_000, false, true).is_settled_by(500_000, 500_000));
        assert!(Demand::of(100_000, 500_000, false, false).is_settled_by(110_000, 110_000));
        assert!(!Demand::of(100_000, 500_000, false, false).is_settled_by(50_000, 110_000));
        assert!(!Demand::of(100_000, 0, true, false).is_settled_by(110_000, 110_000));
    }
}
