//! Placing calls, and waiting for them.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Instant,
};

use parlo_protocol::{
    call::Call,
    door::{Caller, Door},
    identity::PublicKey,
    packet::{IPV4_UDP, IPV6_UDP},
    relay::Ticket,
    session::Reason,
};
use tokio::{
    net::UdpSocket,
    signal::unix::{Signal, SignalKind, signal},
};

use super::{
    engine::{Engine, Event, Stop},
    error::CallError,
    line::{Line, Role, sleep_until},
    meeting::Meeting,
    socket::{RECEIVE_BYTES, bind, index, passing, report_errors, secret, send},
};
use crate::realtime;

/// Runs the network on this thread until it is done.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    // Packets are timed as sound is: where the codec threads may have priority, so may this one. It sleeps but for moments.
    let _ = realtime::promote(48_000, 480);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(future)
}

/// Places a call; `known` is the peer's name and key, if it has been met before.
pub(super) async fn place(
    engine: &Engine,
    address: SocketAddr,
    known: Option<(String, PublicKey)>,
    relay: Option<(SocketAddr, Ticket)>,
    stop: &Stop,
    on_event: &mut dyn FnMut(Event),
) -> Result<(), CallError> {
    // Everything that can fail on this side comes first: nobody's phone rings for a call that cannot be.
    let prepared = engine.prepare(engine.usual_codec())?;
    let any: SocketAddr =
        if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = bind(any).await?;
    report_errors(&socket, true);
    on_event(Event::Calling(address));
    let mut meeting = relay.map(|(relay, ticket)| Meeting::new(relay, ticket, Instant::now()));
    if let Some(meeting) = &mut meeting
        && !meeting.wait(&socket, &mut Interrupt::new(stop)?).await?
    {
        return Ok(());
    }
    let (name, key) = known.unzip();
    let (offer, limits) = (engine.offer(), engine.limits(headers(address)));
    let call = Call::dial(&engine.identity, key, address, index()?, secret()?, &offer, limits, Instant::now())?;
    let mut line = Line::new(engine, socket, call, None, meeting);
    line.hold(Role::Caller { prepared: Box::new(prepared), name }, stop, on_event).await
}

/// Waits for calls.
pub(super) async fn wait(
    engine: &Engine,
    address: SocketAddr,
    relay: Option<(SocketAddr, Ticket)>,
    once: bool,
    stop: &Stop,
    on_event: &mut dyn FnMut(Event),
) -> Result<(), CallError> {
    crate::audio::check(&engine.config.audio)?;
    let mut socket = bind(address).await?;
    let mut door = Door::new(&engine.identity, secret()?, Instant::now());
    let mut meeting = relay.map(|(relay, ticket)| Meeting::new(relay, ticket, Instant::now()));
    let mut waiting = None;
    on_event(Event::Listening(socket.local_addr()?));
    loop {
        let caller = match waiting.take() {
            Some(caller) => caller,
            None => match answer_door(engine, &socket, &mut door, &mut meeting, stop, on_event).await? {
                Some(caller) => caller,
                None => return Ok(()),
            },
        };
        // The listener's devices are opened only now: no microphone is on before a call. The answer waits until then, so
        // that speech does not pile up before there is a loudspeaker.
        let offer = engine.offer();
        let from = caller.session.address();
        let prepared = match parlo_protocol::offer::Offer::parse(&caller.offer) {
            Ok(theirs) => theirs.shared(&offer).and_then(|answer| theirs.codec(&answer)).map(|c| engine.prepare(c)),
            Err(_) => None,
        };
        let prepared = match prepared {
            None => None,
            Some(Ok(prepared)) => Some(prepared),
            Some(Err(error)) => {
                door.refuse(caller, Reason::Declined, Instant::now());
                transmit(&socket, &mut door);
                if once {
                    return Err(error);
                }
                on_event(Event::Notice(error.to_string()));
                continue;
            }
        };
        let Caller { offer: theirs, session, .. } = caller;
        match (Call::answer(session, &theirs, &offer, engine.limits(headers(from)), Instant::now()), prepared) {
            (Ok(call), Some(prepared)) => {
                let mut line = Line::new(engine, socket, call, Some(door), meeting);
                let result = line.hold(Role::Listener { prepared: Box::new(prepared) }, stop, on_event).await;
                if once || line.interrupted {
                    return result;
                }
                if let Err(error) = result {
                    on_event(Event::Notice(error.to_string()));
                }
                waiting = line.next_caller.take();
                (socket, door, meeting) = line.give_back(engine)?;
                on_event(Event::Listening(socket.local_addr()?));
            }
            (Err(session), _) => {
                door.dismiss(session);
                transmit(&socket, &mut door);
            }
            // Answered without a codec of ours: cannot be, as both follow from the same offers.
            (Ok(_), None) => {}
        }
    }
}

