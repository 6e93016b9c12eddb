//! What is our address, seen from outside? A STUN server says (RFC 8489): it answers a Binding request with the address
//! that the request came from, after all address translators on the way.
//!
//! [`Query`] is the exchange without I/O; [`outside_address`] runs it on a socket. The address is that of *this* socket, and
//! another has another: ask on the one that calls will use.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use stun_types::{
    attribute::{ErrorCode, XorMappedAddress},
    message::{BINDING, Message, MessageClass, MessageType, MessageWrite, MessageWriteVec},
};
use thiserror::Error;
use tokio::{net::UdpSocket, time::sleep_until};

/// Marks a request's answer: drawn at random by who asks, fit for keys, for it is all that keeps forgers out.
pub type TransactionId = [u8; 12];

/// First pause before a request is repeated; each further one is twice as long (RFC 8489 section 6.2.1: RTO).
const PAUSE: Duration = Duration::from_millis(500);

/// How long to wait after the last request, in first pauses (there: Rm).
const LAST_WAIT: u32 = 16;

/// How often a request is sent. The RFC proposes seven (Rc), which takes 39.5 s to fail; four take 11.5 s, and a person
/// waits.
const TRIES: u32 = 4;

/// Longer than any answer to be expected.
const RECEIVE_BYTES: usize = 1500;

/// Why there is no address.
#[derive(Debug, Error)]
pub enum StunError {
    /// The server answers that it cannot.
    #[error("the STUN server refused: {reason} (error {code})")]
    Refused {
        /// As in RFC 8489 section 14.8, 300 to 699.
        code: u16,
        /// Its words.
        reason: String,
    },
    /// The server's answer has no XOR-MAPPED-ADDRESS: it speaks RFC 3489, of 2003, or none.
    #[error("the STUN server's answer has no address in it: try another server")]
    NoAddress,
    /// None came.
    #[error("no answer from the STUN server: is the address right, and does the network let UDP through?")]
    Silent,
    /// Of the socket.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A Binding request (RFC 8489 section 6.1), 20 bytes.
pub fn request(id: TransactionId) -> Vec<u8> {
    let kind = MessageType::from_class_method(MessageClass::Request, BINDING);
    Message::builder(kind, number(id).into(), MessageWriteVec::new()).finish()
}

/// Reads the outside address from the answer to a request. `None` if it is no answer to that one, however it looks; such
/// datagrams are to be ignored.
pub fn parse(datagram: &[u8], id: TransactionId) -> Option<Result<SocketAddr, StunError>> {
    // Speech arrives at the same socket: a look at the first bits (RFC 8489 section 5) spares it the rest.
    if datagram.first().is_none_or(|first| first & 0xc0 != 0) {
        return None;
    }
    let message = Message::from_bytes(datagram).ok()?;
    if !message.is_response() || message.method() != BINDING || message.transaction_id() != number(id).into() {
        return None;
    }
    if message.class() == MessageClass::Error {
        let error = message.attribute::<ErrorCode>().ok();
        return Some(Err(StunError::Refused {
            code: error.as_ref().map_or(0, ErrorCode::code),
            // Their words go to a terminal.
            reason: error.map_or(String::new(), |error| error.reason().chars().filter(|c| !c.is_control()).collect()),
        }));
    }
    let address = message.attribute::<XorMappedAddress>();
    Some(address.map(|address| address.addr(message.transaction_id())).map_err(|_| StunError::NoAddress))
}

fn number(id: TransactionId) -> u128 {
    id.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// One question to a STUN server, without I/O: send what [`poll_transmit`](Self::poll_transmit) gives, hand in what comes, and
/// call [`handle_timeout`](Self::handle_timeout) when the time that [`poll_timeout`](Self::poll_timeout) names has come.
#[derive(Debug)]
pub struct Query {
    id: TransactionId,
    /// Requests so far.
    sent: u32,
    due: Instant,
    must_send: bool,
}

impl Query {
    /// Starts to ask.
    pub fn new(id: TransactionId, now: Instant) -> Self {
        Self { id, sent: 1, due: now + PAUSE, must_send: true }
    }

    /// The request, if it is to be sent now.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        std::mem::take(&mut self.must_send).then(|| request(self.id))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Instant {
        self.due
    }

    /// Asks again if it is time to.
    ///
    /// # Errors
    /// [`StunError::Silent`] when it is time to give up.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), StunError> {
        if now < self.due {
            return Ok(());
        }
        if self.sent >= TRIES {
            return Err(StunError::Silent);
        }
        self.sent += 1;
        self.must_send = true;
        self.due = now + if self.sent < TRIES { PAUSE * (1 << (self.sent - 1)) } else { PAUSE * LAST_WAIT };
        Ok(())
    }

    /// Takes a datagram from the server; `None` if it is not the answer.
    pub fn handle(&self, datagram: &[u8]) -> Option<Result<SocketAddr, StunError>> {
        parse(datagram, self.id)
    }
}

/// Asks a STUN server for the outside address of a socket, which must not be connected. Other datagrams that arrive
/// meanwhile are lost.
///
/// # Errors
/// Those of [`StunError`].
pub async fn outside_address(
    socket: &UdpSocket,
    server: SocketAddr,
    id: TransactionId,
) -> Result<SocketAddr, StunError> {
    let mut query = Query::new(id, Instant::now());
    let mut datagram = [0; RECEIVE_BYTES];
    loop {
        if let Some(request) = query.poll_transmit() {
            socket.send_to(&request, server).await?;
        }
        let received = tokio::select! {
            received = socket.recv_from(&mut datagram) => received,
            () = sleep_until(query.poll_timeout().into()) => {
                query.handle_timeout(Instant::now())?;
                continue;
            }
        };
        match received {
            Ok((length, from)) if from == server => {
                if let Some(answer) = query.handle(&datagram[..length]) {
                    return answer;
                }
            }
            Ok(_) => {}
            // Nobody listens there just now.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error.into()),
        }
    }
}
