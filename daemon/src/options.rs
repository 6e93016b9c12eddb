//! Command-line flags that `parlod`, `parlo call` and `parlo listen` share. Flags override the configuration file.

use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError, Endpoint};

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
    /// Codebooks to send, 0.5 kbps each before headers
    #[arg(long, short = 'k', value_name = "K")]
    pub depth: Option<usize>,
    /// Frames of 20 ms in each packet, 1 to 12
    #[arg(long, value_name = "N")]
    pub frames_per_packet: Option<u8>,
    /// Delay that the jitter buffer keeps against late packets
    #[arg(long, value_name = "MS")]
    pub jitter_ms: Option<u64>,
    /// Allow addresses beyond this machine, although packets are not encrypted yet
    #[arg(long)]
    pub plaintext: bool,
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
        set(&mut config.model.bundle, &self.bundle);
        set(&mut config.model.beam, &self.beam);
        config.call.plaintext |= self.plaintext;
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
