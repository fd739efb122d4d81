//! Against a list: whatever comes and goes, the newest connection of a source that suits is the one that is found.

use proptest::prelude::*;
use uct_engine::{Hook, Packet, Silent, Template, Time, Track, Zone};

use super::*;
use crate::packets;

/// A connection in the engine's table.
fn open(engine: &Engine, sport: u16, server: u8) -> ConnRef {
    let mut bytes = packets::udp("10.0.0.2", sport, &format!("198.51.100.{server}"), 53);
    let len = bytes.len();
    let packet = Packet::parse(&mut bytes, len).unwrap();
    match engine.track(&packet, Hook::Prerouting, &Template::default(), Time::ZERO, &mut Silent) {
        Track::Tracked(tracked) => match engine.confirm(tracked.ct, Time::ZERO) {
            uct_engine::Confirm::Inserted(conn) | uct_engine::Confirm::Known(conn) => conn,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn the_newest_is_found(steps in prop::collection::vec((any::<bool>(), 0u16..3, 1u8..20, 1u32..4), 1..120)) {
        let engine = Engine::new(3);
        let sources = Sources::new();
        // In order of age.
        let mut live: Vec<(u16, u8, ConnRef)> = Vec::new();
        for (come, sport, server, modulus) in steps {
            let there = live.iter().position(|(p, s, _)| (*p, *s) == (sport, server));
            match there {
                None if come => {
                    let conn = open(&engine, sport, server);
                    sources.add(&engine, &conn);
                    // Twice is once.
                    sources.add(&engine, &conn);
                    live.push((sport, server, conn));
                }
                Some(at) if !come => {
                    let (_, _, conn) = live.remove(at);
                    engine.destroy(&conn, Time::ZERO, None);
                    sources.remove(&conn);
                    sources.remove(&conn);
                }
                _ => {}
            }
            let asked = Tuple { src: [10, 0, 0, 2].into(), ..open(&Engine::new(0), sport, 99).original() };
            // Whoever asks may refuse some of them.
            let mut seen = 0;
            let found = sources.find(&engine, &asked, Zone::DEFAULT, |_| {
                seen += 1;
                seen == modulus
            });
            let of_source = live.iter().rev().filter(|(p, ..)| *p == sport);
            let expected = of_source.clone().nth(modulus as usize - 1).map(|(.., conn)| conn.id());
            prop_assert_eq!(found.map(|(id, _)| id), expected);
            let count = (0..3).filter(|p| live.iter().any(|(l, ..)| l == p)).count();
            prop_assert_eq!(sources.len(), count);
        }
    }
}
