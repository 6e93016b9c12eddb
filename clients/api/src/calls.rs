//! Calls.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who is on the other side.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Peer {
    /// Its name among the contacts, if it has one.
    pub name: Option<String>,
    /// Its public key; none while a new peer has not answered.
    pub key: Option<String>,
    /// The key, short, for people to compare.
    pub fingerprint: Option<String>,
    /// Where it is, `ADDRESS:PORT`.
    pub address: String,
}

/// Which side asked for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// This one.
    Outgoing,
    /// The peer.
    Incoming,
}

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// The peer is looked for.
    Calling,
    /// It rings: at the peer, or here, where it waits for an answer.
    Ringing,
    /// Both sides may speak.
    Active,
    /// It is over. Ended calls are listed for a minute.
    Ended,
}

/// What a call may send. Clients may change it at any time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CallSettings {
    /// Codebooks at most, from 1 to the bundle's number; each adds 0.5 kbps before entropy coding and headers.
    pub depth: u8,
    /// Frames in each packet while the path is good, 1 to 12 (20 to 240 ms).
    pub frames_per_packet: u8,
    /// Whether depth, bundling and copies follow the path.
    pub adapt: bool,
    /// Most time that a packet may take to fill when bundles grow, 20 to 240 ms.
    pub latency_ms: u64,
    /// Most kilobits per second to send, every header counted; 0 for what the path carries.
    pub max_kbps: f64,
}

/// Where the bits sent over the last second went, kbps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Bitrates {
    /// Coded speech and silence descriptors.
    pub speech: f64,
    /// Copies of earlier frames, against loss; an estimate by the share of codes, as one range coder writes both.
    pub redundancy: f64,
    /// Parlo's own headers, tags, reports and feedback.
    pub headers: f64,
    /// IP and UDP headers.
    pub ip: f64,
    /// All of it: the wire bitrate.
    pub wire: f64,
}

/// From the peer's mouth to this side's ear, by stage, milliseconds, as this side can tell. The peer's capture and encoder
/// are taken to be as this side's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Budget {
    /// Microphone, its buffers and resampling.
    pub capture: f64,
    /// A packet's frames, until the last of them is whole, and the model's look-ahead and overlap.
    pub frame: f64,
    /// The way through the network: half a round trip, as measured when the call began.
    pub network: f64,
    /// The jitter buffer.
    pub jitter_buffer: f64,
    /// Encoding and decoding.
    pub codec: f64,
    /// Loudspeaker, its buffers and resampling.
    pub device: f64,
    /// All of it.
    pub total: f64,
}

/// Frames that were to be heard, by what they were made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FrameCounts {
    /// As they were coded.
    pub real: u64,
    /// From a coarse copy.
    pub coarse: u64,
    /// Lost, and predicted.
    pub predicted: u64,
    /// Lost, after so many others that nothing is heard any more.
    pub faded: u64,
    /// Comfort noise: nobody spoke.
    pub silent: u64,
    /// Of those lost, how many came after all, too late.
    pub late: u64,
}

/// What a call is like now. Once a second new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CallFigures {
    /// Since both sides may speak, seconds.
    pub elapsed_s: f64,
    /// Sent over the last second.
    pub sent: Bitrates,
    /// Received over the last second, with every header, kbps.
    pub received_kbps: f64,
    /// Codebooks sent now.
    pub depth: u8,
    /// Frames in each packet sent now.
    pub frames_per_packet: u8,
    /// Copies in each packet sent now.
    pub copies: u8,
    /// Share of this side's packets that are lost on the way, as the peer tells, 0 to 1.
    pub loss_sent: f64,
    /// Share of the last second's frames due here that were lost: predicted or faded, 0 to 1.
    pub loss_heard: f64,
    /// What the path to the peer is thought to carry, kbps.
    pub path_kbps: f64,
    /// The handshake's round trip, ms.
    pub round_trip_ms: f64,
    /// Bits that each frame sent over the last second holds by the entropy model; none if no frame was sent.
    pub bits_per_frame: Option<f64>,
    /// How often both sides have agreed upon new keys, which is every two minutes; none if the peer's program is too old for it.
    #[serde(default)]
    pub rekeys: Option<u64>,
    /// How old the keys are, seconds; none as above.
    #[serde(default)]
    pub key_age_s: Option<f64>,
    /// Whether they are older than five minutes: something on the way keeps the two sides from agreeing, though speech passes.
    #[serde(default)]
    pub rekey_overdue: bool,
    /// Frames heard.
    pub frames: FrameCounts,
    /// Mouth to ear.
    pub budget: Budget,
    /// Level of the peer's voice, dBFS (RMS over 300 ms), -120 at least.
    pub level_dbfs: f32,
    /// Time to encode a frame, 99th percentile, microseconds.
    pub encode_us_p99: u64,
    /// Time to decode a frame, 99th percentile, microseconds.
    pub decode_us_p99: u64,
}

