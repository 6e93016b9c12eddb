//! A loaded model, a configuration and a key: what every call of this daemon is made with.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use parlo_api::CallSettings;
use parlo_model::{
    Bundle, Decoder, Encoder, EncoderConfig, EntropyModel, ModelError, PacketCoder, Runtime, find_bundles,
    locate_bundle,
};
use parlo_opus::{OpusDecoder, OpusEncoder, Protection};
use parlo_protocol::{
    adapt::{Costs, Limits},
    identity::{Identity, PublicKey},
    jitter::JitterConfig,
    offer::{Codec, MAX_TOKENS, Offer},
    packet::MAX_FRAMES,
    relay::Ticket,
};
use parlo_sandbox::Sandbox;
use parlo_tokens::TokensId;
use tokio::sync::Notify;

use super::{
    codec::{CodecError, FrameDecoder, FrameEncoder, OPUS_RATES, RUN_FRAMES},
    error::{CallError, DEFAULT_PORT},
    packetizer::PayloadCoder,
    player::Player,
};
use crate::{
    config::Config,
    keys::{self, Contacts, KeysError, KnownPeers},
    media::{CallCodec, StreamFormat},
    sentence_of,
};

/// Length of Opus' frames, and of those that the configuration counts.
const OPUS_FRAME: Duration = Duration::from_millis(20);

/// Moments that a timeline has room for: an hour of frames.
const TIMELINE_FRAMES: usize = 180_000;

/// A loaded model, a configuration and a key, ready to place or take calls. Clones are the same.
#[derive(Debug, Clone)]
pub struct Engine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    known: KnownPeers,
    contacts: Contacts,
    identity: Identity,
    runtime: Runtime,
    /// Best first, one at least, and one for each kind of tokens.
    models: Vec<Model>,
    started: Instant,
    timeline: bool,
}

/// Leaves this thread nothing but the bundle's files, for as long as it runs.
fn confine(bundle: &Bundle) {
    // It opens files, once.
    parlo_guard::know_users();
    let confinement = Sandbox::new().read(bundle.folder()).enter();
    if !confinement.is_whole() {
        tracing::debug!("models are loaded without a sandbox: {confinement}");
    }
}

/// A bundle that calls can be made with.
#[derive(Debug)]
struct Model {
    bundle: Bundle,
    entropy: Option<EntropyModel>,
}

/// A peer to be called: where it is, and who it is if that is known.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Of it, or of the relay: those to try, one at least.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) name: Option<String>,
    pub(crate) key: Option<PublicKey>,
    /// If it is met at a relay, by this.
    pub(crate) ticket: Option<Ticket>,
}

