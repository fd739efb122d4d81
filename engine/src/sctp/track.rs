//! An association's life: its tags, what the table says of each chunk, and the timeout that follows.
//!
//! **INITs that cross, and restarts** (RFC 9260 §5.2). Every INIT announces its sender's tag, which from then on is what the
//! other direction must carry, in any state. An INIT ACK may announce a tag that is new only while its direction has none,
//! or if it answers an INIT of the other direction and its own direction sent none meanwhile: otherwise both tags are known
//! and an INIT ACK has to agree. COOKIE ACK ends the set-up, so that the next INIT is a restart; a second INIT of one side
//! with another tag begins the set-up anew.
//!
//! **Strange heartbeats** (RFC 9260 §8.3; a peer that restarted on another path). A HEARTBEAT with a wrong tag passes and
//! changes nothing. If the other direction then sends a HEARTBEAT ACK with a wrong tag too, the two ends agree on tags that
//! we did not see: the ACK's tag is taken for its direction and the other's is unknown again. Neither may carry DATA.
//!
//! As in Linux, a packet that turns out invalid at a later chunk keeps what its earlier chunks did, so it is the one place
//! where an invalid packet changes a state: it takes several chunks and a wrong tag, or an invalid chunk after a good one.

use std::time::Duration;

use super::chunks::{Body, Item, TagOf};
use super::transition::{Next, opens, transition};
use super::{BadChunk, Chunk, SctpState};
use crate::event::EventMask;
use crate::observe::Observer;
use crate::settings::Timeouts;
use crate::state::{Assured, Update};
use crate::{Direction, Invalid};

/// NONE has no setting of its own.
const NONE_TIMEOUT: Duration = Duration::from_secs(10);

/// An association's SCTP state.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(2))]
pub(crate) struct Sctp {
    state: SctpState,
    /// The tag that each direction carries; 0 if it is not known.
    vtags: [u32; 2],
    /// Whether each direction sent an INIT since the association was last up.
    inits: [Seen; 2],
    /// The direction of a HEARTBEAT with a strange tag that waits for its answer.
    strange_heartbeat: Option<Direction>,
}

/// Whether a direction sent an INIT since the association was last up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It did not.
    No,
    /// It did.
    Yes,
}

/// All that the tracker knows of an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedSctp {
    /// Its state.
    pub state: SctpState,
    /// The tag that each direction carries; 0 if it is not known.
    pub vtags: [u32; 2],
    /// Whether each direction sent an INIT.
    pub inits: [Seen; 2],
    /// The direction of a HEARTBEAT with a strange tag that waits for its answer.
    pub strange_heartbeat: Option<Direction>,
}

/// Whether the table is to be asked about a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judged {
    Ask,
    /// It passes, and so does its packet, without being taken.
    LetThrough,
}

/// What one packet came to. Events and assurance hold whatever `update` says of the packet as a whole.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) update: Update,
    pub(crate) events: EventMask,
    pub(crate) assured: Assured,
}

impl Sctp {
    /// What a client entered, of which no packet was seen.
    pub(crate) fn inserted(state: SctpState, vtags: [u32; 2]) -> Sctp {
        Sctp { state, vtags, inits: [Seen::No; 2], strange_heartbeat: None }
    }

    pub(crate) fn save(&self) -> SavedSctp {
        let Sctp { state, vtags, inits, strange_heartbeat } = *self;
        SavedSctp { state, vtags, inits, strange_heartbeat }
    }

    pub(crate) fn restore(saved: &SavedSctp) -> Sctp {
        let SavedSctp { state, vtags, inits, strange_heartbeat } = *saved;
        Sctp { state, vtags, inits, strange_heartbeat }
    }

    /// A client says which state it is, and which tags it has.
    pub(crate) fn inform(&mut self, state: SctpState, vtags: [u32; 2]) {
        (self.state, self.vtags) = (state, vtags);
    }

    /// The state that a first packet opens: each of its chunks must be one that opens.
    pub(crate) fn open(body: &Body<'_>) -> Result<Sctp, Invalid> {
        let mut sctp = Sctp::inserted(SctpState::None, [0; 2]);
        for item in body.items() {
            match item.chunk {
                chunk if !opens(chunk) => return Err(Invalid::SctpNew(chunk)),
                Chunk::Heartbeat => sctp.vtags[Direction::Original as usize] = body.tag,
                // What answers it is a SHUTDOWN COMPLETE with this packet's own tag (RFC 9260 §8.5.1 E).
                Chunk::ShutdownAck => sctp.vtags[Direction::Reply as usize] = body.tag,
                _ => {}
            }
        }
        Ok(sctp)
    }

    pub(crate) fn state(&self) -> SctpState {
        self.state
    }

    pub(crate) fn vtags(&self) -> [u32; 2] {
        self.vtags
    }

