//! Sets and maps as the packet path sees them: from a key to a slot, in constant or logarithmic time.
//!
//! | keys | kept as | looked up in |
//! |---|---|---|
//! | single values | hash table | O(1) |
//! | ranges and prefixes of one field | sorted, disjoint intervals | O(log n) |
//! | concatenations of single values | hash table | O(1) |
//! | concatenations with ranges | sorted by the most telling field, each entry knowing the furthest end before it | O(log n + candidates) |
//!
//! Ranges are never expanded, so a set costs memory in proportion to what was written.

use super::types::Interval;
use ahash::RandomState;
use std::collections::HashMap;

/// Most fields a concatenation may have: what nft can hold in its registers.
pub(crate) const MAX_FIELDS: usize = 5;

/// A key of one or several fields; fields that are not used are zero.
pub(crate) type Key = [u128; MAX_FIELDS];

/// One key of a set before it is compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetKey {
    pub(crate) fields: Vec<Interval>,
    pub(crate) slot: u32,
}

/// Which slot a key falls into.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    store: Store,
    /// The slot of `*`.
    otherwise: Option<u32>,
}

#[derive(Debug, Clone)]
enum Store {
    Empty,
    /// Sets of a handful of single values are faster to walk than to hash.
    Few(Box<[(u128, u32)]>),
    Hash(HashMap<u128, u32, RandomState>),
    Intervals(Box<[(Interval, u32)]>),
    Concat(HashMap<Key, u32, RandomState>),
    Boxes {
        field: usize,
        boxes: Box<[Candidate]>,
    },
}

#[derive(Debug, Clone)]
struct Candidate {
    fields: Box<[Interval]>,
    /// The largest end, in the telling field, of this entry and all before it.
    reach: u128,
    slot: u32,
}

/// Fixed: what a ruleset does must not depend on chance, and its keys come from its author.
fn hasher() -> RandomState {
    RandomState::with_seeds(1, 2, 3, 4)
}

const FEW: usize = 8;

impl Keys {
    /// Compiles keys; those of one field must not overlap, and no two may be equal.
    pub(crate) fn build(mut keys: Vec<SetKey>, otherwise: Option<u32>) -> Keys {
        let single = keys.iter().all(|k| k.fields.iter().all(|f| f.is_one()));
        let width = keys.first().map_or(1, |k| k.fields.len());
        let first = |k: &SetKey| k.fields.first().copied().unwrap_or(Interval::one(0));
        let store = match (width, single) {
            _ if keys.is_empty() => Store::Empty,
            (1, true) if keys.len() <= FEW => Store::Few(keys.iter().map(|k| (first(k).first, k.slot)).collect()),
            (1, true) => {
                let mut map = HashMap::with_capacity_and_hasher(keys.len(), hasher());
                map.extend(keys.iter().map(|k| (first(k).first, k.slot)));
                Store::Hash(map)
            }
            (1, false) => {
                keys.sort_by_key(first);
                Store::Intervals(keys.iter().map(|k| (first(k), k.slot)).collect())
            }
            (_, true) => {
                let mut map = HashMap::with_capacity_and_hasher(keys.len(), hasher());
                map.extend(keys.iter().map(|k| (pack(k.fields.iter().map(|f| f.first)), k.slot)));
                Store::Concat(map)
            }
            (_, false) => {
                let field = telling_field(&keys, width);
                keys.sort_by_key(|k| k.fields[field]);
                let mut reach = 0;
                let boxes = keys.into_iter().map(|k| {
                    reach = reach.max(k.fields[field].last);
                    Candidate { fields: k.fields.into(), reach, slot: k.slot }
                });
                Store::Boxes { field, boxes: boxes.collect() }
            }
        };
        Keys { store, otherwise }
    }

    /// The slot of a key of one field.
    pub(crate) fn find_one(&self, value: u128) -> Option<u32> {
        let found = match &self.store {
            Store::Few(few) => few.iter().find(|(known, _)| *known == value).map(|(_, slot)| *slot),
            Store::Hash(map) => map.get(&value).copied(),
            Store::Intervals(intervals) => {
                let after = intervals.partition_point(|(interval, _)| interval.first <= value);
                let before = after.checked_sub(1).and_then(|at| intervals.get(at));
                before.filter(|(interval, _)| value <= interval.last).map(|(_, slot)| *slot)
            }
            Store::Empty | Store::Concat(_) | Store::Boxes { .. } => None,
        };
        found.or(self.otherwise)
    }

