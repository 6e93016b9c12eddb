//! From a configuration to a call and its report.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, bounded};
use parlo_model::{Bundle, Decoder, Encoder, EncoderConfig, EntropyModel, ModelError, PacketCoder, Runtime};
use parlo_opus::{OpusDecoder, OpusEncoder, Protection};
use parlo_protocol::{
    adapt::{Costs, Limits},
    call::CallStats,
    identity::{Identity, PublicKey},
    jitter::JitterConfig,
    offer::{Codec, Offer},
    relay::Ticket,
    session,
};
use tokio::sync::Notify;

use super::{
    capture::{Capture, CaptureFigures},
    error::{CallError, DEFAULT_PORT},
    media::{CHANNEL_FRAMES, Incoming, Shared},
    network,
    outbound::{Captured, OutboundStats, Packing},
    playback::{Playback, PlaybackFigures},
    player::Player,
    timeline::Timeline,
    voice::{Listener, OPUS_RATES, Speaker, VoiceError},
};
use crate::{
    audio,
    config::Config,
    keys::{self, KnownPeers},
    report::{Frames, Junk, Report, Traffic},
};

/// Moments that a timeline has room for: an hour of frames.
const TIMELINE_FRAMES: usize = 180_000;

/// The other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    /// Its name in the file of known peers, if it has one.
    pub name: Option<String>,
    /// Its key.
    pub key: PublicKey,
    /// What both sides send.
    pub codec: Codec,
    /// Codebooks that it means to send at most.
    pub depth: u8,
    /// Frames in each of its packets while its path is good.
    pub frames_per_packet: u8,
}

/// What happens, for those who watch.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Calls are awaited here.
    Listening(SocketAddr),
    /// A peer is being called.
    Calling(SocketAddr),
    /// The call stands.
    Connected(Peer),
    /// A sentence for the user: a device changed.
    Notice(String),
    /// Once a second during a call.
    Progress {
        /// Since the call stands.
        elapsed: Duration,
        /// Frames played and lost so far.
        played: u64,
        /// Frames that were not there when due.
        lost: u64,
        /// Delay of the jitter buffer now.
        jitter_delay: Duration,
        /// Sent over the last second with every header, kbps.
        wire_kbps: f64,
        /// Share of the packets sent that are lost on the way, as the peer tells.
        peer_loss: f64,
        /// Codebooks, frames a packet and copies sent now.
        plan: [u8; 3],
        /// Bits that each frame sent over the last second holds, by the entropy model; none if there is no model or no
        /// frame. How well the model knows the voice, and, where it falls, that nobody speaks.
        bits_per_frame: Option<f64>,
    },
    /// The call is over, well or badly.
    Ended(Box<Finished>),
}

/// A call that is over.
#[derive(Debug)]
pub struct Finished {
    /// Its figures.
    pub report: Report,
    /// When frames were captured; empty unless asked for.
    pub captured: Timeline,
    /// When frames were heard; empty unless asked for.
    pub played: Timeline,
}

/// Ends a call, or the waiting for one, from anywhere. Clones end the same.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Notify>);

impl Stop {
    /// Asks for the end. The call hangs up properly.
    pub fn request(&self) {
        self.0.notify_one();
    }

    pub(super) async fn requested(&self) {
        self.0.notified().await;
    }
}

/// A loaded model and a configuration, ready to place or take calls.
#[derive(Debug)]
pub struct Engine {
    pub(super) config: Config,
    pub(super) known: KnownPeers,
    pub(super) identity: Identity,
    runtime: Runtime,
    bundle: Bundle,
    entropy: Option<EntropyModel>,
    started: Instant,
    timeline: bool,
}

