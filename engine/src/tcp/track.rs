//! A TCP connection's life: what the table says, what the numbers say, and the timeout that follows.

use std::time::Duration;

use super::window::{Ends, Peer, PeerFlags, PeerInfo, Seq, Window};
use super::{Ceiling, Class, Exception, Next, Segment, TcpState, flag, sender, transition};
use crate::event::EventMask;
use crate::observe::Observer;
use crate::reason::{BadTransition, Bound};
use crate::settings::Timeouts;
use crate::state::{Assured, Update};
use crate::{Direction, Invalid, Settings, Status, Sysctl};

/// An out-of-window FIN or reset shortens only timeouts that are longer than this.
const LONG_TIMEOUT: Duration = Duration::from_secs(120);

/// A connection's TCP state.
#[derive(Clone, Debug)]
pub(crate) struct Tcp {
    pub(super) state: TcpState,
    pub(super) peers: [Peer; 2],
    pub(super) last: Before,
    /// Identical acknowledgements in a row.
    pub(super) retrans: u8,
}

/// The segment before, as far as a later one is judged by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// What it was.
    pub class: Class,
    /// Its direction.
    pub dir: Direction,
    /// Its sequence number.
    pub seq: Seq,
    /// Its acknowledgement.
    pub ack: Seq,
    /// Its sequence number and length.
    pub end: Seq,
    /// Its window, as it stood in the header.
    pub window: u16,
    /// The scale that an ignored SYN offered.
    pub scale: u8,
    /// What else an ignored SYN offered.
    pub flags: PeerFlags,
    /// An ignored SYN met LAST_ACK: the next ACK may be a challenge (RFC 5961 §4), not the FIN's acknowledgement.
    pub challenge: Expected,
    /// Both ends sent a SYN.
    pub simultaneous_open: Expected,
}

/// Whether something has been seen that makes sense of what may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It has not.
    No,
    /// It has.
    Yes,
}

/// All that the tracker knows of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedTcp {
    /// Its state.
    pub state: TcpState,
    /// Both ends: that of the original direction, that of the reply direction.
    pub peers: [Peer; 2],
    /// The segment before.
    pub before: Before,
    /// Identical acknowledgements in a row.
    pub retrans: u8,
}

/// How the connection stands, as far as TCP asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing<'a> {
    pub(crate) status: Status,
    pub(crate) remaining: Duration,
    pub(crate) settings: &'a Settings,
    pub(crate) timeouts: Timeouts<'a>,
}

/// What is left to do after the table and its exceptions.
enum Step {
    /// Hold the segment against the window, then go to this state.
    Check(TcpState),
    /// The same for a SYN/ACK that shows that both ends were in step: as if the connection were in SYN_SENT. Where the window says no,
    /// the state stays what it was.
    Resynchronise,
    /// Go there without asking the window: it is about numbers that were let through unseen.
    Commit(TcpState),
    /// It is settled.
    Done(Update),
}

impl Tcp {
    /// The state that a first segment opens.
    pub(crate) fn open(segment: &Segment, settings: &Settings) -> Result<Tcp, Invalid> {
        let mut tcp = Tcp { state: TcpState::None, peers: [Peer::default(); 2], last: Before::nothing(), retrans: 0 };
        let [opener, other] = &mut tcp.peers;
        match transition(Direction::Original, segment.class, TcpState::None).0 {
            Next::To(TcpState::SynSent) => opener.synchronise(segment),
            Next::To(_) if !settings.is_on(Sysctl::TcpLoose) => return Err(Invalid::TcpNotLoose),
            Next::To(_) => {
                opener.end = segment.end;
                opener.max_win = u32::from(segment.window).max(1);
                opener.max_end = segment.end + opener.max_win;
                // The options were exchanged before we looked: assume the best of both.
                opener.flags = PeerFlags::SACK_PERM | PeerFlags::BE_LIBERAL;
                other.flags = PeerFlags::SACK_PERM | PeerFlags::BE_LIBERAL;
            }
            Next::Ignore | Next::Invalid => return Err(Invalid::TcpNew(segment.class)),
        }
        Ok(tcp)
    }

