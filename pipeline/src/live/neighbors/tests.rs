use super::*;

const DEV: Dev = Dev(0);
const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const T0: Time = Time::from_secs(1_000_000);

fn address(n: u32) -> IpAddr {
    std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into()
}

fn packet(len: usize) -> Waiting {
    Waiting { packet: vec![0; len], offload: Offload::default(), dev: DEV }
}

fn after(seconds: u64) -> Time {
    T0 + Duration::from_secs(seconds)
}

fn asked(n: &Neighbors, at: Time) -> usize {
    n.tick(at).questions.len()
}

#[test]
fn nobody_answers_and_the_packet_comes_back_after_three_seconds() {
    let n = Neighbors::default();
    let question = Question { dev: DEV, address: address(1), to: None };
    assert_eq!(n.queue(address(1), packet(9), T0), Queued::Waits { question: Some(question), displaced: 0 });
    assert_eq!(n.queue(address(1), packet(9), T0), Queued::Waits { question: None, displaced: 0 });
    assert_eq!((asked(&n, after(1)), asked(&n, after(2))), (1, 1));
    let due = n.tick(after(3));
    assert_eq!((due.questions.len(), due.failed.len(), n.waiting()), (0, 2, 0));
    // The next packet asks again at once.
    assert!(matches!(n.queue(address(1), packet(9), after(3)), Queued::Waits { question: Some(_), .. }));
}

#[test]
fn an_answer_lets_go_what_waits() {
    let n = Neighbors::default();
    n.queue(address(1), packet(9), T0);
    assert_eq!(n.lookup(DEV, address(1), T0), None);
    assert_eq!(n.heard(DEV, address(1), MAC, Heard::Answered, T0).len(), 1);
    assert_eq!((n.lookup(DEV, address(1), T0), n.waiting()), (Some(MAC), 0));
}

#[test]
fn a_neighbour_in_use_is_asked_again_and_one_that_died_is_given_up() {
    let n = Neighbors::default();
    n.queue(address(1), packet(9), T0);
    n.heard(DEV, address(1), MAC, Heard::Answered, T0);
    let generation = n.generation();
    assert_eq!(asked(&n, after(46)), 0);
    assert_ne!(n.generation(), generation, "whoever kept the address must ask again");
    assert_eq!(n.lookup(DEV, address(1), after(47)), Some(MAC));
    let due = n.tick(after(53));
    assert_eq!(due.questions, [Question { dev: DEV, address: address(1), to: Some(MAC) }]);
    assert_eq!((asked(&n, after(54)), asked(&n, after(55)), asked(&n, after(56))), (1, 1, 0));
    assert_eq!(n.lookup(DEV, address(1), after(56)), None);
}

#[test]
fn a_neighbour_that_nobody_uses_is_forgotten() {
    let n = Neighbors::default();
    n.queue(address(1), packet(9), T0);
    n.heard(DEV, address(1), MAC, Heard::Answered, T0);
    n.tick(after(46));
    n.tick(after(120));
    assert!(n.is_empty());
}

#[test]
fn hearsay_corrects_but_makes_no_neighbour() {
    let n = Neighbors::default();
    let other = Mac([2, 0, 0, 0, 0, 2]);
    n.heard(DEV, address(1), MAC, Heard::Announced, T0);
    assert!(n.is_empty());
    n.heard(DEV, address(1), MAC, Heard::Introduced, T0);
    n.heard(DEV, address(1), other, Heard::Announced, T0);
    assert_eq!(n.lookup(DEV, address(1), T0), Some(MAC), "too soon to be believed");
    n.heard(DEV, address(1), other, Heard::Announced, after(2));
    assert_eq!(n.lookup(DEV, address(1), after(2)), Some(other));
}

#[test]
fn a_flood_is_bounded() {
    let n = Neighbors::default();
    n.fix(DEV, address(0), MAC);
    for k in 1..5000 {
        n.heard(DEV, address(k), MAC, Heard::Introduced, T0);
    }
    assert!(n.len() <= MOST);
    assert_eq!(n.lookup(DEV, address(0), T0), Some(MAC), "who is fixed stays");
    let n = Neighbors::default();
    let mut refused = 0;
    for k in 1..5000 {
        match n.queue(address(k), packet(60_000), T0) {
            Queued::NoRoom => refused += 1,
            Queued::Waits { displaced, .. } => refused += displaced,
            Queued::Known(_) => unreachable!(),
        }
    }
    assert!(n.len() <= MOST && n.waiting() <= MOST_WAITING);
    assert_eq!(refused, 4999 - n.waiting() / 60_000);
    for _ in 0..10 {
        n.queue(address(1), packet(60_000), T0);
    }
    assert!(n.waiting() <= MOST_WAITING);
}

#[test]
fn a_link_that_goes_down_takes_its_neighbours_along() {
    let n = Neighbors::default();
    n.fix(DEV, address(9), MAC);
    n.queue(address(1), packet(9), T0);
    assert_eq!(n.forget(DEV).len(), 1);
    assert_eq!((n.len(), n.waiting()), (1, 0));
}
