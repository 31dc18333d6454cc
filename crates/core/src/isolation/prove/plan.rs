//! What a tenant does next: ordinary work and what somebody tries who wants to reach a neighbour.

use super::act::Mark;
use super::operation::{After, Item, Operation};
use super::random::Random;
use super::words::{NAMES, WORDS};
use crate::limits::{PAGE_ROWS_MAX, RAW_KEY_SIZE_BYTES_MAX};
use crate::record::RecordVersion;

/// How many groups there are.
pub(super) const GROUPS: u64 = 3;
/// How many different codes there are: few, so that they collide.
const CODES: u64 = 6;
/// Longer keys than these are no record's.
const ID_SIZE_BYTES_MAX: usize = 100;

/// Of how many records of composite keys one is long, and of how many numbers it then is.
const LONG_ONE_IN: u64 = 100;
const LONG_NUMBERS: usize = 14_000;

/// What plans are made of.
pub(super) struct Material<'a> {
    /// Keys that mean something else.
    pub(super) keys: &'a [Vec<u8>],
    pub(super) mark: &'a Mark,
    /// Versions of the tenant's own that it has seen, with their places in the model's order.
    pub(super) versions: &'a [(RecordVersion, u64)],
    /// What it has of others.
    pub(super) stolen_version: Option<RecordVersion>,
    pub(super) stolen_token: Option<&'a str>,
}

impl Material<'_> {
    fn key(&self, random: &mut Random) -> Vec<u8> {
        if random.below(400) == 0 {
            // The longest key, and one byte more.
            return vec![0xff; RAW_KEY_SIZE_BYTES_MAX + random.index(2)];
        }
        random.pick(self.keys).cloned().unwrap_or_default()
    }

    fn id(&self, random: &mut Random) -> Vec<u8> {
        let mut id = random.pick(self.keys).cloned().unwrap_or_default();
        id.truncate(ID_SIZE_BYTES_MAX);
        id
    }

    /// A value that says whose it is.
    fn value(&self, random: &mut Random) -> String {
        format!("{} {}", self.mark.0, random.below(1_000))
    }

    /// One that now and then makes a record of several parts.
    fn long_value(&self, random: &mut Random) -> String {
        let mut value = self.value(random);
        if random.below(LONG_ONE_IN) == 0 {
            // A compressor finds half of it.
            (0..LONG_NUMBERS).for_each(|_| value.push_str(&format!("{:016x}", random.next())));
        }
        value
    }

    fn item(&self, random: &mut Random) -> Item {
        let words = [word(random), word(random)].join(" ");
        Item {
            id: self.id(random),
            group: group(random),
            code: random.percent(40).then(|| format!("code {}", random.below(CODES))),
            amount: random.below(20) as i64 - 10,
            words,
            has_expired: random.percent(10),
        }
    }

    fn range(&self, random: &mut Random) -> (Vec<u8>, Option<Vec<u8>>) {
        let begin = if random.percent(40) { Vec::new() } else { self.key(random) };
        let end = (!random.percent(40)).then(|| self.key(random));
        match end {
            // Now and then inverted.
            Some(end) if end < begin && !random.percent(10) => (end, Some(begin)),
            end => (begin, end),
        }
    }

    /// One operation.
    pub(super) fn operation(&self, random: &mut Random) -> Operation {
        match random.below(100) {
            0..=16 => Operation::Put(self.item(random)),
            17..=19 => Operation::Insert(self.item(random)),
            20..=24 => Operation::Delete(self.id(random)),
            25..=30 => Operation::Get(self.id(random)),
            31..=32 => Operation::Exists(self.id(random)),
            33 => Operation::All([1, 2, 5, 100][random.index(4)]),
            34..=36 => Operation::OfGroup(group(random)),
            37..=38 => Operation::OfCode(format!("code {}", random.below(CODES))),
            39 => Operation::OfWord(word(random)),
            40 => Operation::Amounts,
            41..=42 => Operation::RankOf(self.id(random)),
            43 => Operation::Ranked {
                group: group(random),
                from: random.below(8),
                rows_max: 1 + random.index(5),
            },
            44..=46 => Operation::Changed { group: group(random), after: self.after(random) },
            47..=49 => Operation::PutPair {
                name: name(random),
                number: number(random),
                value: self.long_value(random),
            },
            50 => Operation::DeletePair { name: name(random), number: number(random) },
            51..=52 => Operation::PairsOf(name(random)),
            53..=58 => Operation::RawGet(self.key(random)),
            59..=68 => Operation::RawSet(self.key(random), self.value(random).into_bytes()),
            69..=72 => Operation::RawClear(self.key(random)),
            73 => {
                let (begin, end) = self.range(random);
                Operation::RawClearRange(begin, end.unwrap_or_else(|| vec![0xff; 3]))
            }
            74..=80 => {
                let (begin, end) = self.range(random);
                let rows_max = [1, 3, 100, PAGE_ROWS_MAX][random.index(4)];
                Operation::RawRange { begin, end, rows_max, is_reverse: random.percent(50) }
            }
            81..=83 => Operation::RawAdd(self.key(random), random.next()),
            84..=85 => self.stamped(random),
            86..=89 => Operation::CounterAdd {
                name: name(random),
                amount: random.next() as i64,
                shards: [1, 1, 4][random.index(3)],
            },
            90..=92 => Operation::Counter(name(random)),
            93..=95 => Operation::Sequence(name(random)),
            96..=98 => match self.stolen_token {
                Some(token) => Operation::TokenOfAnother(token.to_owned()),
                None => Operation::Amounts,
            },
            _ => Operation::TooManyRows([0, PAGE_ROWS_MAX + 1, usize::MAX][random.index(3)]),
        }
    }

    fn stamped(&self, random: &mut Random) -> Operation {
        // Few of them stay, so that ranges do not grow for ever.
        let (prefix, suffix) = (b"stamped".to_vec(), self.id(random));
        match random.percent(20) {
            true => Operation::RawStamped { prefix, suffix, value: self.value(random).into_bytes() },
            false => Operation::RawClearRange(prefix, b"stampee".to_vec()),
        }
    }

    fn after(&self, random: &mut Random) -> After {
        match (random.below(3), random.pick(self.versions), self.stolen_version) {
            (0, Some((version, place)), _) => After::Own(*version, *place),
            (1, _, Some(version)) => After::Anothers(version),
            _ => After::Begin,
        }
    }
}

pub(super) fn name(random: &mut Random) -> &'static str {
    random.pick(&NAMES).copied().unwrap_or_default()
}

fn word(random: &mut Random) -> &'static str {
    random.pick(&WORDS).copied().unwrap_or_default()
}

fn group(random: &mut Random) -> i64 {
    random.below(GROUPS) as i64
}

fn number(random: &mut Random) -> i64 {
    [0, 1, -1, 255, 256, 65_535, i64::MAX, i64::MIN][random.index(8)]
}