impl Engine {
    /// Loads the ONNX Runtime library and the bundles that the configuration names, or all that are here if it names none, and this
    /// user's key, which it makes if there is none yet.
    ///
    /// `started` is when the program began, for reports and up-times; `timeline` asks for the moments of frames.
    ///
    /// # Errors
    /// If any of them that is named, or the usual bundle, cannot be had, such a bundle takes whole recordings only, or the first has
    /// fewer codebooks than the configuration asks for. Those that it asks for if nothing is said are as many as there are.
    pub fn new(config: Config, started: Instant, timeline: bool) -> Result<Self, CallError> {
        let runtime = Runtime::load(named(&config.model.library))?;
        let models = models(&config)?;
        let mut config = config;
        let (most, usual) = (models[0].bundle.layout().depth(), Config::default().call.depth);
        if config.call.depth > most {
            // What nobody asked for is not refused: the usual depth is that of a model that has so many codebooks.
            if config.call.depth != usual {
                return Err(ModelError::Depth { asked: config.call.depth, most }.into());
            }
            config.call.depth = most;
        }
        let folder = keys::folder()?;
        let (identity, known) = (keys::identity(&folder)?, KnownPeers::new(&folder));
        let contacts = Contacts::new(&known)?;
        Ok(Self(Arc::new(Inner { config, known, contacts, identity, runtime, models, started, timeline })))
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The file with the peers that the user knows.
    pub fn known(&self) -> &KnownPeers {
        &self.0.known
    }

    /// The peers that the user knows, for who must not wait for a file.
    pub fn contacts(&self) -> &Contacts {
        &self.0.contacts
    }

    /// This user's key.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// The library that runs the model.
    pub fn runtime(&self) -> &Runtime {
        &self.0.runtime
    }

    /// The bundle that is preferred.
    pub fn bundle(&self) -> &Bundle {
        &self.0.models[0].bundle
    }

    /// All bundles that calls can be made with, best first, one for each kind of tokens.
    pub fn bundles(&self) -> impl Iterator<Item = &Bundle> {
        self.0.models.iter().map(|model| &model.bundle)
    }

    /// The bundle of a call with this codec; the preferred one while it is not known, and in Opus.
    pub(crate) fn bundle_of(&self, codec: Option<Codec>) -> &Bundle {
        &self.model_of(codec).bundle
    }

    fn model_of(&self, codec: Option<Codec>) -> &Model {
        let models = &self.0.models;
        let speaks = |model: &&Model| matches!(codec, Some(Codec::Tokens(tokens)) if model.bundle.speaks(tokens));
        models.iter().find(speaks).unwrap_or(&models[0])
    }

    /// When the program began.
    pub fn started(&self) -> Instant {
        self.0.started
    }

    /// How sound is inside: the bundle's rate and frames.
    pub fn stream_format(&self) -> StreamFormat {
        let audio = &self.bundle().manifest().audio;
        StreamFormat { sample_rate: audio.sample_rate, frame_samples: audio.frame_samples }
    }

    /// What a call may send, unless somebody says otherwise. The configuration counts frames of 20 ms; here they are the bundle's:
    /// as many as last no longer, but one at least.
    pub fn settings(&self) -> CallSettings {
        let call = &self.0.config.call;
        let packet = OPUS_FRAME * u32::from(call.frames_per_packet);
        let frame = self.bundle().manifest().audio.frame_duration();
        let frames = (packet.as_nanos() / frame.as_nanos().max(1)).clamp(1, MAX_FRAMES.into());
        CallSettings {
            depth: u8::try_from(call.depth).unwrap_or(u8::MAX),
            frames_per_packet: u8::try_from(frames).unwrap_or(MAX_FRAMES),
            adapt: call.adapt,
            latency_ms: call.latency_ms,
            max_kbps: call.max_kbps,
        }
    }

    /// Finds a peer: a name in the file of known peers, a `HOST:PORT` or a `HOST`; at a relay, if there is one. Asks the system's
    /// resolver: slow.
    pub(crate) fn find(&self, peer: &str, relay: &str, ticket: &str) -> Result<Found, CallError> {
        let listing = self.0.contacts.fresh();
        if let (false, Some(trouble)) = (listing.is_read, listing.trouble) {
            // Whoever answers would be believed, though another key may be known there.
            return Err(KeysError::Unread(trouble).into());
        }
        let peers = listing.peers;
        let known = peers.by_name(peer).or_else(|| peers.by_address(peer));
        let direct = relay.is_empty();
        // At a relay the peer is reached there, wherever it is.
        let addresses = match known {
            _ if !direct => resolve(relay)?,
            Some(known) => match &known.address {
                Some(address) => resolve(address)?,
                None => return Err(CallError::NoAddress(known.name.clone())),
            },
            None => resolve(peer).map_err(|error| match error {
                // A name alone may be meant for either.
                CallError::UnknownHost { host, error } if !host.contains([':', '.']) => {
                    CallError::UnknownPeer { peer: host, error }
                }
                other => other,
            })?,
        };
        let ticket = if direct { None } else { Some(ticket.parse()?) };
        // The same address in another form is the same peer; but at a relay anybody may be.
        let same = || addresses.iter().find_map(|address| peers.by_address(&address.to_string()));
        let known = known.or_else(|| same().filter(|_| direct));
        Ok(Found { addresses, name: known.map(|known| known.name.clone()), key: known.map(|known| known.key), ticket })
    }

    /// The relay to wait at, if there is one.
    pub(crate) fn relay(&self) -> Result<Option<(SocketAddr, Ticket)>, CallError> {
        let call = &self.0.config.call;
        if call.relay.is_empty() {
            return Ok(None);
        }
        // The resolver has put first what this machine has a way to.
        let relay = resolve(&call.relay)?.into_iter().next();
        relay.map(|relay| Ok((relay, call.ticket.parse()?))).transpose()
    }

    /// What this side offers a peer.
    pub(crate) fn offer(&self, settings: &CallSettings) -> Offer {
        Offer {
            tokens: offered(&self.0.models.iter().map(|model| model.bundle.identities()).collect::<Vec<_>>()),
            opus: self.0.config.call.opus,
            depth: settings.depth,
            frames_per_packet: settings.frames_per_packet,
            rekeys: true,
        }
    }

    /// Length of a codec's frames; of the usual one while it is not known.
    pub(crate) fn frame(&self, codec: Option<Codec>) -> Duration {
        match codec {
            Some(Codec::Opus) => OPUS_FRAME,
            _ => self.bundle_of(codec).manifest().audio.frame_duration(),
        }
    }

    /// How much later than its own span the codec renders a frame.
    pub(crate) fn delay(&self, codec: Option<Codec>) -> Duration {
        match codec {
            Some(Codec::Opus) => OPUS_FRAME,
            _ => self.bundle_of(codec).manifest().audio.delay(),
        }
    }

    /// What the user lets a call send with this codec.
    pub(crate) fn limits(&self, settings: &CallSettings, headers: usize, codec: Option<Codec>) -> Limits {
        Limits {
            depth: settings.depth,
            frames: settings.frames_per_packet,
            latency: Duration::from_millis(settings.latency_ms),
            bits: (settings.max_kbps > 0.0).then_some(1000.0 * settings.max_kbps),
            frame: self.frame(codec),
            headers,
        }
    }

    /// What frames of the codec cost. Of Opus what is called depth stands for its bitrates.
    pub(crate) fn costs(&self, codec: Codec) -> Costs {
        match codec {
            Codec::Tokens(_) => {
                let layout = self.bundle_of(Some(codec)).layout();
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
    pub(crate) fn packing(&self, codec: Codec) -> PayloadCoder {
        match codec {
            Codec::Tokens(_) => {
                let Model { bundle, entropy } = self.model_of(Some(codec));
                PayloadCoder::Tokens(PacketCoder::new(*bundle.layout(), entropy.as_ref()))
            }
            Codec::Opus => PayloadCoder::Opus,
        }
    }

    /// Makes a call's codec: everything slow, and everything that can fail, before the call.
    pub(crate) fn call_codec(
        &self,
        call: u64,
        codec: Codec,
        settings: &CallSettings,
        wake: Arc<Notify>,
    ) -> Result<CallCodec, CallError> {
        let audio = &self.bundle_of(Some(codec)).manifest().audio;
        let (sample_rate, frame_samples, delay_samples) = match codec {
            Codec::Tokens(_) => (audio.sample_rate, audio.frame_samples, audio.delay_samples),
            Codec::Opus => (parlo_opus::RATE, parlo_opus::FRAME_SAMPLES, parlo_opus::FRAME_SAMPLES),
        };
        let (encoder, player) = self.codec(codec, usize::from(settings.depth))?;
        let timeline = if self.0.timeline { TIMELINE_FRAMES } else { 0 };
        Ok(CallCodec { call, encoder, player, sample_rate, frame_samples, delay_samples, timeline, wake })
    }

    fn codec(&self, codec: Codec, depth: usize) -> Result<(FrameEncoder, Player), CallError> {
        let bundle = self.bundle_of(Some(codec));
        let audio = &bundle.manifest().audio;
        let least = Duration::from_millis(self.0.config.call.jitter_ms);
        let usual = JitterConfig::default();
        let jitter = JitterConfig { frame: self.frame(Some(codec)), start: usual.start.max(least), least, ..usual };
        match codec {
            Codec::Tokens(_) => {
                let model = EncoderConfig { depth: depth.min(bundle.layout().depth()), beam: self.0.config.model.beam };
                // Two graphs of some megabytes each: loading them side by side halves the wait. A bundle may be a stranger's, and much
                // code reads it: it does so in threads that can open nothing but the bundle's files, and no socket.
                let (encoder, decoder) = std::thread::scope(|scope| {
                    let decoder = scope.spawn(|| {
                        confine(bundle);
                        let mut decoder = Decoder::new(&self.0.runtime, bundle)?;
                        decoder.prepare(RUN_FRAMES).map(|()| decoder)
                    });
                    let encoder = scope.spawn(|| {
                        confine(bundle);
                        let mut encoder = Encoder::new(&self.0.runtime, bundle, model)?;
                        encoder.prepare(RUN_FRAMES).map(|()| encoder)
                    });
                    (encoder.join(), decoder.join())
                });
                give_back_memory();
                let decoder = decoder.map_err(|_| CallError::Crashed("loading"))??;
                let encoder = encoder.map_err(|_| CallError::Crashed("loading"))??;
                let listener = FrameDecoder::Tokens(Box::new(decoder));
                let player = Player::new(listener, jitter, audio.sample_rate, audio.frame_samples);
                Ok((FrameEncoder::Tokens(Box::new(encoder)), player))
            }
            Codec::Opus => {
                let depth = depth.clamp(1, OPUS_RATES.len());
                let encoder = OpusEncoder::new(OPUS_RATES[depth - 1], Protection::Fec).map_err(CodecError::Opus)?;
                let decoder = OpusDecoder::new().map_err(CodecError::Opus)?;
                let listener = FrameDecoder::Opus(Box::new(decoder));
                let player = Player::new(listener, jitter, parlo_opus::RATE, parlo_opus::FRAME_SAMPLES);
                Ok((FrameEncoder::Opus(Box::new(encoder), depth as u8), player))
            }
        }
    }

    /// The codec of a call with someone who speaks the same tokens.
    pub(crate) fn usual_codec(&self) -> Codec {
        Codec::Tokens(self.bundle().tokens())
    }

    /// A call's codec by the name that its tokens have here, whichever the peers agreed on.
    pub(crate) fn known_as(&self, codec: Codec) -> Codec {
        match codec {
            Codec::Tokens(_) => Codec::Tokens(self.bundle_of(Some(codec)).tokens()),
            Codec::Opus => Codec::Opus,
        }
    }

    /// Whether a call in this codec is made with the preferred bundle.
    pub(crate) fn is_usual(&self, codec: Codec) -> bool {
        matches!(codec, Codec::Tokens(tokens) if self.bundle().speaks(tokens))
    }

    /// A call's settings, once its codec is known: no deeper than its bundle, and packets no longer than they were to be.
    pub(crate) fn fit(&self, settings: CallSettings, codec: Codec) -> CallSettings {
        if !matches!(codec, Codec::Tokens(_)) || self.is_usual(codec) {
            return settings;
        }
        let most = u8::try_from(self.bundle_of(Some(codec)).layout().depth()).unwrap_or(u8::MAX);
        let packet = self.frame(None) * u32::from(settings.frames_per_packet);
        let frames = (packet.as_nanos() / self.frame(Some(codec)).as_nanos().max(1)).clamp(1, MAX_FRAMES.into());
        CallSettings {
            depth: settings.depth.min(most),
            frames_per_packet: u8::try_from(frames).unwrap_or(MAX_FRAMES),
            ..settings
        }
    }
}

/// Opens what calls can be made with: the bundles that the configuration names, or else all that are here.
fn models(config: &Config) -> Result<Vec<Model>, CallError> {
    let config = &config.model;
    let first = Bundle::open(&locate_bundle(named(&config.bundle))?)?;
    first.streams()?;
    let is_named = named(&config.bundle).is_some() || !config.bundles.is_empty();
    let mut bundles = vec![first];
    if is_named {
        for name in &config.bundles {
            let bundle = Bundle::open(&locate_bundle(Some(name))?)?;
            bundle.streams()?;
            bundles.push(bundle);
        }
    } else if std::env::var_os("PARLO_BUNDLE").is_none() {
        // What cannot be used was asked for by nobody: calls can do without.
        let found = find_bundles(bundles.pop(), &[]);
        bundles = found.bundles;
        found.faults.iter().for_each(left_out);
        bundles.retain(|bundle| bundle.whole().is_none());
    }
    let mut models: Vec<Model> = Vec::with_capacity(bundles.len());
    let mut fault = None;
    for bundle in bundles {
        // The best of several for the same tokens makes all their calls.
        if models.iter().any(|model| bundle.identities().iter().all(|&tokens| model.bundle.speaks(tokens))) {
            continue;
        }
        match bundle.entropy_model() {
            Ok(entropy) => models.push(Model { bundle, entropy }),
            Err(error) if is_named => return Err(error.into()),
            Err(error) => {
                left_out(&error);
                fault.get_or_insert(error);
            }
        }
    }
    match fault {
        Some(error) if models.is_empty() => Err(error.into()),
        _ => Ok(models),
    }
}

fn left_out(error: &ModelError) {
    tracing::warn!("a bundle is left out: {}", sentence_of(error));
}

/// What an offer names, best first: every identity of each bundle's tokens if there is room, of the last only one if there is not.
fn offered(bundles: &[&[TokensId]]) -> Vec<TokensId> {
    let mut room = MAX_TOKENS.saturating_sub(bundles.len());
    let mut tokens: Vec<TokensId> = Vec::new();
    for identities in bundles {
        let more = room.min(identities.len().saturating_sub(1));
        room -= more;
        for id in identities.iter().take(1 + more) {
            if !tokens.contains(id) {
                tokens.push(*id);
            }
        }
    }
    tokens.truncate(MAX_TOKENS);
    tokens
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

/// The addresses that `HOST:PORT`, or `HOST` with the default port, stands for: one at least.
pub(crate) fn resolve(host: &str) -> Result<Vec<SocketAddr>, CallError> {
    super::resolve::resolve(host, Some(DEFAULT_PORT))
        .map_err(|error| CallError::UnknownHost { host: host.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_names_as_much_as_it_has_room_for_best_first() {
        let ids = |numbers: &[u8]| numbers.iter().map(|&n| TokensId::from_bytes([n; 32])).collect::<Vec<_>>();
        let cases: &[(&[&[u8]], &[u8])] = &[
            (&[&[1]], &[1]),
            (&[&[1, 2]], &[1, 2]),
            (&[&[1, 2], &[3]], &[1, 2, 3]),
            (&[&[1, 2, 3, 4, 5]], &[1, 2, 3, 4]),
            (&[&[1, 2, 3], &[4, 5]], &[1, 2, 3, 4]),
            (&[&[1], &[2, 3], &[4, 5]], &[1, 2, 3, 4]),
            (&[&[1], &[2], &[3], &[4], &[5]], &[1, 2, 3, 4]),
            // A claim that a better one makes as well.
            (&[&[1, 2], &[1, 3]], &[1, 2, 3]),
        ];
        for (bundles, expected) in cases {
            let bundles: Vec<Vec<TokensId>> = bundles.iter().map(|numbers| ids(numbers)).collect();
            let bundles: Vec<&[TokensId]> = bundles.iter().map(Vec::as_slice).collect();
            assert_eq!(offered(&bundles), ids(expected), "{bundles:?}");
        }
    }

    #[test]
    fn a_machine_that_nobody_knows_is_said_to_be_that() {
        let error = resolve("no-such-host.invalid:1").unwrap_err().to_string();
        assert!(error.contains("no-such-host.invalid") && error.contains("HOST:PORT"), "{error}");
        assert_eq!(resolve("127.0.0.1").unwrap(), [SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT))]);
    }
}