    /// The slot of a key of several fields.
    pub(crate) fn find(&self, key: &Key) -> Option<u32> {
        let found = match &self.store {
            Store::Concat(map) => map.get(key).copied(),
            Store::Boxes { field, boxes } => {
                let value = key[*field];
                let after = boxes.partition_point(|b| b.fields[*field].first <= value);
                // Walking down, the furthest end before an entry says when nothing more can reach the value.
                let candidates = boxes[..after].iter().rev().take_while(|b| b.reach >= value);
                let inside = |b: &&Candidate| b.fields.iter().zip(key).all(|(f, v)| f.first <= *v && *v <= f.last);
                candidates.filter(inside).last().map(|b| b.slot)
            }
            Store::Empty => None,
            _ => return self.find_one(key[0]),
        };
        found.or(self.otherwise)
    }
}

/// Fields into a key.
pub(crate) fn pack(fields: impl Iterator<Item = u128>) -> Key {
    let mut key = [0; MAX_FIELDS];
    key.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
    key
}

/// The field with the most different beginnings leaves the fewest candidates.
fn telling_field(keys: &[SetKey], width: usize) -> usize {
    let distinct = |field: usize| {
        let mut firsts: Vec<u128> = keys.iter().map(|k| k.fields[field].first).collect();
        firsts.sort_unstable();
        firsts.dedup();
        firsts.len()
    };
    (0..width).max_by_key(|&field| distinct(field)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(fields: &[(u128, u128)], slot: u32) -> SetKey {
        SetKey { fields: fields.iter().map(|&(first, last)| Interval { first, last }).collect(), slot }
    }

    #[test]
    fn a_value_outside_falls_to_the_star() {
        let keys = Keys::build(vec![key(&[(5, 9)], 0), key(&[(20, 20)], 1)], Some(7));
        assert_eq!(
            [4, 5, 9, 10, 20, 21].map(|v| keys.find_one(v)),
            [Some(7), Some(0), Some(0), Some(7), Some(1), Some(7)]
        );
        let none = Keys::build(vec![], None);
        assert_eq!(none.find_one(0), None);
    }

    proptest! {
        /// Whatever the structure chosen, the answer is that of walking the list.
        #[test]
        fn structures_agree_with_a_list(
            cuts in proptest::collection::btree_set(0u128..200, 0..40), probes in proptest::collection::vec(0u128..200, 20),
            ranges: bool,
        ) {
            let cuts: Vec<u128> = cuts.into_iter().collect();
            let keys: Vec<SetKey> = if ranges {
                cuts.chunks_exact(2).enumerate().map(|(i, c)| key(&[(c[0], c[1])], i as u32)).collect()
            } else {
                cuts.iter().enumerate().map(|(i, c)| key(&[(*c, *c)], i as u32)).collect()
            };
            let built = Keys::build(keys.clone(), None);
            for v in probes {
                let want = keys.iter().find(|k| k.fields[0].first <= v && v <= k.fields[0].last).map(|k| k.slot);
                prop_assert_eq!(built.find_one(v), want);
            }
        }

        #[test]
        fn boxes_agree_with_a_list(
            boxes in proptest::collection::vec(((0u128..40, 0u128..9), (0u128..40, 0u128..9)), 1..30),
            probes in proptest::collection::vec((0u128..50, 0u128..50), 30),
        ) {
            let keys: Vec<SetKey> = boxes.iter().enumerate()
                .map(|(i, ((a, b), (c, d)))| key(&[(*a, a + b), (*c, c + d)], i as u32)).collect();
            let built = Keys::build(keys.clone(), None);
            for (x, y) in probes {
                let inside = |k: &SetKey| {
                    k.fields[0].first <= x && x <= k.fields[0].last && k.fields[1].first <= y && y <= k.fields[1].last
                };
                let found = built.find(&pack([x, y].into_iter()));
                prop_assert_eq!(found.is_some(), keys.iter().any(inside));
                prop_assert!(found.is_none_or(|slot| inside(&keys[slot as usize])));
            }
        }
    }
}