impl Engine {
    /// Loads the ONNX Runtime library and the bundle that the configuration names, and this user's key, which it makes if there
    /// is none yet.
    ///
    /// `started` is when the program began, for the report's start-up time; `timeline` asks for the moments of frames.
    ///
    /// # Errors
    /// If any of them cannot be had, or the bundle has fewer codebooks than the configuration asks for.
    pub fn new(config: Config, started: Instant, timeline: bool) -> Result<Self, CallError> {
        let runtime = Runtime::load(named(&config.model.library))?;
        let bundle = Bundle::open(&parlo_model::locate_bundle(named(&config.model.bundle))?)?;
        if config.call.depth > bundle.layout().depth() {
            let most = bundle.layout().depth();
            return Err(ModelError::Depth { asked: config.call.depth, most }.into());
        }
        let entropy = bundle.entropy_model()?;
        let folder = keys::folder()?;
        let (identity, known) = (keys::identity(&folder)?, KnownPeers::new(&folder));
        Ok(Self { config, known, identity, runtime, bundle, entropy, started, timeline })
    }

    /// Calls `peer`, a name in the file of known peers, a `HOST:PORT` or a `HOST`, and stays until either side hangs up, the
    /// source ends, or `stop` is requested. SIGINT and SIGTERM hang up too.
    ///
    /// # Errors
    /// If the call cannot be placed, is refused, or breaks; of a call that stood, [`Event::Ended`] comes all the same.
    pub fn call(&self, peer: &str, stop: &Stop, on_event: &mut dyn FnMut(Event)) -> Result<(), CallError> {
        let peers = self.known.read()?;
        let known = peers.by_name(peer).or_else(|| peers.by_address(peer));
        let place = match &self.config.call.relay {
            relay if relay.is_empty() => known.and_then(|known| known.address.as_deref()).unwrap_or(peer),
            // The peer is reached at the relay, wherever it is.
            relay => relay,
        };
        let address = resolve(place)?;
        // The same address in another form is the same peer; but at a relay anybody may be.
        let direct = self.config.call.relay.is_empty();
        let known = known.or_else(|| peers.by_address(&address.to_string()).filter(|_| direct));
        let key = known.map(|known| (known.name.clone(), known.key));
        network::block_on(network::place(self, address, key, self.relay()?, stop, on_event))
    }

    /// Waits at the configured address for calls, one at a time, until `stop`, SIGINT or SIGTERM; only for the first if
    /// `once`.
    ///
    /// # Errors
    /// If the address cannot be used, or, with `once`, the call broke.
    pub fn listen(&self, once: bool, stop: &Stop, on_event: &mut dyn FnMut(Event)) -> Result<(), CallError> {
        let address = resolve(&self.config.call.listen)?;
        network::block_on(network::wait(self, address, self.relay()?, once, stop, on_event))
    }

    /// The relay to meet at, if there is one.
    fn relay(&self) -> Result<Option<(SocketAddr, Ticket)>, CallError> {
        let call = &self.config.call;
        if call.relay.is_empty() {
            return Ok(None);
        }
        Ok(Some((resolve(&call.relay)?, call.ticket.parse()?)))
    }

    /// What this side offers a peer.
    pub(super) fn offer(&self) -> Offer {
        Offer {
            bundles: vec![self.bundle.id()],
            opus: true,
            depth: u8::try_from(self.config.call.depth).unwrap_or(u8::MAX),
            frames_per_packet: self.config.call.frames_per_packet,
        }
    }

    /// What the user lets a call send.
    pub(super) fn limits(&self, headers: usize) -> Limits {
        let call = &self.config.call;
        Limits {
            depth: u8::try_from(call.depth).unwrap_or(u8::MAX),
            frames: call.frames_per_packet,
            latency: Duration::from_millis(call.latency_ms),
            bits: (call.max_kbps > 0.0).then_some(1000.0 * call.max_kbps),
            frame: self.bundle.manifest().audio.frame_duration(),
            headers,
        }
    }

