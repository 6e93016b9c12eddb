//! A sound server without a sound card: PulseAudio, private to one test, with devices that lead nowhere.

use std::{
    fs::File,
    io::Read,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// The server. Ended with this.
pub(crate) struct Pulse {
    folder: TempDir,
    server: Child,
}

impl Pulse {
    /// Starts a server with a fake microphone (whatever is played to the sink `mic`) and a fake loudspeaker (`spk`), which are
    /// the defaults.
    pub(crate) fn start() -> Self {
        Self::start_at(false)
    }

    /// The same; at real-time priority, if that is asked for and allowed, as desktops have it.
    pub(crate) fn start_at(realtime: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let server = Command::new("pulseaudio")
            .args(["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"])
            .arg(if realtime { "--realtime=yes" } else { "--realtime=no" })
            .args([
                "-L",
                &format!("module-native-protocol-unix auth-anonymous=1 socket={}", Self::socket(&folder).display()),
            ])
            .args(["-L", "module-null-sink sink_name=mic rate=48000 channels=1"])
            .args(["-L", "module-null-sink sink_name=spk rate=48000 channels=2"])
            .env("XDG_RUNTIME_DIR", folder.path())
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("PulseAudio is not installed; `cargo xtask setup` installs it");
        let pulse = Self { folder, server };
        let start = Instant::now();
        while !pulse.try_control(&["set-default-source", "mic.monitor"]) {
            let log = std::fs::read_to_string(pulse.folder.path().join("log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(10), "the sound server does not answer:\n{log}");
            thread::sleep(Duration::from_millis(50));
        }
        pulse.control(&["set-default-sink", "spk"]);
        pulse
    }

    fn socket(folder: &TempDir) -> PathBuf {
        folder.path().join("socket")
    }

    /// What clients need in their environment to find this server.
    pub(crate) fn environment(&self) -> [(&'static str, String); 3] {
        let path = self.folder.path().display().to_string();
        [
            ("PULSE_SERVER", format!("unix:{}", Self::socket(&self.folder).display())),
            ("XDG_RUNTIME_DIR", path.clone()),
            ("HOME", path),
        ]
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.envs(self.environment()).stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn try_control(&self, arguments: &[&str]) -> bool {
        self.command("pactl").args(arguments).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// Runs pactl.
    pub(crate) fn control(&self, arguments: &[&str]) {
        assert!(self.try_control(arguments), "pactl {arguments:?}");
    }

    /// Loads another sink without a card; its module's number.
    pub(crate) fn add_sink(&self, name: &str, rate: u32, channels: u16) -> String {
        let output = self
            .command("pactl")
            .args(["load-module", "module-null-sink", &format!("sink_name={name}")])
            .args([format!("rate={rate}"), format!("channels={channels}")])
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Plays a WAV file to a sink, as if somebody spoke into the microphone.
    pub(crate) fn play(&self, sink: &str, file: &std::path::Path) -> Child {
        self.command("paplay").args(["--latency-msec=20", "-d", sink]).arg(file).spawn().unwrap()
    }

    /// Records what a sink plays for so long: mono, at 48 kHz.
    pub(crate) fn record(&self, sink: &str, time: Duration) -> Vec<f32> {
        let mut recorder = self
            .command("parec")
            .args(["--latency-msec=20", "--format=float32le", "--rate=48000", "--channels=1"])
            .args(["-d", &format!("{sink}.monitor")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = recorder.stdout.take().unwrap();
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = out.read_to_end(&mut bytes);
            bytes
        });
        thread::sleep(time);
        recorder.kill().unwrap();
        recorder.wait().unwrap();
        let bytes = reader.join().unwrap();
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
