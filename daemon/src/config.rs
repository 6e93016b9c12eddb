//! The configuration file: TOML, every field documented in [`DEFAULTS`], unknown fields refused by name.

use std::path::{Path, PathBuf};

use parlo_guard::{Keep, Links, OwnerError, RegularError, check_owner, read_regular};
use serde::Deserialize;

use crate::audio::device::Backend;

/// Longer files are no configurations.
const MAX_BYTES: u64 = 1 << 20;

/// The configuration with every field at its default and a comment on each.
pub const DEFAULTS: &str = include_str!("config.toml");

/// What a configuration file says. [`DEFAULTS`] documents each field.
#[derive(Debug, Clone, PartialEq, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Calls and their packets.
    pub call: CallConfig,
    /// Sound.
    pub audio: AudioConfig,
    /// The control API.
    pub control: ControlConfig,
    /// Recordings.
    pub recordings: RecordingsConfig,
    /// Live tokens for many.
    pub nats: NatsConfig,
    /// The codec.
    pub model: ModelConfig,
}

/// Whose calls are answered without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum AutoAnswer {
    /// Nobody's: all ring.
    Never,
    /// Those of contacts marked so.
    Listed,
    /// Those of everybody who is let in.
    All,
}

/// Calls and their packets.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallConfig {
    /// Address that waits for calls.
    pub listen: String,
    /// Codebooks to send.
    pub depth: usize,
    /// Frames in each packet, 1 to 12.
    pub frames_per_packet: u8,
    /// Whether depth, bundles and copies follow the path.
    pub adapt: bool,
    /// Most time that a packet may take to fill when bundles grow, milliseconds.
    pub latency_ms: u64,
    /// Most kilobits per second to send, headers counted; 0 for what the path carries.
    pub max_kbps: f64,
    /// Whether silence is told instead of sent.
    pub silence: bool,
    /// Whether peers who share no model are spoken to in Opus.
    pub opus: bool,
    /// Least delay that the jitter buffer keeps, milliseconds.
    pub jitter_ms: u64,
    /// Whether strangers from other machines are answered.
    pub anyone: bool,
    /// Whose calls are answered without asking.
    pub answer: AutoAnswer,
    /// How long a call rings, seconds.
    pub ring_seconds: u64,
    /// Relay to meet at; empty for none.
    pub relay: String,
    /// What the two who meet there have in common.
    pub ticket: String,
}

/// Sound.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AudioConfig {
    /// Where speech comes from.
    pub source: Endpoint,
    /// Where speech goes.
    pub sink: Endpoint,
    /// Which sound system.
    pub backend: String,
    /// Gain of the microphone, dB.
    pub input_gain_db: f32,
    /// Gain of the loudspeaker, dB.
    pub output_gain_db: f32,
    /// How loud the own voice is heard, dB; -60 is not at all.
    pub side_tone_db: f32,
    /// Whether the microphone is on only while talk is pressed.
    pub push_to_talk: bool,
    /// Whether rumble is taken out.
    pub high_pass: bool,
    /// Whether the loudspeaker's echo is taken out.
    pub echo_cancellation: bool,
    /// Whether steady noise is taken out.
    pub noise_suppression: bool,
    /// Whether speech is brought to one level.
    pub gain_control: bool,
}

/// The control API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct ControlConfig {
    /// Its Unix socket; empty for the usual place, "none" for none.
    pub socket: String,
    /// Its loopback address; empty for none.
    pub tcp: String,
}

/// Recordings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct RecordingsConfig {
    /// Their folder; empty for the usual place.
    pub folder: PathBuf,
}

/// Live tokens for many, by way of a NATS server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsConfig {
    /// The server, `nats://HOST:PORT` or `tls://HOST:PORT`; empty for none.
    pub url: String,
    /// What the subjects begin with.
    pub subject: String,
    /// File with a token for the server; empty for none.
    pub token_file: PathBuf,
    /// File with credentials for the server; empty for none.
    pub credentials: PathBuf,
}

/// The codec.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// Folder or name of the bundle; empty for the one that ships.
    pub bundle: PathBuf,
    /// More bundles to speak with those who do not have the first, best first. Without any, and if none is named, all that are here.
    pub bundles: Vec<PathBuf>,
    /// The ONNX Runtime library; empty to look for it.
    pub library: PathBuf,
    /// Candidates of the search for codes.
    pub beam: usize,
}

/// One end of the sound's path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Endpoint {
    /// The system's default device.
    Default,
    /// The device of this name.
    Device(String),
    /// A sound file.
    File(PathBuf),
    /// Silence in, nothing out.
    None,
}

impl TryFrom<String> for Endpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl std::str::FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            _ if text == "default" => Ok(Self::Default),
            _ if text == "none" => Ok(Self::None),
            Some(("device", name)) if !name.is_empty() => Ok(Self::Device(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err(format!("\"{text}\" is no place for sound; say default, device:NAME, file:PATH or none")),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::None => f.write_str("none"),
            Self::Device(name) => write!(f, "device:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl Default for CallConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7275".into(),
            depth: 6,
            frames_per_packet: 3,
            adapt: true,
            latency_ms: 240,
            max_kbps: 0.0,
            silence: true,
            opus: true,
            jitter_ms: 10,
            anyone: false,
            answer: AutoAnswer::Listed,
            ring_seconds: 45,
            relay: String::new(),
            ticket: String::new(),
        }
    }
}

