//! Two peers and the network between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    time::{Duration, Instant},
};

use parlo_protocol::{
    acceptor::Acceptor,
    identity::Identity,
    session::{Destination, Event, REKEY_EVERY, REKEY_OVERDUE, Session, destination},
};

/// A property that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The listener took a call for confirmed in which the caller does not stand, or more calls than the caller made.
    ConfirmedAlone,
    /// The listener keeps a session for an address to which it has not sent a cookie, or has answered such an address with
    /// more bytes than came.
    StateBeforeProof,
    /// A call that stood has ended, though nobody ended it.
    Replaced,
    /// A genuine packet that came for the first time was not opened, or not to what was sealed.
    KeysDisagree,
    /// Two packets of one side were sealed with the same key and number.
    NumberTwice,
    /// Keys have not been agreed upon for longer than they should be used, and a side does not say so.
    AgeUntold,
    /// Who has robbed both sides of all that they had when the call began opens what is said after keys were agreed anew.
    ThiefFollows,
}

/// A mistake of the program around the sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// It takes a call for confirmed as soon as somebody seems to call.
    RingsBeforeProof,
    /// Its cookies are good for any address: the acceptor is told that all comes from the caller's.
    CookieForAll,
    /// Whoever seems to call again takes the place of the call that stands.
    ReplacesAtOnce,
    /// The caller speaks in a new call with the session of the one before.
    SpeaksWithOldKeys,
    /// The caller is started anew with the seed that it had, gets the same answers, and seals from the first number again.
    RestartsFromSeed,
    /// It makes the keys of later agreements of what a thief found when the call began.
    SeedsFromBefore,
    /// It gives no seeds, and says that the keys are new.
    HidesAge,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A datagram of those sent so far, by its place, gets to the other side, from its sender's address or the attacker's, whole
    /// or with a changed byte.
    Deliver {
        /// Which.
        datagram: usize,
        /// From the attacker's address rather than the sender's.
        elsewhere: bool,
        /// With a byte changed.
        damaged: bool,
    },
    /// The caller (0) or the listener (1) says something, 14336 numbers after the last: five of them are more than an epoch.
    Speak(usize),
    /// A second passes: what was not answered is sent again.
    Second,
    /// As long passes as a cookie is good for.
    Slot,
    /// So much time passes that keys are too old.
    KeysAge,
}

/// Where the search begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// Nothing has happened.
    Fresh,
    /// A call stands.
    Standing,
    /// A call stands, and the same caller has called before, from the same address. What it said then has not come yet.
    Again,
    /// A call stands, and one that the same caller made before has ended.
    Second,
    /// A call stands in which both have spoken, and the next words but one are of another epoch.
    LateInEpoch,
    /// A call stands in which keys are agreed anew, which is due; both have spoken.
    Rekeying,
}

const CALLER: usize = 0;
const LISTENER: usize = 1;

/// Numbers from one word to the next: one that is lost leaves no more out than a session allows, and one that comes after the next
/// is still within the window.
const SKIP: u64 = 0x3800;
/// Numbers that a receiver may miss, and how far back its window goes.
const MISSED: u64 = 0x7000;
const WINDOW: u64 = 16_320;

/// How often each datagram is delivered from each address at most, and how often each side speaks.
const DELIVERIES: u8 = 2;
const SPEECHES: u64 = 6;

/// What was sent.
#[derive(Debug, Clone)]
struct Sent {
    by: usize,
    bytes: Vec<u8>,
    /// Of the call with this number of the caller's.
    call: u8,
    /// What is in it, if it is speech.
    number: Option<u64>,
    at: Instant,
    /// How often it was delivered from where it came, and from elsewhere; and whether it has come whole before.
    delivered: [u8; 2],
    arrived: bool,
}

/// A call that the listener has taken.
#[derive(Debug)]
struct Line {
    session: Box<Session>,
    confirmed: bool,
    /// Hash of what has changed it.
    history: u64,
}