/// Waits until somebody calls who may; `None` if the user wants to end.
async fn answer_door(
    engine: &Engine,
    socket: &UdpSocket,
    door: &mut Door,
    meeting: &mut Option<Meeting>,
    stop: &Stop,
    on_event: &mut dyn FnMut(Event),
) -> Result<Option<Caller>, CallError> {
    let mut interrupt = Interrupt::new(stop)?;
    let mut buffer = vec![0; RECEIVE_BYTES];
    loop {
        let timeout = meeting.as_ref().and_then(Meeting::poll_timeout).into_iter().chain(door.poll_timeout()).min();
        if let Some(meeting) = meeting {
            meeting.transmit(socket);
        }
        let received = tokio::select! {
            () = interrupt.wait() => return Ok(None),
            received = socket.recv_from(&mut buffer) => received,
            () = sleep_until(timeout) => {
                let now = Instant::now();
                door.handle_timeout(now);
                transmit(socket, door);
                if let Some(meeting) = meeting {
                    meeting.tick(now)?;
                }
                continue;
            }
        };
        let Some((length, from)) = passing(received)? else { continue };
        let now = Instant::now();
        if meeting.as_mut().is_some_and(|meeting| meeting.takes(now, from, &buffer[..length])) {
            continue;
        }
        let caller = door.handle(now, from, &mut buffer[..length], index()?);
        if let Some(caller) = caller {
            match admitted(engine, &caller)? {
                None => return Ok(Some(caller)),
                Some(complaint) => {
                    on_event(Event::Notice(complaint));
                    door.refuse(caller, Reason::Declined, now);
                }
            }
        }
        transmit(socket, door);
    }
}

/// Why a caller is not let in; `None` if it is.
pub(super) fn admitted(engine: &Engine, caller: &Caller) -> Result<Option<String>, CallError> {
    let from = caller.session.address();
    // Who comes by way of a relay is not of this machine, wherever the relay is.
    let local = is_loopback(from.ip()) && engine.config.call.relay.is_empty();
    if engine.config.call.anyone || local || caller.peer == engine.identity.public() {
        return Ok(None);
    }
    let known = engine.known.read()?;
    Ok(known
        .by_key(&caller.peer)
        .is_none()
        .then(|| format!("turned away a stranger from {from}; to let it in: parlo peers add NAME - {}", caller.peer)))
}

/// Whether an address is this machine's own, in whatever form it is written.
pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Bytes of IP and UDP headers on the way to an address.
fn headers(address: SocketAddr) -> usize {
    if address.ip().to_canonical().is_ipv4() { IPV4_UDP } else { IPV6_UDP }
}

/// Sends what the door has to send.
pub(super) fn transmit(socket: &UdpSocket, door: &mut Door) {
    let mut datagram = Vec::with_capacity(256);
    while let Some(to) = door.poll_transmit(&mut datagram) {
        send(socket, &datagram, to);
    }
}

/// The user's wish to end, in any of its forms.
pub(super) struct Interrupt<'a> {
    stop: &'a Stop,
    interrupt: Signal,
    terminate: Signal,
}

impl<'a> Interrupt<'a> {
    pub(super) fn new(stop: &'a Stop) -> io::Result<Self> {
        Ok(Self { stop, interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub(super) async fn wait(&mut self) {
        tokio::select! {
            () = self.stop.requested() => {}
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