impl AudioConfig {
    /// Which sound system is meant. [`Config::check`] refuses other names.
    pub fn backend(&self) -> Backend {
        self.backend.parse().unwrap_or_default()
    }
}

impl Default for AudioConfig {
    fn default() -> Self {
        Self {
            source: Endpoint::Default,
            sink: Endpoint::Default,
            backend: "auto".into(),
            input_gain_db: 0.0,
            output_gain_db: 0.0,
            side_tone_db: -60.0,
            push_to_talk: false,
            high_pass: true,
            echo_cancellation: true,
            noise_suppression: true,
            gain_control: true,
        }
    }
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self { url: String::new(), subject: "parlo".into(), token_file: PathBuf::new(), credentials: PathBuf::new() }
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self { bundle: PathBuf::new(), bundles: Vec::new(), library: PathBuf::new(), beam: 4 }
    }
}

/// Why a configuration cannot be used, with the file or flag and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {error}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Others could have written it.
    #[error("the configuration is not used: {0}")]
    Owner(#[from] OwnerError),
    /// The file's text is not a configuration.
    #[error("{}: {reason}", .file.display())]
    Text {
        /// The file.
        file: PathBuf,
        /// Where and why, with the nearest known name if one is unknown.
        reason: String,
    },
    /// A value is out of range.
    #[error("{field} is {found}, but {wanted}")]
    Range {
        /// Name of the field in the file.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        wanted: &'static str,
    },
}

impl Config {
    /// Reads a configuration file. Fields that it leaves out have their defaults.
    ///
    /// # Errors
    /// If the file cannot be read, others could have written it, it is not TOML, has an unknown field (the message suggests the nearest name), or a value
    /// of the wrong type or out of range.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let unreadable = |error| ConfigError::Unreadable { file: file.to_owned(), error };
        let bytes = read_regular(file, MAX_BYTES, Links::Follow).map_err(|error| match error {
            RegularError::System(error) => unreadable(error),
            other => unreadable(std::io::Error::other(format!("it {other}"))),
        })?;
        // It names who is answered, and files that are loaded.
        check_owner(file, Keep::Unchanged)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| ConfigError::Text { file: file.to_owned(), reason: "it is no text in UTF-8".to_owned() })?;
        let config = Self::parse(&text).map_err(|reason| ConfigError::Text { file: file.to_owned(), reason })?;
        config.check().map_err(|error| ConfigError::Text { file: file.to_owned(), reason: error.to_string() })?;
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            format!("line {line}: {}", explain(error.message()))
        })
    }

    /// Whether every value is in its range. `load` asks this itself; ask again after overriding fields.
    ///
    /// # Errors
    /// Names the first field that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let range = |field, found: String, wanted| Err(ConfigError::Range { field, found, wanted });
        let call = &self.call;
        if !(1..=12).contains(&call.frames_per_packet) {
            return range("frames_per_packet", call.frames_per_packet.to_string(), "a packet holds 1 to 12 frames");
        }
        if !(1..=parlo_tokens::MAX_DEPTH).contains(&call.depth) {
            return range("depth", call.depth.to_string(), "a model has 1 to 32 codebooks");
        }
        if call.jitter_ms > 1000 {
            return range("jitter_ms", call.jitter_ms.to_string(), "0 to 1000 ms are possible");
        }
        if call.relay.is_empty() != call.ticket.is_empty() {
            let (relay, ticket) = (&call.relay, &call.ticket);
            return range(
                "relay",
                format!("\"{relay}\", the ticket \"{ticket}\""),
                "a relay takes a ticket, and a ticket a relay",
            );
        }
        if !(20..=240).contains(&call.latency_ms) {
            return range("latency_ms", call.latency_ms.to_string(), "a packet takes 20 to 240 ms to fill");
        }
        if !(call.max_kbps == 0.0 || (1.0..=1000.0).contains(&call.max_kbps)) {
            return range("max_kbps", call.max_kbps.to_string(), "1 to 1000 kbps are possible, or 0 for no limit");
        }
        if !(5..=300).contains(&call.ring_seconds) {
            return range("ring_seconds", call.ring_seconds.to_string(), "a call rings for 5 to 300 seconds");
        }
        let audio = &self.audio;
        for (field, value, most) in [
            ("input_gain_db", audio.input_gain_db, 40.0),
            ("output_gain_db", audio.output_gain_db, 12.0),
            ("side_tone_db", audio.side_tone_db, 0.0),
        ] {
            if !(-60.0..=most).contains(&value) {
                let wanted = "-60 dB is the least, and 40 (input), 12 (output) or 0 dB (side tone) the most";
                return range(field, value.to_string(), wanted);
            }
        }
        if !self.control.tcp.is_empty()
            && !self.control.tcp.parse::<std::net::SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
        {
            let wanted = "the control API is served on loopback only: 127.0.0.1:PORT or [::1]:PORT";
            return range("tcp", format!("\"{}\"", self.control.tcp), wanted);
        }
        if !(1..=32).contains(&self.model.beam) {
            return range("beam", self.model.beam.to_string(), "1 to 32 candidates are possible");
        }
        if self.audio.backend.parse::<Backend>().is_err() {
            return range("backend", format!("\"{}\"", self.audio.backend), "there are auto, pulse and alsa");
        }
        Ok(())
    }
}