    /// A connection that a client entered: its state is known, its ends are not.
    pub(crate) fn inserted(state: TcpState, peers: [PeerInfo; 2]) -> Tcp {
        let peers = peers.map(|p| Peer { scale: p.scale, flags: p.flags, ..Peer::default() });
        // As in Linux, whose memory is zeroed here and where zero is a SYN.
        let last = Before { class: Class::Syn, ..Before::nothing() };
        let mut tcp = Tcp { state, peers, last, retrans: 0 };
        tcp.inform(state, PeerFlags::empty());
        tcp
    }

    /// A client says which state it is. From TIME_WAIT on, both ends may have closed, so that a SYN may reopen it.
    pub(crate) fn inform(&mut self, state: TcpState, mut flags: PeerFlags) {
        self.state = state;
        flags.set(PeerFlags::CLOSE_INIT, state >= TcpState::TimeWait);
        for peer in &mut self.peers {
            peer.flags |= flags;
        }
    }

    pub(crate) fn save(&self) -> SavedTcp {
        SavedTcp { state: self.state, peers: self.peers, before: self.last, retrans: self.retrans }
    }

    pub(crate) fn restore(saved: &SavedTcp) -> Tcp {
        Tcp { state: saved.state, peers: saved.peers, last: saved.before, retrans: saved.retrans }
    }

    pub(crate) fn state(&self) -> TcpState {
        self.state
    }

    /// The sequence number that follows the last byte sent in original direction.
    pub(crate) fn original_end(&self) -> Seq {
        self.peers[sender(Direction::Original)].end
    }

    /// The router itself has sent a reset. Answers the state before.
    pub(crate) fn close(&mut self) -> TcpState {
        std::mem::replace(&mut self.state, TcpState::Close)
    }

    pub(crate) fn peer_info(&self) -> [PeerInfo; 2] {
        [self.peers[0].info(), self.peers[1].info()]
    }

    /// Takes one segment.
    pub(crate) fn update(
        &mut self,
        segment: &Segment,
        dir: Direction,
        standing: &Standing<'_>,
        observer: &mut impl Observer,
    ) -> Update {
        let update = self.take(segment, dir, standing, observer);
        observer.ends(&self.peers);
        update
    }

    fn take(
        &mut self,
        segment: &Segment,
        dir: Direction,
        standing: &Standing<'_>,
        observer: &mut impl Observer,
    ) -> Update {
        let mut old = self.state;
        let (next, why) = transition(dir, segment.class, old);
        observer.transition(dir, segment.class, old, next, why);
        let step = match next {
            Next::Invalid => {
                let bad = BadTransition { class: segment.class, dir, state: old };
                return Update::Invalid { why: Invalid::TcpState(bad), timeout: None };
            }
            Next::Ignore => self.let_through(segment, dir, observer),
            Next::To(TcpState::SynSent) if old >= TcpState::TimeWait && old != TcpState::SynSent2 => {
                self.reopen(segment, dir, observer)
            }
            Next::To(TcpState::TimeWait) if self.is_challenge_ack(segment, dir) => {
                self.last.challenge = Expected::No;
                observer.exception(Exception::ChallengeAck);
                Step::Done(Update::IGNORE)
            }
            Next::To(TcpState::SynSent2) => {
                self.last.simultaneous_open = Expected::Yes;
                Step::Check(TcpState::SynSent2)
            }
            Next::To(TcpState::SynRecv)
                if dir == Direction::Reply
                    && segment.class == Class::Ack
                    && self.last.simultaneous_open == Expected::Yes =>
            {
                observer.exception(Exception::SimultaneousOpen);
                Step::Check(TcpState::Established)
            }
            Next::To(TcpState::Close) if segment.class == Class::Rst => self.reset(segment, dir, standing, observer),
            Next::To(state) => Step::Check(state),
        };
        let new = match step {
            Step::Resynchronise => {
                old = TcpState::SynSent;
                TcpState::SynRecv
            }
            Step::Check(new) | Step::Commit(new) => new,
            Step::Done(_) => old,
        };
        match step {
            Step::Done(update) => update,
            Step::Commit(_) => self.commit(segment, dir, old, new, standing, observer),
            Step::Check(_) | Step::Resynchronise => {
                let liberal = self.peers[sender(dir)].flags.contains(PeerFlags::BE_LIBERAL)
                    || standing.settings.is_on(Sysctl::TcpBeLiberal);
                match self.ends(dir).check(segment, old, dir, observer) {
                    Window::Inside => self.note_repetition(segment, dir, observer),
                    _ if liberal => observer.exception(Exception::Liberal),
                    Window::TooOldData(_) | Window::TooOldAck(_) | Window::Overshoot(_) => return Update::IGNORE,
                    Window::Outside(why) => {
                        let timeout = self.shorten(segment, dir, standing);
                        if timeout.is_some() {
                            observer.exception(Exception::Parting);
                        }
                        return Update::Invalid { why, timeout };
                    }
                }
                self.commit(segment, dir, old, new, standing, observer)
            }
        }
    }

