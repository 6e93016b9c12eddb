//! `parlo mute`, `unmute`, `talk`, `audio`.

use clap::Args;
use parlo_api::{Audio, AudioChange};

use super::{Switch, print, print_json};
use crate::{
    connect::DaemonAddress,
    format::{plain, table},
};

/// Mutes.
#[derive(Debug, Args)]
pub(crate) struct Quiet {
    #[command(flatten)]
    reach: DaemonAddress,
}

/// Presses talk.
#[derive(Debug, Args)]
#[command(after_help = "\
Push to talk must be on: `parlo audio --push-to-talk on`. Bind both to one key of your window manager, for when it is pressed
and when it is let go:
  parlo talk on
  parlo talk off")]
pub(crate) struct Talk {
    /// Pressed or not
    switch: Switch,
    #[command(flatten)]
    reach: DaemonAddress,
}

/// Shows and changes sound.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  parlo audio                                       show devices, levels and stages
  parlo audio --source device:Headset --sink default
  parlo audio --input-gain-db 6 --noise-suppression off
  parlo audio --push-to-talk on")]
pub(crate) struct Sound {
    #[command(flatten)]
    change: Change,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: DaemonAddress,
}

#[derive(Debug, Args)]
struct Change {
    /// Where speech comes from: default, device:NAME, device:#NUMBER or none; `parlo devices` lists them
    #[arg(long, value_name = "PLACE")]
    source: Option<String>,
    /// Where speech goes: default, device:NAME, device:#NUMBER or none
    #[arg(long, value_name = "PLACE")]
    sink: Option<String>,
    /// Gain of the microphone, -60 to 40
    #[arg(long, value_name = "DB", allow_negative_numbers = true)]
    input_gain_db: Option<f32>,
    /// Gain of the loudspeaker, -60 to 12
    #[arg(long, value_name = "DB", allow_negative_numbers = true)]
    output_gain_db: Option<f32>,
    /// How loud you hear yourself, -60 (not at all) to 0
    #[arg(long, value_name = "DB", allow_negative_numbers = true)]
    side_tone_db: Option<f32>,
    /// Speak only while talk is pressed
    #[arg(long, value_name = "SWITCH")]
    push_to_talk: Option<Switch>,
    /// Take out rumble below 80 Hz
    #[arg(long, value_name = "SWITCH", help_heading = "Stages")]
    high_pass: Option<Switch>,
    /// Take out what the microphone hears of the loudspeaker
    #[arg(long, value_name = "SWITCH", help_heading = "Stages")]
    echo_cancellation: Option<Switch>,
    /// Take out steady noise
    #[arg(long, value_name = "SWITCH", help_heading = "Stages")]
    noise_suppression: Option<Switch>,
    /// Bring speech to one level
    #[arg(long, value_name = "SWITCH", help_heading = "Stages")]
    gain_control: Option<Switch>,
    /// Tell silence instead of sending it
    #[arg(long, value_name = "SWITCH", help_heading = "Stages")]
    silence: Option<Switch>,
}

impl Quiet {
    pub(crate) async fn mute(&self, muted: bool) -> anyhow::Result<()> {
        let change = AudioChange { muted: Some(muted), ..AudioChange::default() };
        let audio = self.reach.running().await?.change_audio(&change).await?;
        print(if audio.muted { "the microphone is off\n" } else { "the microphone is on\n" })
    }
}

impl Talk {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let change = AudioChange { talking: Some(self.switch.is_on()), ..AudioChange::default() };
        let audio = self.reach.running().await?.change_audio(&change).await?;
        if !audio.push_to_talk {
            eprintln!(
                "push to talk is off, so this changes nothing; switch it on with `parlo audio --push-to-talk on`"
            );
        }
        Ok(())
    }
}

impl Sound {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let client = self.reach.started().await?;
        let wanted = self.change.wanted();
        let audio = match wanted == AudioChange::default() {
            true => client.audio().await?,
            false => client.change_audio(&wanted).await?,
        };
        if self.json { print_json(&audio) } else { print(&show(&audio)) }
    }
}

impl Change {
    fn wanted(&self) -> AudioChange {
        let is_on = |switch: Option<Switch>| switch.map(Switch::is_on);
        AudioChange {
            source: self.source.clone(),
            sink: self.sink.clone(),
            muted: None,
            push_to_talk: is_on(self.push_to_talk),
            talking: None,
            talking_for_ms: None,
            input_gain_db: self.input_gain_db,
            output_gain_db: self.output_gain_db,
            side_tone_db: self.side_tone_db,
            high_pass: is_on(self.high_pass),
            echo_cancellation: is_on(self.echo_cancellation),
            noise_suppression: is_on(self.noise_suppression),
            gain_control: is_on(self.gain_control),
            silence: is_on(self.silence),
        }
    }
}

fn show(audio: &Audio) -> String {
    let (ends, meters, stages, figures) = (&audio.endpoints, &audio.meters, &audio.stages, &audio.figures);
    let device = |name: &Option<String>| name.as_deref().map_or("no call stands".into(), plain);
    let on = |on: bool| if on { "on" } else { "off" }.to_owned();
    let does = |on: bool, db: Option<f32>, what: &str| match db {
        Some(db) if on => format!("on, {db:.0} dB {what}"),
        _ if on => "on".into(),
        _ => "off".into(),
    };
    let microphone = match (audio.muted, audio.push_to_talk, audio.talking) {
        (true, _, _) => "off (muted)",
        (false, true, true) => "on (talk is pressed)",
        (false, true, false) => "off (push to talk)",
        (false, false, _) => "on",
    };
    let rows = [
        ["from", &format!("{} ({})", plain(&ends.source), device(&ends.source_name))],
        ["to", &format!("{} ({})", plain(&ends.sink), device(&ends.sink_name))],
        ["microphone", microphone],
        [
            "input",
            &format!(
                "{:+.0} dB gain; now {:.0} dBFS, {:.0} at peaks",
                audio.input_gain_db, meters.input_rms_dbfs, meters.input_peak_dbfs
            ),
        ],
        [
            "output",
            &format!(
                "{:+.0} dB gain; now {:.0} dBFS, {:.0} at peaks",
                audio.output_gain_db, meters.output_rms_dbfs, meters.output_peak_dbfs
            ),
        ],
        ["side tone", &audio.side_tone_db.map_or("off".into(), |db| format!("{db:+.0} dB"))],
        ["high-pass", &on(stages.high_pass)],
        [
            "echo cancellation",
            &does(stages.echo_cancellation, meters.echo_return_loss_enhancement_db, "taken from the echo"),
        ],
        ["noise suppression", &does(stages.noise_suppression, meters.noise_reduction_db, "taken from noise")],
        ["gain control", &does(stages.gain_control, meters.gain_db, "added")],
        ["silence", if stages.silence { "told" } else { "sent as it is" }],
        [
            "threads",
            &format!(
                "{}{} deadline misses in {} blocks, {} overruns, {} underruns, sound server late {} times",
                match figures.realtime {
                    Some(false) => "without real-time priority (`parlo doctor` says why), ",
                    _ => "",
                },
                figures.deadline_misses,
                figures.blocks,
                figures.capture_overruns,
                figures.playback_underruns,
                figures.server_late
            ),
        ],
        [
            "clocks",
            &format!(
                "microphone {:+.0} ppm, loudspeaker {:+.0} ppm off",
                figures.capture_drift_ppm, figures.playback_drift_ppm
            ),
        ],
    ];
    table(&rows.map(|row| row.map(String::from).to_vec()))
}
