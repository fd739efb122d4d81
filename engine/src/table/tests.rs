//! Both tuples or neither, whatever is inserted and removed.

use proptest::prelude::*;

use super::*;
use crate::conn::{ConnId, Labels, Seed, Unconfirmed};
use crate::state::State;
use crate::{L4, Protocol, ZoneScope};

fn conn(table: &Table, id: u32, original: Tuple, reply: Tuple, zone: Zone) -> ConnRef {
    let seed = Seed {
        id: ConnId(id),
        original,
        reply,
        zone,
        state: State::Generic,
        accounting: false,
        timestamps: false,
        labels: Labels::None,
    };
    Unconfirmed::new(table.arena(), seed).share()
}

fn tuple(a: u8, b: u8, sport: u16, dport: u16) -> Tuple {
    Tuple {
        src: [10, 0, 0, a].into(),
        dst: [10, 0, 0, b].into(),
        protocol: Protocol::UDP,
        l4: L4::Ports { src: sport, dst: dport },
    }
}

fn any_tuple() -> impl Strategy<Value = Tuple> {
    (0u8..3, 0u8..3, 0u16..3, 0u16..3).prop_map(|(a, b, s, d)| tuple(a, b, s, d))
}

fn any_zone() -> impl Strategy<Value = Zone> {
    let scope = prop::sample::select(vec![ZoneScope::Both, ZoneScope::Original, ZoneScope::Reply]);
    (0u16..2, scope).prop_map(|(id, scope)| Zone { id, scope })
}

proptest! {
    /// Against a plain list: every insertion and removal is whole. Where the newcomer's zone counts in one direction only, what
    /// has the same tuple in the other direction is not in its way.
    #[test]
    fn both_tuples_or_neither(steps in prop::collection::vec((any::<bool>(), any_tuple(), any_tuple(), any_zone()), 1..60)) {
        let table = Table::new(7);
        let mut model: Vec<(Tuple, Zone, Direction, u32)> = Vec::new();
        let mut live: Vec<ConnRef> = Vec::new();
        for (n, (insert, original, reply, zone)) in steps.into_iter().enumerate() {
            if insert {
                let c = conn(&table, n as u32, original, reply, zone);
                let keys = [Direction::Original, Direction::Reply].map(|d| (c.tuple(d), zone, d));
                let free = keys.iter().all(|(tuple, zone, d)| {
                    model.iter().all(|(other, its, dir, _)| {
                        let id = its.id(*dir);
                        other != tuple || id != zone.id(*d) || id != zone.id(*dir)
                    })
                });
                prop_assert_eq!(table.insert(&c).is_ok(), free);
                if free {
                    model.extend(keys.map(|(tuple, zone, d)| (tuple, zone, d, n as u32)));
                    live.push(c);
                }
            } else if !live.is_empty() {
                let c = live.swap_remove(n % live.len());
                prop_assert!(table.remove(&c));
                prop_assert!(!table.remove(&c));
                model.retain(|(.., id)| *id != c.id().0);
            }
            for c in &live {
                for d in [Direction::Original, Direction::Reply] {
                    let found = table.find(&Name::new(&c.tuple(d)), c.zone());
                    prop_assert!(found.is_some_and(|(f, _)| model.iter().any(|(.., id)| *id == f.id().0)));
                }
            }
            let listed: usize = (0..).map_while(|s| table.list(s)).map(|v| v.len()).sum();
            prop_assert_eq!(listed, live.len());
        }
    }
}

#[test]
fn a_one_sided_zone_is_found_from_both_sides() {
    let table = Table::new(7);
    let zone = Zone { id: 4, scope: ZoneScope::Original };
    let original = tuple(1, 2, 10, 20);
    let reply = tuple(2, 1, 20, 10);
    table.insert(&conn(&table, 1, original, reply, zone)).unwrap();
    assert_eq!(table.find(&Name::new(&original), zone).map(|f| f.1), Some(Direction::Original));
    assert_eq!(table.find(&Name::new(&reply), Zone::DEFAULT).map(|f| f.1), Some(Direction::Reply));
    assert!(table.find(&Name::new(&original), Zone::DEFAULT).is_none());
    assert!(table.find(&Name::new(&original), Zone { id: 5, scope: ZoneScope::Original }).is_none());
}

#[test]
fn a_place_that_was_seen_may_belong_to_another_by_now() {
    let table = Table::new(7);
    let ends = |port| (tuple(1, 2, port, 53), tuple(2, 1, 53, port));
    let (old, new) = (ends(1), ends(2));
    let one = conn(&table, 1, old.0, old.1, Zone::DEFAULT);
    table.insert(&one).unwrap();
    let seen = table.fetch(table.hash_of(&Name::new(&old.0), 0));
    let met = |tuple: &Tuple, seen| {
        table.find_seen(&Name::new(tuple), Zone::DEFAULT, seen).map(|(conn, dir)| (conn.id(), dir))
    };
    assert_ne!(seen, Seen::default());
    assert_eq!(met(&old.0, seen), Some((ConnId(1), Direction::Original)));
    assert_eq!(met(&old.1, seen), Some((ConnId(1), Direction::Reply)), "seen for another tuple");

    let slot = one.slot();
    table.remove(&one);
    assert_eq!(met(&old.0, seen), None, "somebody holds it still, but it has left the table");
    drop(one);
    let other = conn(&table, 2, new.0, new.1, Zone::DEFAULT);
    assert_eq!(other.slot(), slot, "the test is about a place that is used again");
    assert_eq!(met(&old.0, seen), None);
    table.insert(&other).unwrap();
    assert_eq!(met(&old.0, seen), None);
    assert_eq!(met(&new.0, seen), Some((ConnId(2), Direction::Original)));
    assert_eq!(met(&new.1, Seen(u32::MAX)), Some((ConnId(2), Direction::Reply)), "a number that stands for nothing");
}