    /// What frames of the codec cost. Of Opus what is called depth stands for its bitrates.
    pub(super) fn costs(&self, codec: Codec) -> Costs {
        match codec {
            Codec::Tokens(_) => {
                let layout = self.bundle.layout();
                Costs::tokens((0..layout.depth()).map(|book| layout.bits(book)))
            }
            Codec::Opus => Costs {
                bits: OPUS_RATES.iter().map(|&rate| f64::from(rate) / 50.0).collect(),
                // 1 - ESTOI, docs/quality/scores.md (opusnolace-6, -9, -12, opus-16, -24; the others lie between).
                damage: vec![0.235, 0.17, 0.12, 0.091, 0.078, 0.051, 0.026, 0.011],
                copies: false,
            },
        }
    }

    /// What turns units into payloads, or back.
    pub(super) fn packing(&self, codec: Codec) -> Packing {
        match codec {
            Codec::Tokens(_) => Packing::Tokens(PacketCoder::new(*self.bundle.layout(), self.entropy.as_ref())),
            Codec::Opus => Packing::Opus,
        }
    }

    /// Opens the sound's two ends and makes both codecs: everything slow, and everything that can fail, before the call.
    pub(super) fn prepare(&self, codec: Codec) -> Result<Prepared, CallError> {
        let (speaker, player) = self.codec(codec)?;
        let audio = &self.bundle.manifest().audio;
        let (sample_rate, frame_samples, delay_samples) = match codec {
            Codec::Tokens(_) => (audio.sample_rate, audio.frame_samples, audio.delay_samples),
            Codec::Opus => (parlo_opus::RATE, parlo_opus::FRAME_SAMPLES, parlo_opus::FRAME_SAMPLES),
        };
        let source = audio::open_source(&self.config.audio, sample_rate)?;
        let sink = audio::open_sink(&self.config.audio, sample_rate)?;
        let (to_network, from_capture) = bounded(CHANNEL_FRAMES);
        let (to_playback, from_network) = bounded(CHANNEL_FRAMES);
        let (notices, notice) = bounded(16);
        let room = if self.timeline { TIMELINE_FRAMES } else { 0 };
        Ok(Prepared {
            codec,
            capture: Capture {
                source,
                speaker,
                detects_silence: self.config.call.silence,
                sample_rate,
                frame_samples,
                delay_samples,
                frames: to_network,
                notices: notices.clone(),
                timeline: Timeline::with_room(room),
            },
            playback: Playback {
                sink,
                player,
                sample_rate,
                frame_samples,
                frames: from_network,
                notices,
                timeline: Timeline::with_room(room),
            },
            captured: from_capture,
            to_playback,
            notices: notice,
        })
    }

    fn codec(&self, codec: Codec) -> Result<(Speaker, Player), CallError> {
        let audio = &self.bundle.manifest().audio;
        let least = Duration::from_millis(self.config.call.jitter_ms);
        let usual = JitterConfig::default();
        let jitter = JitterConfig { frame: audio.frame_duration(), start: usual.start.max(least), least, ..usual };
        match codec {
            Codec::Tokens(_) => {
                let model = EncoderConfig { depth: self.config.call.depth, beam: self.config.model.beam };
                // Two graphs of some megabytes each: loading them side by side halves the wait.
                let (encoder, decoder) = std::thread::scope(|scope| {
                    let decoder = scope.spawn(|| Decoder::new(&self.runtime, &self.bundle));
                    let encoder = Encoder::new(&self.runtime, &self.bundle, model);
                    (encoder, decoder.join())
                });
                give_back_memory();
                let decoder = decoder.map_err(|_| CallError::Crashed("loading"))??;
                let listener = Listener::Tokens(Box::new(decoder));
                let player = Player::new(listener, jitter, audio.sample_rate, audio.frame_samples);
                Ok((Speaker::Tokens(Box::new(encoder?)), player))
            }
            Codec::Opus => {
                let depth = self.config.call.depth.clamp(1, OPUS_RATES.len());
                let encoder = OpusEncoder::new(OPUS_RATES[depth - 1], Protection::Fec).map_err(VoiceError::Opus)?;
                let decoder = OpusDecoder::new().map_err(VoiceError::Opus)?;
                let jitter = JitterConfig { frame: Duration::from_millis(20), ..jitter };
                let listener = Listener::Opus(Box::new(decoder));
                let player = Player::new(listener, jitter, parlo_opus::RATE, parlo_opus::FRAME_SAMPLES);
                Ok((Speaker::Opus(Box::new(encoder), depth as u8), player))
            }
        }
    }