    /// Takes one packet.
    pub(crate) fn update(
        &mut self,
        body: &Body<'_>,
        dir: Direction,
        timeouts: &Timeouts<'_>,
        observer: &mut impl Observer,
    ) -> Step {
        let mut step = Step { update: Update::IGNORE, events: EventMask::empty(), assured: Assured::AsBefore };
        match self.take(body, dir, &mut step, observer) {
            Err(why) => step.update = Update::Invalid { why, timeout: None },
            Ok(Judged::LetThrough) => {}
            Ok(Judged::Ask) => {
                let key = self.state.timeout();
                let timeout = key.map_or(NONE_TIMEOUT, |key| timeouts.get(key));
                let (events, assured) = (EventMask::empty(), Assured::AsBefore);
                step.update = Update::Refresh { timeout, from: key, events, assured };
            }
        }
        step
    }

    /// Takes the chunks one after the other.
    fn take(
        &mut self,
        body: &Body<'_>,
        dir: Direction,
        step: &mut Step,
        observer: &mut impl Observer,
    ) -> Result<Judged, Invalid> {
        if !body.has_own_rule() && body.tag != self.vtags[dir as usize] {
            return Err(Invalid::SctpVtag(body.tag));
        }
        let mut packet = Judged::Ask;
        for item in body.items() {
            if self.judge(item, body, dir, packet)? == Judged::LetThrough {
                packet = Judged::LetThrough;
                continue;
            }
            let old = self.state;
            let (says, why) = transition(dir, item.chunk, old);
            observer.sctp(dir, item.chunk, old, says, why);
            let Next::To(new) = says else {
                return Err(Invalid::SctpState(BadChunk { chunk: item.chunk, dir, state: old }));
            };
            if item.chunk == Chunk::Init && old == SctpState::Closed {
                // Sent again to nobody: it must not keep an entry alive for ever.
                packet = Judged::LetThrough;
            }
            self.learn(item, dir)?;
            self.state = new;
            if old != new {
                step.events |= EventMask::PROTOINFO;
                if new == SctpState::Established {
                    step.assured = Assured::Now;
                }
            }
        }
        Ok(packet)
    }

    /// Holds a chunk against the tags.
    fn judge(&mut self, item: Item, body: &Body<'_>, dir: Direction, packet: Judged) -> Result<Judged, Invalid> {
        let (own, other) = (dir as usize, dir.inverse() as usize);
        let must_be = |tag: u32| if body.tag == tag { Ok(Judged::Ask) } else { Err(Invalid::SctpVtag(body.tag)) };
        match item.chunk {
            Chunk::Init => must_be(0),
            Chunk::InitAck | Chunk::CookieEcho => must_be(self.vtags[own]),
            Chunk::Abort | Chunk::ShutdownComplete => match item.tag {
                TagOf::Direction => must_be(self.vtags[own]),
                TagOf::OtherDirection => must_be(self.vtags[other]),
            },
            Chunk::Heartbeat if self.vtags[own] == 0 => {
                self.vtags[own] = body.tag;
                Ok(Judged::Ask)
            }
            Chunk::Heartbeat if body.tag != self.vtags[own] => {
                if body.has_data() || packet == Judged::LetThrough {
                    return Err(Invalid::SctpVtag(body.tag));
                }
                self.strange_heartbeat = Some(dir);
                Ok(Judged::LetThrough)
            }
            Chunk::HeartbeatAck if self.vtags[own] == 0 => {
                self.vtags[own] = body.tag;
                Ok(Judged::Ask)
            }
            Chunk::HeartbeatAck if body.tag != self.vtags[own] => {
                if body.has_data() || self.strange_heartbeat != Some(dir.inverse()) {
                    return Err(Invalid::SctpVtag(body.tag));
                }
                self.strange_heartbeat = None;
                self.vtags[own] = body.tag;
                self.vtags[other] = 0;
                Ok(Judged::Ask)
            }
            Chunk::Heartbeat | Chunk::HeartbeatAck => {
                self.strange_heartbeat = None;
                Ok(Judged::Ask)
            }
            Chunk::Shutdown | Chunk::ShutdownAck | Chunk::Error | Chunk::CookieAck | Chunk::Other(_) => Ok(Judged::Ask),
        }
    }

    /// What the set-up's chunks say about tags.
    fn learn(&mut self, item: Item, dir: Direction) -> Result<(), Invalid> {
        let (own, other) = (dir as usize, dir.inverse() as usize);
        match item.chunk {
            Chunk::Init => {
                let announced = item.announced.ok_or(Invalid::SctpChunks)?;
                if announced == self.vtags[other] && self.state != SctpState::None {
                    return Ok(());
                }
                if self.inits[own] == Seen::Yes {
                    self.inits[other] = Seen::No;
                }
                self.inits[own] = Seen::Yes;
                self.vtags[other] = announced;
            }
            Chunk::InitAck => {
                let announced = item.announced.ok_or(Invalid::SctpChunks)?;
                let may_be_new = match (self.inits[own], self.inits[other]) {
                    (Seen::No, Seen::Yes) => true,
                    (Seen::Yes, Seen::Yes) => false,
                    (_, Seen::No) => self.vtags[other] == 0,
                };
                if self.vtags[other] != announced && !may_be_new {
                    return Err(Invalid::SctpInitAck(announced));
                }
                self.vtags[other] = announced;
            }
            Chunk::CookieAck => self.inits = [Seen::No; 2],
            _ => {}
        }
        Ok(())
    }
}
