//! Command-line flags that `parlod`, `parlo call` and `parlo listen` share. Flags override the configuration file.

use std::path::{Path, PathBuf};

use crate::config::{AutoAnswer, Config, ConfigError, Endpoint};

/// The shared flags.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CallOptions {
    /// Configuration file (TOML). Default: `parlo/config.toml` in $XDG_CONFIG_HOME or ~/.config, if it is there
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where speech comes from: default, device:NAME, file:PATH or none
    #[arg(long, value_name = "PLACE")]
    pub source: Option<Endpoint>,
    /// Where speech goes: default, device:NAME, file:PATH (a WAV file) or none
    #[arg(long, value_name = "PLACE")]
    pub sink: Option<Endpoint>,
    /// Sound system: auto, pulse or alsa
    #[arg(long, value_name = "NAME")]
    pub backend: Option<String>,
    /// Codebooks to send at most, 0.5 kbps each before headers
    #[arg(long, short = 'k', value_name = "K")]
    pub depth: Option<usize>,
    /// Frames of 20 ms in each packet while the path is good, 1 to 12
    #[arg(long, value_name = "N")]
    pub frames_per_packet: Option<u8>,
    /// Always send as --depth and --frames-per-packet say, whatever the path is like
    #[arg(long)]
    pub fixed: bool,
    /// Most time that a packet may take to fill when bundles grow
    #[arg(long, value_name = "MS")]
    pub latency_ms: Option<u64>,
    /// Most kilobits per second to send, every header counted
    #[arg(long, value_name = "KBPS")]
    pub max_kbps: Option<f64>,
    /// Send silence as it is, rather than telling what it sounds like now and then
    #[arg(long)]
    pub send_silence: bool,
    /// Refuse calls with peers who share no model, rather than speaking Opus
    #[arg(long)]
    pub no_opus: bool,
    /// Least delay that the jitter buffer keeps against late packets
    #[arg(long, value_name = "MS")]
    pub jitter_ms: Option<u64>,
    /// Answer strangers from other machines too
    #[arg(long)]
    pub anyone: bool,
    /// Whose calls are answered without asking; others ring
    #[arg(long, value_name = "WHOSE")]
    pub answer: Option<AutoAnswer>,
    /// Meet the peer at this relay: HOST:PORT
    #[arg(long, value_name = "HOST:PORT", requires = "ticket")]
    pub relay: Option<String>,
    /// What both sides tell the relay, to meet there: `parlo relay --ticket` makes one
    #[arg(long, value_name = "TICKET")]
    pub ticket: Option<String>,
    /// Model bundle, a folder or a name
    #[arg(long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Candidates of the search for codes, 1 to 32
    #[arg(long, value_name = "N")]
    pub beam: Option<usize>,
    /// Write figures of the call to FILE (JSON) when it ends
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write when each frame was captured and played to FILE (CSV) when the call ends
    #[arg(long, value_name = "FILE")]
    pub timeline: Option<PathBuf>,
}

impl CallOptions {
    /// The configuration file with these flags over it.
    ///
    /// # Errors
    /// If the file cannot be used, or a value is out of range.
    pub fn resolve(&self) -> Result<Config, ConfigError> {
        let mut config = match self.config.clone().or_else(usual_file) {
            Some(file) => Config::load(&file)?,
            None => Config::default(),
        };
        set(&mut config.audio.source, &self.source);
        set(&mut config.audio.sink, &self.sink);
        set(&mut config.audio.backend, &self.backend);
        set(&mut config.call.depth, &self.depth);
        set(&mut config.call.frames_per_packet, &self.frames_per_packet);
        set(&mut config.call.jitter_ms, &self.jitter_ms);
        set(&mut config.call.latency_ms, &self.latency_ms);
        set(&mut config.call.max_kbps, &self.max_kbps);
        set(&mut config.call.answer, &self.answer);
        set(&mut config.call.relay, &self.relay);
        set(&mut config.call.ticket, &self.ticket);
        set(&mut config.model.bundle, &self.bundle);
        set(&mut config.model.beam, &self.beam);
        config.call.anyone |= self.anyone;
        config.call.adapt &= !self.fixed;
        config.call.silence &= !self.send_silence;
        config.call.opus &= !self.no_opus;
        config.check()?;
        Ok(config)
    }
}

fn set<T: Clone>(field: &mut T, flag: &Option<T>) {
    if let Some(value) = flag {
        field.clone_from(value);
    }
}

/// The user's configuration file, if there is one.
fn usual_file() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")))?;
    Some(folder.join("parlo/config.toml")).filter(|file| file.exists())
}
