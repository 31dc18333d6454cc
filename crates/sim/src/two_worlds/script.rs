//! What an attacker does: decided by the seed alone.

use crate::random::Stream;

/// Names and keys that anybody would guess, and bytes that are keys of something else.
pub(super) const KEYS: [&[u8]; 16] = [
    b"",
    b"\x00",
    b"\xff",
    b"\xff\xff",
    b"\x14",
    b"\x15\x01",
    b"\x15\x02",
    b"\x15\x07a",
    b"\x15\x09\x15\x02",
    b"\x15\x09\x15\x02\x15\x07a",
    b"\x15\x01\x15\x01\x01a\x00\x14",
    b"a",
    b"ab",
    b"secret",
    b"order 1",
    b"\x02a\x00",
];
/// Names of counters, sequences and requests.
pub(super) const NAMES: [&str; 4] = ["a", "ab", "orders", "secret"];

/// Words of the attacker's texts, and of the victim's.
const WORDS: [&str; 3] = ["alpha", "secret", "beta"];

/// A step of a script.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Put {
        id: u64,
        group: i64,
        code: u64,
    },
    Delete(u64),
    Get(u64),
    OfGroup(i64),
    OfCode(u64),
    Words(&'static str),
    Amounts,
    Ranked,
    /// All, page by page.
    Pages(usize),
    /// A page of the victim's, gone on with.
    StolenToken,
    /// The same, with a byte changed.
    DamagedToken,
    /// What changed after a moment of the victim's.
    StolenVersion,
    RawGet(&'static [u8]),
    RawSet(&'static [u8], u64),
    RawRange {
        begin: &'static [u8],
        end: Option<&'static [u8]>,
        is_reverse: bool,
    },
    RawClearRange(&'static [u8], &'static [u8]),
    RawWatch(&'static [u8]),
    RawStamped(&'static [u8]),
    Count(&'static str, u16),
    Counter(&'static str),
    Sequence(&'static str),
    Request(&'static str, u8),
    SweepRequests,
    /// A transaction that conflicts with one of the attacker's own, and may not be tried again.
    Conflict,
    CountJob,
    /// A type, an index and a field that there are not.
    Unknown,
    TooMuch,
}

/// The script of a seed.
pub(super) fn script(seed: u64) -> Vec<Step> {
    let mut random = Stream::new(seed, "attacker");
    let length = 20 + random.below(20);
    (0..length).map(|_| step(&mut random)).collect()
}

fn step(random: &mut Stream) -> Step {
    let id = random.below(6);
    let group = random.below(2) as i64;
    let name = *random.pick(&NAMES);
    let (key, other) = (*random.pick(&KEYS), *random.pick(&KEYS));
    match random.below(40) {
        0..=6 => Step::Put { id, group, code: random.below(4) },
        7 => Step::Delete(id),
        8..=9 => Step::Get(id),
        10 => Step::OfGroup(group),
        11 => Step::OfCode(random.below(4)),
        12 => Step::Words(WORDS[random.below(3) as usize]),
        13 => Step::Amounts,
        14 => Step::Ranked,
        15 => Step::Pages(1 + random.below(3) as usize),
        16..=17 => Step::StolenToken,
        18 => Step::DamagedToken,
        19 => Step::StolenVersion,
        20..=21 => Step::RawGet(key),
        22..=24 => Step::RawSet(key, random.below(100)),
        25..=27 => {
            let end = random.percent(50).then_some(other);
            Step::RawRange { begin: key, end, is_reverse: random.percent(50) }
        }
        28 => Step::RawClearRange(key.min(other), key.max(other)),
        29 => Step::RawWatch(key),
        30 => Step::RawStamped(key),
        31 => Step::Count(name, 1 + random.below(3) as u16),
        32 => Step::Counter(name),
        33 => Step::Sequence(name),
        34..=35 => Step::Request(name, random.below(2) as u8),
        36 => Step::SweepRequests,
        37 => Step::Conflict,
        38 => random.pick(&[Step::CountJob, Step::Unknown]).clone(),
        _ => Step::TooMuch,
    }
}
