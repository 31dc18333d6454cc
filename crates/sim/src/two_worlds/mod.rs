//! Two worlds: the same attacker, with what it stole and what it guesses, beside different victims, or where the victim is gone. What it is told must be the same, byte for byte, once
//! versions, stamps and times are masked: then nothing that it is told depends on anybody else.

mod attacker;
mod script;
mod victim;
mod world;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

/// Who lives beside the attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    /// A victim with some data, of a name.
    One,
    /// Another one: another name, other data, other work at other moments.
    Another,
    /// One that was deleted before the attacker began.
    Gone,
}

/// Where what an attacker is told depends on the victim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The seed of the script.
    pub seed: u64,
    /// The line, beside one victim.
    pub one: String,
    /// The same line, beside another.
    pub other: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "script {}: {:?} beside one victim, {:?} beside another",
            self.seed, self.one, self.other
        )
    }
}

/// What scripts brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TwoWorldsReport {
    /// How many scripts were played, each beside three victims.
    pub scripts: u64,
    /// How many lines were compared.
    pub lines: u64,
    /// Where they differed, the first line of each script.
    pub differences: Vec<Difference>,
}

/// Plays the scripts of some seeds.
pub fn two_worlds(seeds: impl IntoIterator<Item = u64>) -> TwoWorldsReport {
    let mut report = TwoWorldsReport::default();
    for seed in seeds {
        report.scripts += 1;
        let [one, others @ ..] =
            [Beside::One, Beside::Another, Beside::Gone].map(|beside| play(seed, beside));
        report.lines += one.len() as u64;
        report.differences.extend(others.iter().find_map(|other| difference(seed, &one, other)));
    }
    report
}

/// What the attacker of a seed is told, line by line.
fn play(seed: u64, beside: Beside) -> Vec<String> {
    let played =
        catch_unwind(AssertUnwindSafe(|| World::new(seed, beside).and_then(|mut world| world.play())));
    match played {
        Ok(Ok(lines)) => lines,
        // The world itself failed: no script ends so, and a difference is told.
        Ok(Err(error)) => vec![format!("beside {beside:?} the world ended with {error}")],
        Err(_) => vec![format!("beside {beside:?} the world panicked")],
    }
}

fn difference(seed: u64, one: &[String], other: &[String]) -> Option<Difference> {
    let length = one.len().max(other.len());
    let line = |lines: &[String], place: usize| lines.get(place).cloned().unwrap_or_default();
    let place = (0..length).find(|place| one.get(*place) != other.get(*place))?;
    Some(Difference { seed, one: line(one, place), other: line(other, place) })
}
