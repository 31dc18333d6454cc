//! How processes share a tenant's rates: each leases a part of them for a short time, in proportion to what it wanted lately.

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
}

impl Demand {
    /// The demand of a process that used so many millionths of the rates, and had to hold somebody or not.
    pub(super) fn of(used_ppm: u64, is_new: bool, was_held: bool) -> Demand {
        let demand_ppm = match was_held {
            true => WHOLE_PPM,
            false => (used_ppm.saturating_mul(HEADROOM_PERCENT) / 100).clamp(DEMAND_PPM_MIN, WHOLE_PPM),
        };
        Demand { demand_ppm, is_new }
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
}

/// The part of a process that wants `demand_ppm`, beside others with their demands and what each has: in proportion to the demands, and never more than the others leave.
/// The second number is the part that it ought to have.
pub(crate) fn share_out(demand_ppm: u64, others: &[(u64, u64)]) -> (u64, u64) {
    let sum = others.iter().fold(demand_ppm, |sum, (demand, _)| sum.saturating_add(*demand)).max(1);
    let due = (u128::from(demand_ppm) * u128::from(WHOLE_PPM) / u128::from(sum)) as u64;
    let taken = others.iter().fold(0u64, |sum, (_, share)| sum.saturating_add(*share));
    (due.min(WHOLE_PPM.saturating_sub(taken)), due)
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
        for (demand, share) in processes {
            let due = demand * WHOLE_PPM / demands;
            assert!(share.abs_diff(due) <= 8, "{share} of {due}");
        }
    }
}