/// A caller, a listener and all that they have sent each other.
#[derive(Debug)]
pub struct World {
    known: bool,
    mutant: Option<Mutant>,
    now: Instant,
    start: Instant,
    caller: Session,
    caller_history: u64,
    /// Of the call before.
    previous: Option<Session>,
    /// Calls that the caller has made, and in how many of them it stood.
    calls: u8,
    stood: u8,
    /// Lines that have been ended.
    ended: u8,
    acceptor: Acceptor,
    door_history: u64,
    lines: Vec<Line>,
    /// How many calls the listener has taken for confirmed; and who had a cookie.
    confirmed: u8,
    cookies: BTreeSet<SocketAddr>,
    sent: Vec<Sent>,
    next: [u64; 2],
    /// What each session has sealed, by its side and index or call, kind and number.
    sealed: BTreeMap<(usize, u16, bool, u64), Vec<u8>>,
    broken: Option<Broken>,
    index: u16,
    /// How often the network may still do something else than to deliver what is sent, once.
    mischief: u8,
    /// When the keys of each side were agreed upon, and how often; of a call in which that is done anew.
    agreed: Option<[(Instant, u64); 2]>,
    /// What a thief has had of both sides since the call began, if keys are agreed anew.
    thieves: Option<Box<[Session; 2]>>,
}

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n], 7275))
}

fn home(side: usize) -> SocketAddr {
    address(if side == CALLER { 1 } else { 2 })
}

const ATTACKER: u8 = 66;

fn mix(history: &mut u64, what: impl Hash) {
    let mut hasher = DefaultHasher::new();
    (*history, what).hash(&mut hasher);
    *history = hasher.finish();
}

/// What a datagram can change in a session: all that it counts but junk.
fn useful(session: &Session) -> (u64, u64, u64, bool, bool, SocketAddr) {
    let stats = session.stats();
    let over = session.is_over();
    (stats.media, stats.control, stats.handshake, session.is_open(), over, session.address())
}

impl World {
    /// A caller that has dialed, by IK if the listener's key is `known`, and the listener; `start` is any time.
    ///
    /// The network may do something else than to deliver what is sent, once, `mischief` times: deliver it again, from elsewhere or
    /// damaged, or let time pass. What it loses or delays costs nothing.
    pub fn new(known: bool, prefix: Prefix, mutant: Option<Mutant>, mischief: u8, start: Instant) -> Self {
        let mut world = Self {
            known,
            mutant: None,
            now: start,
            start,
            caller: dial(known, 1, start),
            caller_history: 0,
            previous: None,
            calls: 1,
            stood: 0,
            ended: 0,
            acceptor: Acceptor::new(&Identity::from_bytes([2; 32]), [4; 32], start),
            door_history: 0,
            lines: Vec::new(),
            confirmed: 0,
            cookies: BTreeSet::new(),
            sent: Vec::new(),
            next: [0; 2],
            sealed: BTreeMap::new(),
            broken: None,
            index: 100,
            mischief,
            agreed: None,
            thieves: None,
        };
        world.drain();
        match prefix {
            Prefix::Again => {
                // As far as an initiation with a cookie.
                for datagram in [0, 1] {
                    world.step(Action::Deliver { datagram, elsewhere: false, damaged: false });
                }
                world.dial_again();
            }
            Prefix::Second => {
                world.settle();
                for line in &mut world.lines {
                    line.session.close();
                    world.ended += 1;
                }
                world.dial_again();
            }
            Prefix::Fresh | Prefix::Standing | Prefix::LateInEpoch | Prefix::Rekeying => {}
        }
        if prefix != Prefix::Fresh {
            world.settle();
        }
        if prefix == Prefix::LateInEpoch {
            for _ in 0..4 {
                world.step(Action::Speak(CALLER));
                world.step(Action::Speak(LISTENER));
                world.settle();
            }
        }
        world.mutant = mutant;
        if prefix == Prefix::Rekeying {
            world.step(Action::Speak(CALLER));
            world.step(Action::Speak(LISTENER));
            world.settle();
            world.begin_rekeying();
        }
        world.mischief = mischief;
        world
    }

    /// Delivers all that is sent in this call, once and in order.
    fn settle(&mut self) {
        let mut at = 0;
        while at < self.sent.len() {
            if !self.sent[at].arrived && self.sent[at].call == self.calls {
                self.step(Action::Deliver { datagram: at, elsewhere: false, damaged: false });
            }
            at += 1;
        }
        // The network is slow to forget, but that much is over.
        for sent in &mut self.sent {
            sent.delivered = [0; 2];
        }
    }