    fn ends(&mut self, dir: Direction) -> Ends<'_> {
        let [original, reply] = &mut self.peers;
        match dir {
            Direction::Original => Ends { sender: original, receiver: reply },
            Direction::Reply => Ends { sender: reply, receiver: original },
        }
    }

    /// A SYN in TIME_WAIT or CLOSE: a new connection, if the old one was closed by an end that said so itself.
    fn reopen(&mut self, segment: &Segment, dir: Direction, observer: &mut impl Observer) -> Step {
        let closed = (self.peers[0].flags | self.peers[1].flags).contains(PeerFlags::CLOSE_INIT);
        let aborted = self.last.dir == dir && self.last.class == Class::Rst;
        if closed || aborted {
            observer.exception(Exception::Reopens);
            return Step::Done(Update::Reopen);
        }
        observer.exception(Exception::NotReopened);
        self.let_through(segment, dir, observer)
    }

    /// Lets a segment pass that may show that we are out of step with the two ends, and remembers what the answer needs.
    fn let_through(&mut self, segment: &Segment, dir: Direction, observer: &mut impl Observer) -> Step {
        let answers_ignored_syn = segment.class == Class::SynAck
            && self.last.class == Class::Syn
            && self.last.dir != dir
            && segment.ack == self.last.end;
        if answers_ignored_syn {
            // Both ends are in step, and we were not: go on from the numbers that the SYN left.
            self.last.challenge = Expected::No;
            let opener = &mut self.peers[sender(self.last.dir)];
            *opener = Peer {
                end: self.last.end,
                max_end: self.last.end,
                max_win: u32::from(self.last.window).max(1),
                max_ack: opener.max_ack,
                scale: self.last.scale,
                flags: self.last.flags,
            };
            let answerer = &mut self.peers[sender(dir)];
            *answerer = Peer { flags: answerer.flags & PeerFlags::BE_LIBERAL, ..Peer::default() };
            observer.exception(Exception::Resynchronised);
            return Step::Resynchronise;
        }

        let challenges = self.state == TcpState::SynSent && segment.class == Class::Ack && dir == Direction::Reply;
        self.last.class = segment.class;
        self.last.dir = dir;
        self.last.seq = segment.seq;
        self.last.end = segment.end;
        self.last.window = segment.window;
        if segment.class == Class::Syn && dir == Direction::Original {
            let (scale, flags) = segment.offered();
            self.last.scale = scale;
            self.last.flags = flags;
            self.last.simultaneous_open = Expected::No;
            self.last.challenge = if self.state == TcpState::LastAck { Expected::Yes } else { Expected::No };
        }
        if challenges {
            self.last.ack = segment.ack;
        }
        Step::Done(Update::IGNORE)
    }

    fn is_challenge_ack(&self, segment: &Segment, dir: Direction) -> bool {
        self.state == TcpState::LastAck
            && segment.class == Class::Ack
            && self.last.dir != dir
            && self.last.class == Class::Syn
            && self.last.challenge == Expected::Yes
    }

    /// A reset: exact ones close, those merely inside the window may be forged (RFC 5961 §3).
    fn reset(
        &mut self,
        segment: &Segment,
        dir: Direction,
        standing: &Standing<'_>,
        observer: &mut impl Observer,
    ) -> Step {
        let closing = matches!(
            self.state,
            TcpState::FinWait | TcpState::LastAck | TcpState::TimeWait | TcpState::Close | TcpState::CloseWait
        );
        // The ports may be in use again already, and all numbers be outdated.
        if closing {
            observer.exception(Exception::ResetWhileClosing);
            return Step::Commit(TcpState::Close);
        }
        // What is not assured may as well go.
        let is_established = self.state == TcpState::Established && standing.status.contains(Status::ASSURED);
        let receiver = &self.peers[sender(dir.inverse())];
        let mut new = TcpState::Close;
        if receiver.flags.contains(PeerFlags::MAXACK_SET) && self.last.class != Class::Syn {
            let expected = receiver.max_ack;
            if segment.seq.0 == 0 && !is_established {
                return Step::Check(TcpState::Close);
            }
            if segment.seq.before(expected) && !standing.settings.is_on(Sysctl::TcpIgnoreInvalidRst) {
                let why = Invalid::TcpRst(Bound { value: segment.seq.0, bound: expected.0 });
                return Step::Done(Update::Invalid { why, timeout: None });
            }
            let follows_own_data =
                self.last.class == Class::Ack && self.last.dir == dir && segment.seq == self.last.end;
            if !is_established || segment.seq == expected || follows_own_data {
                return Step::Check(TcpState::Close);
            }
            // Not exact: keep the connection for the challenge ACK that may follow.
            observer.exception(Exception::ResetInexact);
            new = self.state;
        }
        let answers_what_was_let_through = segment.ack == self.last.end
            && ((standing.status.contains(Status::SEEN_REPLY)
                && self.last.class == Class::Syn
                && self.last.dir != dir)
                || (!standing.status.contains(Status::ASSURED) && self.last.class == Class::Ack));
        let answers_challenge = self.state == TcpState::SynSent
            && self.last.class == Class::Ack
            && self.last.dir == Direction::Reply
            && segment.seq == self.last.ack;
        if answers_what_was_let_through || answers_challenge {
            observer.exception(Exception::ResetAnswers);
            return Step::Commit(new);
        }
        Step::Check(new)
    }

    /// An acknowledgement just like the one before is a retransmission's answer.
    fn note_repetition(&mut self, segment: &Segment, dir: Direction, observer: &mut impl Observer) {
        if segment.class != Class::Ack {
            return;
        }
        let last = &mut self.last;
        let same = last.dir == dir
            && last.seq == segment.seq
            && last.ack == segment.ack
            && last.end == segment.end
            && last.window == segment.window;
        if same {
            self.retrans = self.retrans.saturating_add(1);
            observer.exception(Exception::Repetition(self.retrans));
        } else {
            last.dir = dir;
            last.seq = segment.seq;
            last.ack = segment.ack;
            last.end = segment.end;
            last.window = segment.window;
            self.retrans = 0;
        }
    }

    /// A FIN or reset outside the window, answered by another from the other side: the ends have parted, whatever we
    /// think. The long timeout of an assured connection is shortened.
    fn shorten(&mut self, segment: &Segment, dir: Direction, standing: &Standing<'_>) -> Option<Duration> {
        let ends = |class| matches!(class, Class::Fin | Class::Rst);
        let may = standing.status.contains(Status::ASSURED) && !standing.status.contains(Status::FIXED_TIMEOUT);
        if !may || !ends(segment.class) {
            return None;
        }
        if self.last.dir != dir && ends(self.last.class) {
            let ceiling = standing.timeouts.get(Sysctl::TcpTimeoutUnacknowledged);
            return (standing.remaining >= LONG_TIMEOUT && standing.remaining > ceiling).then_some(ceiling);
        }
        self.last.class = segment.class;
        self.last.dir = dir;
        None
    }

    /// Takes the segment: the state, the timeout with its ceilings, and whether the connection is assured.
    fn commit(
        &mut self,
        segment: &Segment,
        dir: Direction,
        old: TcpState,
        new: TcpState,
        standing: &Standing<'_>,
        observer: &mut impl Observer,
    ) -> Update {
        self.last.class = segment.class;
        self.last.dir = dir;
        self.state = new;
        if old != new && new == TcpState::FinWait {
            self.peers[sender(dir)].flags |= PeerFlags::CLOSE_INIT;
        }

        let timeouts = standing.timeouts;
        let retrans_ceiling = timeouts.get(Sysctl::TcpTimeoutMaxRetrans);
        let unacked_ceiling = timeouts.get(Sysctl::TcpTimeoutUnacknowledged);
        let unacked = (self.peers[0].flags | self.peers[1].flags).contains(PeerFlags::DATA_UNACKNOWLEDGED);
        let retransmits = u32::from(self.retrans) >= standing.settings.get(Sysctl::TcpMaxRetrans);
        let own = new.timeout().map_or_else(|| timeouts.syn_sent2(), |key| timeouts.get(key));
        let mut ceiling = None;
        let mut lower = |why, to| {
            ceiling = Some(why);
            to
        };
        let mut timeout = if retransmits && own > retrans_ceiling {
            lower(Ceiling::Retransmissions, retrans_ceiling)
        } else if segment.class == Class::Rst {
            lower(Ceiling::Reset, timeouts.get(Sysctl::TcpTimeoutClose))
        } else if unacked && own > unacked_ceiling {
            lower(Ceiling::Unacknowledged, unacked_ceiling)
        } else if self.last.window == 0 && own > retrans_ceiling {
            lower(Ceiling::ZeroWindow, retrans_ceiling)
        } else {
            own
        };

        let mut events = EventMask::empty();
        events.set(EventMask::PROTOINFO, old != new);
        let mut assured = Assured::AsBefore;
        if !standing.status.contains(Status::SEEN_REPLY) {
            if segment.has(flag::RST) {
                // Nothing was ever heard but a refusal: there is no connection.
                observer.exception(Exception::Refused);
                return Update::Kill { events };
            }
            if segment.class == Class::Syn && old == TcpState::SynSent {
                // A SYN sent again must not keep an entry alive for ever.
                observer.exception(Exception::SynAgain);
                return Update::Ignore { events };
            }
            if new == TcpState::Established {
                // Picked up in mid-stream and not answered.
                if unacked_ceiling <= timeout {
                    ceiling = Some(Ceiling::Unanswered);
                    timeout = unacked_ceiling;
                }
            }
        } else if !standing.status.contains(Status::ASSURED)
            && matches!(old, TcpState::SynRecv | TcpState::Established)
            && new == TcpState::Established
        {
            assured = Assured::Now;
        }
        if let Some(why) = ceiling.filter(|_| timeout != own) {
            observer.ceiling(why, own);
        }
        Update::Refresh { timeout, from: new.timeout(), events, assured }
    }
}

impl Before {
    const fn nothing() -> Before {
        Before {
            class: Class::None,
            dir: Direction::Original,
            seq: Seq(0),
            ack: Seq(0),
            end: Seq(0),
            window: 0,
            scale: 0,
            flags: PeerFlags::empty(),
            challenge: Expected::No,
            simultaneous_open: Expected::No,
        }
    }
}
