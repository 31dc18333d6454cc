//! How many rows go into a transaction, and how many transactions run at a time: more while all goes well, fewer after every trouble.

use std::time::Duration;

/// The rows of the first transactions.
const ROWS_INITIAL: usize = 400;
/// The most rows of a transaction.
const ROWS_MAX: usize = 800;
/// The transactions at the begin.
const TRANSACTIONS_INITIAL: usize = 4;
/// The most transactions at a time.
const TRANSACTIONS_MAX: usize = 16;
/// A transaction that takes longer is not made larger: it lives for five seconds.
const TIME_MAX: Duration = Duration::from_secs(1);
/// After how many transactions without trouble there may be one more at a time.
const GOOD_ONES: u32 = 8;

/// How a transaction ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// How many rows it was given.
    pub(super) rows: usize,
    /// How many of them it had no room for.
    pub(super) left: usize,
    /// How often it was tried: again after a conflict, a throttle, an age over five seconds or an unknown outcome.
    pub(super) attempts: u32,
    pub(super) took: Duration,
}

/// The pace of an import.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    rows: usize,
    transactions: usize,
    good: u32,
}

impl Pace {
    pub(super) fn new() -> Pace {
        Pace { rows: ROWS_INITIAL, transactions: TRANSACTIONS_INITIAL, good: 0 }
    }

    /// The rows of the next transaction.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// How many transactions may run.
    pub(super) fn transactions(&self) -> usize {
        self.transactions
    }

    /// Takes in how a transaction ended.
    pub(super) fn learn(&mut self, ending: Ending) {
        if ending.left > 0 {
            // So many fit, less some room.
            self.rows = self.rows.min(((ending.rows - ending.left) * 7 / 8).max(1));
        }
        if ending.attempts > 1 {
            self.slow_down(ending.rows);
        } else if ending.left == 0 && ending.took < TIME_MAX {
            self.good += 1;
            if ending.rows >= self.rows {
                self.rows = (self.rows + self.rows / 8 + 1).min(ROWS_MAX);
            }
            if self.good.is_multiple_of(GOOD_ONES) {
                self.transactions = (self.transactions + 1).min(TRANSACTIONS_MAX);
            }
        }
    }

    /// After trouble with a transaction of so many rows. One of fewer rows than are usual now tells of an earlier pace.
    pub(super) fn slow_down(&mut self, rows: usize) {
        self.good = 0;
        self.rows = self.rows.min((rows / 2).max(1));
        self.transactions = (self.transactions - 1).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(rows: usize) -> Ending {
        Ending { rows, left: 0, attempts: 1, took: Duration::from_millis(10) }
    }

    #[test]
    fn it_grows_while_all_goes_well_up_to_its_bounds() {
        let mut pace = Pace::new();
        for _ in 0..1_000 {
            pace.learn(ending(pace.rows()));
        }
        assert_eq!((pace.rows(), pace.transactions()), (ROWS_MAX, TRANSACTIONS_MAX));
        // Small ones and slow ones prove nothing.
        let mut pace = Pace::new();
        pace.learn(ending(3));
        pace.learn(Ending { took: TIME_MAX, ..ending(ROWS_INITIAL) });
        assert_eq!(pace.rows(), ROWS_INITIAL);
    }

    #[test]
    fn it_shrinks_with_every_trouble_and_never_stands_still() {
        let mut pace = Pace::new();
        pace.learn(Ending { left: 200, ..ending(400) });
        assert_eq!(pace.rows(), 175);
        pace.learn(Ending { attempts: 2, ..ending(175) });
        assert_eq!((pace.rows(), pace.transactions()), (87, TRANSACTIONS_INITIAL - 1));
        for _ in 0..100 {
            pace.learn(Ending { attempts: 9, ..ending(pace.rows()) });
        }
        assert_eq!((pace.rows(), pace.transactions()), (1, 1));
        pace.learn(ending(1));
        assert_eq!(pace.rows(), 2);
    }
}
