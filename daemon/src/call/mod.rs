//! What a call is made with and made of: the model and the configuration ([`Engine`]), from frames to packets ([`Packetizer`]) and
//! back ([`Depacketizer`]), and from what came to sound ([`Player`]). The sound of all calls is the [`media`](crate::media)'s, their
//! network side the [`hub`](crate::hub)'s.

pub(crate) mod depacketizer_thread;
mod engine;
mod error;
mod events;
mod depacketizer;
pub mod channels;
pub(crate) mod packetizer;
mod voice_activity;
mod player;
mod resolve;
mod timeline;
mod codec;

pub use engine::Engine;
pub(crate) use engine::{Found, resolve};
pub use error::{CallError, DEFAULT_PORT};
pub use events::{Event, Finished, Peer, Stop};
pub use depacketizer::Depacketizer;
pub use packetizer::{EncodedFrame, Packetizer, PacketizerStats, PayloadCoder, RunPosition, Transmit, transmit};
pub use voice_activity::VoiceActivity;
pub use player::{Heard, Kind, Player, PlayerStats};
pub use resolve::resolve as addresses;
pub use timeline::{Moment, Timeline};
pub use codec::{FrameDecoder, OPUS_RATES, RUN_FRAMES, FrameEncoder, CodedFrame, CodecError};