/// Adds the nearest known name to serde's message about an unknown one.
fn explain(message: &str) -> String {
    let Some(list) = message.strip_prefix("unknown field `") else { return message.to_owned() };
    let mut names = list.split('`').step_by(2);
    let Some(unknown) = names.next() else { return message.to_owned() };
    let nearest = names
        .filter(|name| !name.is_empty())
        .min_by_key(|name| strsim::damerau_levenshtein(unknown, name))
        .filter(|name| strsim::damerau_levenshtein(unknown, name) <= name.len().div_ceil(2));
    match nearest {
        Some(name) => format!("there is no setting \"{unknown}\"; did you mean \"{name}\"?"),
        None => format!("there is no setting \"{unknown}\" here; `parlod --print-config` lists them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_others_could_have_written_is_not_used() {
        use std::os::unix::fs::PermissionsExt as _;
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("config.toml");
        std::fs::write(&file, "").unwrap();
        let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(&file, 0o644);
        Config::load(&file).unwrap();
        for (path, open, own) in [(file.as_path(), 0o666, 0o644), (place.path(), 0o777, 0o700)] {
            mode(path, open);
            let said = Config::load(&file).unwrap_err().to_string();
            assert!(said.contains(&format!("chmod go-w {}", path.display())), "{said}");
            mode(path, own);
        }
        // No device, however long it goes on.
        let said = Config::load(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(said.contains("/dev/zero") && said.contains("a device"), "{said}");
    }

    #[test]
    fn the_documented_defaults_are_the_defaults_and_document_every_field() {
        assert_eq!(Config::parse(DEFAULTS).unwrap(), Config::default());
        assert_eq!(Config::parse("").unwrap(), Config::default());
        // Every field of the default is written out, and stands under a comment.
        let mut fields = 0;
        for (before, line) in DEFAULTS.lines().zip(DEFAULTS.lines().skip(1)) {
            if line.contains(" = ") && !line.starts_with('#') {
                assert!(before.starts_with('#'), "{line} lacks a comment");
                fields += 1;
            }
        }
        assert_eq!(fields, 13 + 12 + 3 + 1 + 4 + 3, "a field that is not in config.toml, or one too many");
    }

    #[test]
    fn unknown_fields_are_refused_with_the_nearest_name_and_the_line() {
        for (text, unknown, nearest, line) in [
            ("[call]\ndept = 3", "dept", "depth", "line 2"),
            ("[call]\nframe_per_packets = 3", "frame_per_packets", "frames_per_packet", "line 2"),
            ("[audoi]\nsource = \"none\"", "audoi", "audio", "line 1"),
            ("\n\n[model]\nbeams = 3", "beams", "beam", "line 4"),
        ] {
            let reason = Config::parse(text).unwrap_err();
            for part in [unknown, nearest, line] {
                assert!(reason.contains(part), "{reason} should contain {part}");
            }
        }
        let reason = Config::parse("[call]\nxyzzy = 1").unwrap_err();
        assert!(reason.contains("xyzzy") && reason.contains("--print-config"), "{reason}");
    }

    #[test]
    fn wrong_types_and_ranges_are_refused() {
        assert!(Config::parse("[call]\ndepth = \"six\"").is_err());
        assert!(Config::parse("[audio]\nsource = \"microphone\"").unwrap_err().contains("device:NAME"));
        for text in [
            "[call]\ndepth = 0",
            "[call]\ndepth = 33",
            "[call]\nframes_per_packet = 13",
            "[call]\njitter_ms = 1001",
            "[call]\nlatency_ms = 10",
            "[call]\nmax_kbps = 0.5",
            "[call]\nmax_kbps = nan",
            "[call]\nring_seconds = 2",
            "[audio]\ninput_gain_db = 41.0",
            "[audio]\noutput_gain_db = nan",
            "[audio]\nside_tone_db = 1.0",
            "[control]\ntcp = \"0.0.0.0:7276\"",
            "[model]\nbeam = 0",
            "[audio]\nbackend = \"oss\"",
        ] {
            assert!(Config::parse(text).unwrap().check().is_err(), "{text}");
        }
        assert!(Config::default().check().is_ok());
    }

    #[test]
    fn places_for_sound_are_read() {
        assert_eq!("device:USB: Mic".parse(), Ok(Endpoint::Device("USB: Mic".into())));
        assert_eq!("file:/a/b.wav".parse(), Ok(Endpoint::File("/a/b.wav".into())));
        assert!("file:".parse::<Endpoint>().is_err() && "".parse::<Endpoint>().is_err());
    }
}