    /// The codec of a call with someone who holds the same model.
    pub(super) fn usual_codec(&self) -> Codec {
        Codec::Tokens(self.bundle.id())
    }

    /// The report of a call from what its parts found.
    pub(super) fn report(&self, parts: ReportParts) -> Finished {
        let ReportParts { codec, capture, playback, outbound, overrun, stats, session, undecodable, headers } = parts;
        let audio = &self.bundle.manifest().audio;
        let frame = audio.frame_duration().as_secs_f64();
        let seconds = (outbound.frames + outbound.silent) as f64 * frame;
        let depth = self.config.call.depth;
        let kbps = |bytes: u64| if seconds > 0.0 { bytes as f64 * 8.0 / seconds / 1000.0 } else { 0.0 };
        let traffic = |count: &parlo_protocol::call::Count| Traffic {
            packets: count.packets,
            payload_bytes: count.payload_bytes,
            news_bytes: count.news_bytes,
            wire_bytes: count.wire_bytes(headers),
        };
        let (sent, received) = (traffic(&stats.sent), traffic(&stats.received));
        let jitter = playback.player.jitter;
        let report = Report {
            bundle: self.bundle.id().to_string(),
            codec: if codec == Codec::Opus { "opus" } else { "tokens" },
            sample_rate: audio.sample_rate,
            depth,
            frames_per_packet: self.config.call.frames_per_packet,
            frame_ms: 1000.0 * frame,
            algorithmic_delay_ms: 1000.0 * audio.delay().as_secs_f64(),
            media_seconds: seconds,
            frames: Frames {
                sent: outbound.frames,
                unsent: outbound.silent,
                copies: outbound.copies,
                played: jitter.played,
                coarse: jitter.coarse,
                silent: jitter.silent,
                lost: jitter.lost,
                faded: playback.player.faded,
                late: jitter.late,
                skipped: jitter.skipped,
                held: jitter.held,
                overrun: capture.overrun + overrun + outbound.dropped,
            },
            sent,
            received,
            junk: Junk {
                forged: session.forged,
                replayed: session.replayed,
                other: session.malformed + session.strangers + session.unexpected + stats.malformed + undecodable,
            },
            moves: stats.moves,
            unknown_context: stats.unknown_context,
            bits_per_frame: outbound.bits.filter(|_| outbound.frames > 0).map(|bits| bits / outbound.frames as f64),
            raw_kbps: f64::from(self.bundle.layout().frame_bits(depth)) / frame / 1000.0,
            coded_kbps: kbps(sent.payload_bytes),
            wire_kbps: kbps(sent.wire_bytes),
            encode_us: capture.encode.percentiles(),
            decode_us: playback.decode.percentiles(),
            underruns: playback.underruns,
            startup_ms: capture.first_frame.map(|at| 1000.0 * (at - self.started).as_secs_f64()),
            realtime: capture.realtime && playback.realtime,
        };
        Finished { report, captured: capture.timeline, played: playback.timeline }
    }
}

/// Both codec threads, not yet running, and the network's ends of their channels.
pub(super) struct Prepared {
    pub(super) codec: Codec,
    capture: Capture,
    playback: Playback,
    pub(super) captured: Receiver<Captured>,
    pub(super) to_playback: crossbeam_channel::Sender<Incoming>,
    pub(super) notices: Receiver<String>,
}

