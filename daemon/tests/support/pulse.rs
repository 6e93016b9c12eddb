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
    modules: Vec<String>,
}

/// A microphone that is no monitor, though it hears what is played to the sink `mic`.
const MICROPHONE: &str = "module-remap-source master=mic.monitor source_name=microphone";

impl Pulse {
    /// Starts a server with a fake microphone (whatever is played to the sink `mic`) and a fake loudspeaker (`spk`), which are
    /// the defaults.
    pub(crate) fn start() -> Self {
        let pulse = Self::start_with("auth-anonymous=1", &[MICROPHONE]);
        pulse.control(&["set-default-source", "microphone"]);
        pulse
    }

    /// A server whose only sources are the monitors of its sinks, so that one of them is the default.
    pub(crate) fn start_without_microphone() -> Self {
        Self::start_with("auth-anonymous=1", &[])
    }

    /// The usual devices, of a server that looks at who connects.
    pub(crate) fn start_for_its_user() -> Self {
        Self::start_with("", &[MICROPHONE])
    }

    fn start_with(auth: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let protocol = format!("module-native-protocol-unix {auth} socket={}", Self::socket(&folder).display());
        let sinks = [
            "module-null-sink sink_name=mic rate=48000 channels=1",
            "module-null-sink sink_name=spk rate=48000 channels=2",
        ];
        let modules: Vec<String> =
            [protocol.as_str()].into_iter().chain(sinks).chain(more.iter().copied()).map(str::to_owned).collect();
        let server = Self::serve(&folder, &modules);
        let pulse = Self { folder, server, modules };
        pulse.wait();
        pulse
    }

    /// The server itself: at real-time priority where that is allowed, as desktops have it, so that a busy machine does not break the
    /// sound that a test judges.
    fn serve(folder: &TempDir, modules: &[String]) -> Child {
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new("pulseaudio");
        command.args(["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]);
        command.args(["--realtime=yes", "--high-priority=yes"]);
        for module in modules {
            command.args(["-L", module]);
        }
        command
            .env("XDG_RUNTIME_DIR", folder.path())
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("PulseAudio is not installed; `cargo xtask setup` installs it")
    }

    fn wait(&self) {
        let start = Instant::now();
        while !self.try_control(&["set-default-sink", "spk"]) {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(10), "the sound server does not answer:\n{log}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills the server, without a word to its clients.
    pub(crate) fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    /// Starts it again, with the devices that it began with.
    pub(crate) fn revive(&mut self) {
        let _ = std::fs::remove_file(Self::socket(&self.folder));
        self.server = Self::serve(&self.folder, &self.modules);
        self.wait();
        if self.modules.iter().any(|module| module == MICROPHONE) {
            self.control(&["set-default-source", "microphone"]);
        }
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

    /// A client of the server: before others where that is allowed, as the server is.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nice");
        command.args(["-n", "-15", program]);
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