    fn dial_again(&mut self) {
        self.calls += 1;
        self.previous = Some(std::mem::replace(&mut self.caller, dial(self.known, self.calls, self.now)));
        self.next[CALLER] = 0;
        self.drain();
    }

    /// The property that does not hold any more, if there is one.
    pub fn broken(&self) -> Option<Broken> {
        self.broken
    }

    /// Whether both have the call, and may speak.
    pub fn stands(&self) -> bool {
        self.caller.is_open() && self.lines.iter().any(|line| line.confirmed && line.session.is_open())
    }

    /// All that can happen next.
    pub fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (datagram, sent) in self.sent.iter().enumerate() {
            for (elsewhere, damaged) in [(false, false), (true, false), (false, true)] {
                let often = sent.delivered[usize::from(elsewhere)] >= DELIVERIES;
                if !often && (!damaged || sent.by == CALLER) {
                    actions.push(Action::Deliver { datagram, elsewhere, damaged });
                }
            }
        }
        for side in [CALLER, LISTENER] {
            if self.stands() && self.next[side] < SPEECHES * SKIP {
                actions.push(Action::Speak(side));
            }
        }
        actions.extend([Action::Second, Action::Slot]);
        actions.extend(self.agreed.map(|_| Action::KeysAge));
        actions.retain(|action| self.mischief > 0 || !self.is_mischief(*action));
        actions
    }

    fn is_mischief(&self, action: Action) -> bool {
        match action {
            Action::Deliver { datagram, elsewhere, damaged } => elsewhere || damaged || self.sent[datagram].arrived,
            Action::Speak(_) => false,
            Action::Second | Action::Slot | Action::KeysAge => true,
        }
    }

    /// What tells this state from others.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = 0;
        mix(&mut hash, (self.caller_history, self.door_history, self.now - self.start, self.confirmed, self.next));
        mix(&mut hash, self.mischief);
        mix(&mut hash, self.lines.iter().map(|line| (line.history, line.confirmed)).collect::<Vec<_>>());
        let mut sent: Vec<&[u8]> = self.sent.iter().map(|sent| &sent.bytes[..]).collect();
        sent.sort_unstable();
        mix(&mut hash, sent);
        hash
    }

    /// Lets something happen, and looks at the properties.
    pub fn step(&mut self, action: Action) {
        self.mischief = self.mischief.saturating_sub(self.is_mischief(action).into());
        match action {
            Action::Deliver { datagram, elsewhere, damaged } => self.deliver(datagram, elsewhere, damaged),
            Action::Speak(side) => self.speak(side),
            Action::Second => self.pass(Duration::from_secs(1)),
            Action::Slot => self.pass(Duration::from_secs(20)),
            Action::KeysAge => self.pass(REKEY_OVERDUE),
        }
        self.give_seeds();
        self.drain();
        self.look_at_ages();
        // Who stood stands, until somebody ends it.
        let standing = self.lines.iter().filter(|line| line.confirmed && !line.session.is_over()).count();
        if standing + usize::from(self.ended) < usize::from(self.confirmed) {
            self.breaks(Broken::Replaced);
        }
    }

    /// Both sides are to agree upon keys anew, and the first time is due. A thief takes all that they have.
    fn begin_rekeying(&mut self) {
        let (Some(listener), now) = (self.twin(), self.now) else { return };
        self.thieves = Some(Box::new([self.restarted(), listener]));
        let thieves = self.thieves.iter_mut().flat_map(|thieves| thieves.iter_mut());
        let lines = self.lines.iter_mut().map(|line| &mut *line.session);
        for session in thieves.chain(lines).chain([&mut self.caller]) {
            session.enable_rekeying(now);
        }
        self.agreed = Some([(now, 0); 2]);
        self.pass(REKEY_EVERY);
        self.give_seeds();
        self.drain();
    }

    /// The listener's session once more, from the same secret and the same datagrams.
    fn twin(&self) -> Option<Session> {
        let index = self.lines.last()?.session.index();
        let mut acceptor = Acceptor::new(&Identity::from_bytes([2; 32]), [4; 32], self.start);
        let (mut session, mut out): (Option<Box<Session>>, _) = (None, Vec::new());
        for sent in self.sent.iter().filter(|sent| sent.by == CALLER) {
            let mut datagram = sent.bytes.clone();
            match &mut session {
                Some(session) => {
                    let _ = session.handle(self.start, home(CALLER), &mut datagram);
                    while session.poll_transmit(&mut out) {}
                }
                None => {
                    if let Some(mut caller) = acceptor.handle(self.start, home(CALLER), &mut datagram, index) {
                        caller.session.accept(b"", self.start).ok()?;
                        session = Some(caller.session);
                    }
                    while acceptor.poll_transmit(&mut out).is_some() {}
                }
            }
        }
        session.map(|session| *session)
    }

    /// Gives each session the randomness that it asks for; a thief has its own.
    fn give_seeds(&mut self) {
        if self.mutant == Some(Mutant::HidesAge) {
            return;
        }
        let (now, foreseen) = (self.now, self.mutant == Some(Mutant::SeedsFromBefore));
        let lines = self.lines.iter_mut().map(|line| (LISTENER, &mut *line.session));
        for (side, session) in lines.chain([(CALLER, &mut self.caller)]) {
            if session.needs_seed() {
                session.rekey([100 + 2 * session.rekeys() as u8 + side as u8; 32], now);
            }
        }
        for (side, thief) in self.thieves.iter_mut().flat_map(|thieves| thieves.iter_mut()).enumerate() {
            if thief.needs_seed() {
                let its = if foreseen { 100 } else { 200 };
                thief.rekey([its + 2 * thief.rekeys() as u8 + side as u8; 32], now);
            }
        }
    }

    /// Where keys are old, both sides say so; and the program hands that on.
    fn look_at_ages(&mut self) {
        let Some(mut agreed) = self.agreed else { return };
        let now = self.now;
        let line = self.lines.iter().rev().find(|line| line.confirmed && !line.session.is_over());
        let sessions = [Some(&self.caller), line.map(|line| &*line.session)];
        let mut untold = false;
        for (session, (since, count)) in sessions.into_iter().zip(&mut agreed) {
            let Some(session) = session else { continue };
            if session.rekeys() > *count {
                (*since, *count) = (now, session.rekeys());
            }
            let told = session.key_age(now).is_some_and(|age| age > REKEY_OVERDUE);
            let told = told && self.mutant != Some(Mutant::HidesAge);
            untold |= now - *since > REKEY_OVERDUE && !told;
        }
        self.agreed = Some(agreed);
        if untold {
            self.breaks(Broken::AgeUntold);
        }
    }

    /// A thief hears what is said. What was sealed with newer keys than it has, it does not open.
    fn overhear(&mut self, by: usize, datagram: &[u8]) {
        let renewed = self.agreed.is_some_and(|agreed| agreed[by].1 > 0);
        let Some(thieves) = &mut self.thieves else { return };
        let came = media(thieves[1 - by].handle(self.now, home(by), &mut datagram.to_vec()));
        let mut out = Vec::new();
        while thieves[1 - by].poll_transmit(&mut out) {}
        if renewed && came.is_some() {
            self.breaks(Broken::ThiefFollows);
        }
    }

    fn breaks(&mut self, broken: Broken) {
        self.broken = self.broken.or(Some(broken));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let _ = self.caller.handle_timeout(self.now);
        self.acceptor.handle_timeout(self.now);
        for line in &mut self.lines {
            let _ = line.session.handle_timeout(self.now);
        }
        for thief in self.thieves.iter_mut().flat_map(|thieves| thieves.iter_mut()) {
            let _ = thief.handle_timeout(self.now);
        }
        self.lines.retain(|line| line.confirmed || !line.session.is_over());
    }

    fn speak(&mut self, side: usize) {
        let number = self.next[side];
        self.next[side] += SKIP;
        let (mut out, body) = (Vec::new(), number.to_be_bytes());
        let session = match side {
            CALLER if self.mutant == Some(Mutant::SpeaksWithOldKeys) => self.previous.as_mut(),
            CALLER => Some(&mut self.caller),
            _ => self.lines.iter_mut().rev().find(|line| line.confirmed).map(|line| &mut *line.session),
        };
        let Some(session) = session else { return };
        let id = if side == CALLER { self.calls.into() } else { session.index() };
        if session.seal_media(number, 0, &body, &mut out).is_ok() {
            self.note(side, id, out, Some(number));
        }
        if side == CALLER && self.mutant == Some(Mutant::RestartsFromSeed) {
            let (mut session, mut out) = (self.restarted(), Vec::new());
            if session.seal_media(number, 0, b"other words", &mut out).is_ok() {
                self.note(side, id, out, Some(number));
            }
        }
    }

    /// The caller's session once more, from the same seed and the same answers.
    fn restarted(&self) -> Session {
        let mut session = dial(self.known, self.calls, self.start);
        let mut out = Vec::new();
        for sent in self.sent.iter().filter(|sent| sent.by == LISTENER) {
            while session.poll_transmit(&mut out) {}
            let _ = session.handle(self.start, home(LISTENER), &mut sent.bytes.clone());
        }
        session
    }

    /// Something was sent: every number is sealed once.
    fn note(&mut self, by: usize, id: u16, bytes: Vec<u8>, number: Option<u64>) {
        let first = bytes.first().copied().unwrap_or_default();
        let is_media = first >= 0x80;
        if is_media || first == 0x40 {
            let shown = bytes.get(3..5).map_or(0, |number| u64::from(u16::from_be_bytes([number[0], number[1]])));
            let key = (by, id, is_media, number.unwrap_or(shown));
            if self.sealed.insert(key, bytes.clone()).is_some_and(|before| before != bytes) {
                self.breaks(Broken::NumberTwice);
            }
        }
        // The same again is nothing new to the attacker.
        if !self.sent.iter().any(|sent| sent.bytes == bytes) {
            self.overhear(by, &bytes);
            let (call, at) = (self.calls, self.now);
            self.sent.push(Sent { by, bytes, call, number, at, delivered: [0; 2], arrived: false });
        }
    }

    /// Takes what all have to send.
    fn drain(&mut self) {
        let mut out = Vec::new();
        let mut all = Vec::new();
        while self.caller.poll_transmit(&mut out) {
            all.push((CALLER, u16::from(self.calls), out.clone()));
        }
        for line in &mut self.lines {
            while line.session.poll_transmit(&mut out) {
                all.push((LISTENER, line.session.index(), out.clone()));
            }
        }
        while let Some(to) = self.acceptor.poll_transmit(&mut out) {
            if out.first() == Some(&0x42) {
                self.cookies.insert(to);
            }
            all.push((LISTENER, 0, out.clone()));
        }
        for (by, id, bytes) in all {
            self.note(by, id, bytes, None);
        }
    }

    fn deliver(&mut self, at: usize, elsewhere: bool, damaged: bool) {
        let Sent { by, bytes, number, call, arrived, at: when, .. } = self.sent[at].clone();
        let mates = self.sent.iter().filter(|sent| sent.by == by && sent.call == call && sent.arrived);
        let highest = mates.filter_map(|sent| sent.number).max();
        self.sent[at].delivered[usize::from(elsewhere)] += 1;
        self.sent[at].arrived |= !damaged;
        let from = if elsewhere { address(ATTACKER) } else { home(by) };
        let mut datagram = bytes.clone();
        if damaged && let Some(last) = datagram.last_mut() {
            *last ^= 1;
        }
        // Speech of this call that comes for the first time, whole, and not too far before or behind.
        let opens = number.filter(|&number| {
            let near = highest
                .is_none_or(|highest| number.abs_diff(highest) <= if number > highest { MISSED } else { WINDOW - 1 });
            // The keys before the last are kept for longer than this, and no longer than need be.
            let is_fresh = self.agreed.is_none() || self.now - when <= Duration::from_secs(25);
            near && is_fresh && !arrived && !damaged && call == self.calls && self.stands()
        });
        let came = if by == CALLER {
            self.deliver_to_listener(from, &mut datagram, (&bytes, damaged))
        } else {
            self.deliver_to_caller(from, &mut datagram, &bytes)
        };
        if opens.is_some() && came != opens || came.is_some() && arrived {
            self.breaks(Broken::KeysDisagree);
        }
    }

    fn deliver_to_caller(&mut self, from: SocketAddr, datagram: &mut [u8], genuine: &[u8]) -> Option<u64> {
        let (before, was_open) = (useful(&self.caller), self.caller.is_open());
        let came = media(self.caller.handle(self.now, from, datagram));
        while self.caller.poll_event().is_some() {}
        if useful(&self.caller) != before {
            mix(&mut self.caller_history, genuine);
        }
        if !was_open && self.caller.is_open() {
            self.stood += 1;
        }
        came
    }

    fn deliver_to_listener(&mut self, from: SocketAddr, datagram: &mut [u8], what: (&[u8], bool)) -> Option<u64> {
        let length = datagram.len();
        let here = self.lines.iter().position(|line| {
            !line.session.is_over()
                && match destination(datagram) {
                    Destination::Session(index) => index == line.session.index(),
                    Destination::CookieGate => line.session.is_repeat(from, datagram),
                    Destination::Stun | Destination::Nobody => false,
                }
        });
        if let Some(at) = here {
            return self.deliver_to_line(at, from, datagram, what);
        }
        self.index += 1;
        let told = if self.mutant == Some(Mutant::CookieForAll) { home(CALLER) } else { from };
        let before = *self.acceptor.stats();
        let caller = self.acceptor.handle(self.now, told, datagram, self.index);
        let after = *self.acceptor.stats();
        if before != after || caller.is_some() {
            mix(&mut self.door_history, (what, from, after.sessions));
        }
        if after.sessions > before.sessions && !self.cookies.contains(&from) {
            self.breaks(Broken::StateBeforeProof);
        }
        let mut reply = Vec::new();
        let proven = self.cookies.contains(&from);
        while let Some(to) = self.acceptor.poll_transmit(&mut reply) {
            if !proven && reply.len() > length {
                self.breaks(Broken::StateBeforeProof);
            }
            if reply.first() == Some(&0x42) {
                self.cookies.insert(to);
            }
            self.note(LISTENER, 0, reply.clone(), None);
        }
        if let Some(mut caller) = caller {
            if self.mutant == Some(Mutant::ReplacesAtOnce) {
                self.lines.retain(|line| line.session.peer() != Some(caller.peer));
            }
            if caller.session.accept(b"", self.now).is_ok() {
                let mut history = 0;
                mix(&mut history, (what, from));
                self.lines.push(Line { session: caller.session, confirmed: false, history });
            }
            if self.mutant == Some(Mutant::RingsBeforeProof) {
                let at = self.lines.len() - 1;
                self.confirm(at);
            }
        }
        None
    }

    fn deliver_to_line(
        &mut self,
        at: usize,
        from: SocketAddr,
        datagram: &mut [u8],
        what: (&[u8], bool),
    ) -> Option<u64> {
        let line = &mut self.lines[at];
        let before = useful(&line.session);
        let mut confirmed = false;
        let came = match line.session.handle(self.now, from, datagram) {
            Some(Event::Confirmed) => {
                confirmed = true;
                None
            }
            event => media(event),
        };
        while let Some(event) = line.session.poll_event() {
            confirmed |= event == Event::Confirmed;
        }
        if useful(&line.session) != before {
            mix(&mut line.history, (what, from));
        }
        if confirmed {
            self.confirm(at);
        }
        came
    }

    /// The listener takes a call for confirmed.
    fn confirm(&mut self, at: usize) {
        self.confirmed += 1;
        self.lines[at].confirmed = true;
        let is_caller = self.lines[at].session.peer() == Some(Identity::from_bytes([1; 32]).public());
        if !is_caller || self.confirmed > self.stood {
            self.breaks(Broken::ConfirmedAlone);
        }
    }
}

fn media(event: Option<Event<'_>>) -> Option<u64> {
    match event {
        Some(Event::Media { number, body, .. }) if body == number.to_be_bytes() => Some(number),
        _ => None,
    }
}

fn dial(known: bool, call: u8, now: Instant) -> Session {
    let key = known.then(|| Identity::from_bytes([2; 32]).public());
    let dialed =
        Session::dial(&Identity::from_bytes([1; 32]), key, home(LISTENER), call.into(), b"offer", [10 + call; 32], now);
    dialed.unwrap_or_else(|error| unreachable!("the key and the offer are good: {error}"))
}