/// Both codec threads, running.
pub(super) struct Running {
    pub(super) shared: Arc<Shared>,
    pub(super) captured: Receiver<Captured>,
    pub(super) to_playback: crossbeam_channel::Sender<Incoming>,
    pub(super) notices: Receiver<String>,
    capture: JoinHandle<Result<CaptureFigures, CallError>>,
    playback: JoinHandle<Result<PlaybackFigures, CallError>>,
}

impl Prepared {
    pub(super) fn start(self) -> Result<Running, CallError> {
        let shared = Shared::new();
        let Self { capture, playback, captured, to_playback, notices, .. } = self;
        let theirs = Arc::clone(&shared);
        let capture = std::thread::Builder::new().name("parlo-capture".into()).spawn(move || capture.run(&theirs))?;
        let theirs = Arc::clone(&shared);
        let playback = std::thread::Builder::new().name("parlo-playback".into()).spawn(move || playback.run(&theirs));
        if playback.is_err() {
            shared.stop_capture();
        }
        Ok(Running { shared, captured, to_playback, notices, capture, playback: playback? })
    }
}

impl Running {
    pub(super) fn playback_finished(&self) -> bool {
        self.playback.is_finished()
    }

    /// Ends both threads and takes what they found; the first error of either, if any, beside it.
    pub(super) fn finish(self) -> (CaptureFigures, PlaybackFigures, Result<(), CallError>) {
        self.shared.stop_capture();
        self.shared.stop_playback();
        let mut result = Ok(());
        let capture = take(self.capture, "capture", &mut result);
        let playback = take(self.playback, "playback", &mut result);
        (capture, playback, result)
    }
}

fn take<T: Default>(
    thread: JoinHandle<Result<T, CallError>>,
    name: &'static str,
    result: &mut Result<(), CallError>,
) -> T {
    match thread.join().unwrap_or(Err(CallError::Crashed(name))) {
        Ok(figures) => figures,
        Err(error) => {
            if result.is_ok() {
                *result = Err(error);
            }
            T::default()
        }
    }
}

/// What a report is made of.
pub(super) struct ReportParts {
    pub(super) codec: Codec,
    pub(super) capture: CaptureFigures,
    pub(super) playback: PlaybackFigures,
    pub(super) outbound: OutboundStats,
    /// Frames received that the playback thread did not take.
    pub(super) overrun: u64,
    pub(super) stats: CallStats,
    pub(super) session: session::Stats,
    pub(super) undecodable: u64,
    /// Bytes of IP and UDP headers.
    pub(super) headers: usize,
}

/// Loading graphs leaves much free memory behind, which the allocator would keep: a third of what the daemon needs.
fn give_back_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `malloc_trim` may be called at any time from any thread (malloc_trim(3)); it touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn named(path: &Path) -> Option<&Path> {
    Some(path).filter(|path| !path.as_os_str().is_empty())
}

/// The address that `HOST:PORT`, or `HOST` with the default port, stands for.
pub(crate) fn resolve(host: &str) -> Result<SocketAddr, CallError> {
    let unknown = |error| CallError::UnknownHost { host: host.to_owned(), error };
    let none = || io::Error::new(io::ErrorKind::NotFound, "it has no address");
    let with_port = host.to_socket_addrs();
    let mut found = match with_port {
        Ok(found) => found,
        // Without a port, or an IPv6 address without brackets.
        Err(error) => (host, DEFAULT_PORT).to_socket_addrs().map_err(|_| unknown(error))?,
    };
    found.next().ok_or_else(|| unknown(none()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_port() {
        assert_eq!(resolve("127.0.0.1:99").unwrap(), SocketAddr::from(([127, 0, 0, 1], 99)));
        assert_eq!(resolve("127.0.0.1").unwrap().port(), DEFAULT_PORT);
        assert_eq!(resolve("::1").unwrap().port(), DEFAULT_PORT);
        assert_eq!(resolve("[::1]:5").unwrap().port(), 5);
        let error = resolve("no-such-host.invalid:1").unwrap_err().to_string();
        assert!(error.contains("no-such-host.invalid") && error.contains("HOST:PORT"), "{error}");
    }
}
