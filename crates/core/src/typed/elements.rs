//! The elements of a list beside those that they take the place of: what a struct does not know of an element stays with it.
//!
//! Elements have no names, so they are told by what the struct knows of them. One that is the same as before keeps the rest wherever it stands now. Of the others,
//! those between two unchanged neighbours (or the ends of the list) are the changed ones that stood between them, if these are as many; else they are new.

use std::collections::{BTreeMap, BTreeSet};

use super::value::TypedValue;
use crate::value::Value;

/// The new elements, each with those parts of the old one which `T` does not know.
pub(super) fn merged_elements<T: TypedValue>(old: Vec<Value>, new: Vec<Value>) -> Vec<Value> {
    let known: Vec<Option<Value>> = old.iter().map(known_part::<T>).collect();
    if old.iter().zip(&known).all(|(old, known)| known.as_ref() == Some(old)) {
        // There is nothing that could be lost.
        return new;
    }
    let pairs = pairs(&known, &new);
    let mut old: Vec<Option<Value>> = old.into_iter().map(Some).collect();
    let with_old = |(new, place): (Value, Option<usize>)| {
        let old = place.and_then(|place| old.get_mut(place)?.take());
        match old {
            Some(old) => T::merged(old, new),
            None => new,
        }
    };
    new.into_iter().zip(pairs).map(with_old).collect()
}

/// What is left of a value when it goes through the Rust type.
fn known_part<T: TypedValue>(value: &Value) -> Option<Value> {
    T::from_value(value.clone()).ok()?.to_value().ok()
}

/// For each new element the place of the old one that it is.
fn pairs(old: &[Option<Value>], new: &[Value]) -> Vec<Option<usize>> {
    let mut pairs = unchanged(old, new);
    let mut left: BTreeSet<usize> = (0..old.len()).collect();
    pairs.iter().flatten().for_each(|place| {
        left.remove(place);
    });
    let mut begin = 0;
    while begin < new.len() {
        let end = begin + pairs[begin..].iter().take_while(|pair| pair.is_none()).count();
        let old_begin = if begin == 0 { Some(0) } else { pairs[begin - 1].map(|place| place + 1) };
        let old_end = if end == new.len() { Some(old.len()) } else { pairs[end] };
        if let (Some(old_begin), Some(old_end)) = (old_begin, old_end)
            && old_begin <= old_end
        {
            // One more than there is room for tells that they are too many.
            let gap: Vec<usize> = left.range(old_begin..old_end).take(end - begin + 1).copied().collect();
            if gap.len() == end - begin {
                pairs[begin..end].iter_mut().zip(gap).for_each(|(pair, place)| *pair = Some(place));
            }
        }
        begin = end + 1;
    }
    pairs
}

/// The places of those that are as they were: the same place if it can be, else the next one behind that of the element before, else the first.
fn unchanged(old: &[Option<Value>], new: &[Value]) -> Vec<Option<usize>> {
    // Values have no order of their own, floats and JSON being among them; their texts do.
    let text = |value: &Value| format!("{value:?}");
    let mut places: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for (place, old) in old.iter().enumerate() {
        if let Some(old) = old {
            places.entry(text(old)).or_default().insert(place);
        }
    }
    let new: Vec<String> = new.iter().map(text).collect();
    let mut pairs = vec![None; new.len()];
    for (place, (text, pair)) in new.iter().zip(&mut pairs).enumerate() {
        *pair = places.get_mut(text).is_some_and(|same| same.remove(&place)).then_some(place);
    }
    let mut last = 0;
    for (text, pair) in new.iter().zip(&mut pairs) {
        if pair.is_none()
            && let Some(same) = places.get_mut(text)
        {
            *pair = same.range(last..).next().or_else(|| same.first()).copied();
            if let Some(place) = pair {
                same.remove(place);
            }
        }
        last = pair.unwrap_or(last);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(old: &str, new: &str) -> Vec<Option<usize>> {
        let values = |text: &str| text.chars().map(|name| Value::from(name.to_string())).collect::<Vec<_>>();
        pairs(&values(old).into_iter().map(Some).collect::<Vec<_>>(), &values(new))
    }

    /// For each new element the letter of the old list that it is, or a point.
    fn shown(old: &str, new: &str) -> String {
        let letters: Vec<char> = old.chars().collect();
        found(old, new).iter().map(|place| place.map_or('.', |place| letters[place])).collect()
    }

    #[test]
    fn elements_are_told_by_what_is_known_of_them() {
        let cases = [
            ("abc", "abc", "abc"),
            ("abc", "cab", "cab"),
            ("abc", "abcd", "abc."),
            ("abc", "dabc", ".abc"),
            ("abc", "ac", "ac"),
            // Changed where they stand.
            ("abc", "axc", "abc"),
            ("abc", "xyz", "abc"),
            ("abc", "xbcy", "abc."),
            ("abcd", "xcd", ".cd"),
            // More or fewer between the neighbours than before: new ones.
            ("ab", "xyz", "..."),
            ("abc", "axyc", "a..c"),
            ("abc", "cxa", "c.a"),
            ("abc", "xcbd", "acb."),
            ("", "a", "."),
            ("a", "", ""),
        ];
        for (old, new, expected) in cases {
            assert_eq!(shown(old, new), expected, "{old} {new}");
        }
    }

    #[test]
    fn of_equal_ones_each_is_taken_once_in_their_order() {
        assert_eq!(found("aa", "aa"), [Some(0), Some(1)]);
        assert_eq!(found("aa", "aaa"), [Some(0), Some(1), None]);
        assert_eq!(found("aba", "ba"), [Some(1), Some(2)]);
        assert_eq!(found("aba", "xaba"), [None, Some(0), Some(1), Some(2)]);
        assert_eq!(found("aab", "ba"), [Some(2), Some(1)]);
    }

    #[test]
    fn many_elements_take_little_time() {
        let count = 20_000;
        let old: Vec<_> = (0..count).map(|number| Some(Value::Int(number / 2))).collect();
        let new: Vec<_> = (0..count).rev().map(|number| Value::Int(number / 2)).collect();
        let mut places: Vec<usize> = pairs(&old, &new).into_iter().flatten().collect();
        places.sort_unstable();
        assert_eq!(places, (0..count as usize).collect::<Vec<_>>());
    }
}