/// A call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Call {
    /// Its number, from 1, never used again while the daemon runs.
    pub id: u64,
    /// Who asked for it.
    pub direction: Direction,
    /// How far it has come.
    pub state: CallState,
    /// Who is there.
    pub peer: Peer,
    /// When it began, seconds since 1970-01-01 UTC.
    pub began_s: f64,
    /// Whether this side holds it: nothing is said and nothing heard.
    pub held: bool,
    /// Whether the peer holds it.
    pub held_by_peer: bool,
    /// Whether its peer hears the other calls of the conference, and is heard there.
    pub conference: bool,
    /// How loud it is heard, dB, -60 to 12.
    pub volume_db: f32,
    /// "tokens" of a bundle, or "opus", where the peers share none; none until it is known.
    pub codec: Option<String>,
    /// Identity of the tokens, that of one of the daemon's bundles; none in Opus, and until it is known.
    #[serde(default)]
    pub tokens: Option<String>,
    /// What it may send.
    pub settings: CallSettings,
    /// Name of the recording that is being made of it, if one is.
    pub recording: Option<String>,
    /// Whether the peer says that it records the call.
    #[serde(default)]
    pub recorded_by_peer: bool,
    /// What it is like; none before both sides may speak.
    pub figures: Option<CallFigures>,
    /// Why it ended, for people; none if it has not, or somebody hung up.
    pub failure: Option<String>,
}

/// Asks for a call. What is left out is as the configuration says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Dial {
    /// Name of a contact, `HOST:PORT`, or `HOST`.
    pub peer: String,
    /// See [`CallSettings::depth`].
    #[serde(default)]
    pub depth: Option<u8>,
    /// See [`CallSettings::frames_per_packet`].
    #[serde(default)]
    pub frames_per_packet: Option<u8>,
    /// See [`CallSettings::adapt`].
    #[serde(default)]
    pub adapt: Option<bool>,
    /// See [`CallSettings::latency_ms`].
    #[serde(default)]
    pub latency_ms: Option<u64>,
    /// See [`CallSettings::max_kbps`].
    #[serde(default)]
    pub max_kbps: Option<f64>,
    /// Relay to meet at, `HOST:PORT`.
    #[serde(default)]
    pub relay: Option<String>,
    /// What both sides tell the relay.
    #[serde(default)]
    pub ticket: Option<String>,
}

/// Changes a call. What is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CallChange {
    /// Hold it, or take it up again.
    pub held: Option<bool>,
    /// Take it into the conference, or out.
    pub conference: Option<bool>,
    /// See [`Call::volume_db`].
    pub volume_db: Option<f32>,
    /// See [`CallSettings::depth`].
    pub depth: Option<u8>,
    /// See [`CallSettings::frames_per_packet`].
    pub frames_per_packet: Option<u8>,
    /// See [`CallSettings::adapt`].
    pub adapt: Option<bool>,
    /// See [`CallSettings::latency_ms`].
    pub latency_ms: Option<u64>,
    /// See [`CallSettings::max_kbps`].
    pub max_kbps: Option<f64>,
}

/// Why a caller is refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// "I do not want to."
    #[default]
    Declined,
    /// "I am in another call."
    Busy,
}

/// Refuses a caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Refusal {
    /// What the caller is told.
    pub reason: RefusalReason,
}
