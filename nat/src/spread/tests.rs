use super::*;
use proptest::prelude::*;
use uct_engine::{L4, Protocol};

fn tuple(src: IpAddr, dst: IpAddr) -> Tuple {
    Tuple { src, dst, protocol: Protocol::UDP, l4: L4::Ports { src: 4000, dst: 53 } }
}

#[test]
fn recorded_choices_are_made_again() {
    let mut lines = 0;
    for line in include_str!("recorded.csv").lines().filter(|l| !l.starts_with('#')) {
        let fields: Vec<_> = line.split(',').collect();
        let [end, src, dst, range, flag, zone, chosen] = fields[..] else { panic!("{line}") };
        let (first, last) = range.split_once('-').unwrap();
        let address = |s: &str| s.parse::<IpAddr>().unwrap();
        let manip = if end == "Src" { Manip::Src } else { Manip::Dst };
        let spread = if flag == "persistent" { Spread::Persistent } else { Spread::ByDestination };
        let tuple = tuple(address(src), address(dst));
        let got = choose(&tuple, manip, address(first), address(last), spread, zone.parse().unwrap());
        assert_eq!(got, address(chosen), "{line}");
        lines += 1;
    }
    assert!(lines > 80);
}

proptest! {
    #[test]
    fn an_ipv4_choice_is_within_its_range(src: [u8; 4], dst: [u8; 4], a: [u8; 4], b: [u8; 4], zone: u16) {
        let (first, last) = (IpAddr::from(a.min(b)), IpAddr::from(a.max(b)));
        let chosen = choose(&tuple(src.into(), dst.into()), Manip::Src, first, last, Spread::ByDestination, zone);
        prop_assert!(first <= chosen && chosen <= last);
    }

    #[test]
    fn a_persistent_choice_is_the_same_for_all_destinations(src: [u8; 16], one: [u8; 16], two: [u8; 16], last: [u8; 16]) {
        let choose_for = |dst: [u8; 16]| {
            let tuple = tuple(src.into(), dst.into());
            choose(&tuple, Manip::Src, IpAddr::from([0; 16]), last.into(), Spread::Persistent, 0)
        };
        prop_assert_eq!(choose_for(one), choose_for(two));
    }
}
