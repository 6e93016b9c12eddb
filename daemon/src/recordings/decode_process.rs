//! Recordings decoded by a process of their own: a recording has what a peer sent, and a bundle may be anybody's, so that what reads them
//! has neither the key, nor calls, nor a network, and only so much memory.
//!
//! The process is this program once more, with [`PLAY`] as its first word. It loads the library, opens the file, enters a sandbox
//! that has only the bundles' folders, and answers: first how many bytes there are, then each request. Where the sandbox is not to
//! be had it works without; the process is apart all the same.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    time::Duration,
};

use parlo_archive::{Archive, Side, Sound, Wav};
use parlo_model::{Bundle, Runtime};
use parlo_sandbox::Sandbox;

use super::{RecordingError, Source, sound::told};
use crate::sentence_of;

/// The first word of the program's command line when it decodes; not for people.
pub const PLAY: &str = "--play-recording";

/// Addresses that the process may have, bytes: the library and a model take an eighth of it.
const MEMORY: u64 = 1 << 30;

/// How long an answer may take: half a minute of sound is decoded for one, by a machine that has better things to do.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// No answer is longer, bytes.
const MOST: usize = 1 << 24;

/// Kinds of requests.
const SEEK: u8 = 0;
const READ: u8 = 1;

/// Kinds of answers.
const FAILED: u8 = 0;
const DONE: u8 = 1;

/// What decodes.
#[derive(Debug, Clone)]
pub struct Player {
    /// The program: `parlod`.
    pub program: PathBuf,
    /// The ONNX Runtime library.
    pub library: PathBuf,
    /// Folders of the bundles, the preferred one first.
    pub bundles: Vec<PathBuf>,
}

/// A recording as a WAV file, decoded by another process, which ends with this.
#[derive(Debug)]
pub struct DecodeProcess {
    child: Child,
    requests: ChildStdin,
    answers: ChildStdout,
    bytes: u64,
    name: String,
}

/// The program that runs, under a name that stays it when another takes its place on the disk.
///
/// # Errors
/// If the system does not tell.
pub fn own_program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

impl Player {
    /// Starts the process for one side of the recording of this name.
    ///
    /// # Errors
    /// If it cannot be started, or what it says that is wrong with the recording.
    pub fn open(&self, name: &str, file: &Path, side: Side) -> Result<DecodeProcess, RecordingError> {
        let broken = |error: io::Error| RecordingError::DecodeProcess(format!("cannot decode \"{name}\": {error}"));
        let mut command = Command::new(&self.program);
        command.arg(PLAY).arg(&self.library).arg(word(side)).arg(file).args(&self.bundles);
        // Nothing of ours but the pipes; not the way to the service manager either.
        command.env_remove("NOTIFY_SOCKET").current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(broken)?;
        let (requests, answers) = (child.stdin.take(), child.stdout.take());
        let (Some(requests), Some(answers)) = (requests, answers) else {
            let _ = child.kill();
            return Err(broken(io::ErrorKind::BrokenPipe.into()));
        };
        let mut process = DecodeProcess { child, requests, answers, bytes: 0, name: name.to_owned() };
        let first = process.answer()?;
        let bytes = first.try_into().map_err(|_| broken(io::ErrorKind::InvalidData.into()))?;
        process.bytes = u64::from_le_bytes(bytes);
        Ok(process)
    }
}

impl DecodeProcess {
    /// The process's number.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    fn ask(&mut self, request: &[u8]) -> Result<(), RecordingError> {
        self.requests.write_all(request).map_err(|error| self.broken(&error))
    }

    fn answer(&mut self) -> Result<Vec<u8>, RecordingError> {
        let mut head = [0; 5];
        self.take(&mut head)?;
        let [kind, length @ ..] = head;
        let length = u32::from_le_bytes(length) as usize;
        if length > MOST {
            return Err(self.broken(&io::ErrorKind::InvalidData.into()));
        }
        let mut body = vec![0; length];
        self.take(&mut body)?;
        match kind {
            DONE => Ok(body),
            // It may be anybody's words by now.
            _ => Err(RecordingError::DecodeProcess(
                String::from_utf8_lossy(&body).chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
            )),
        }
    }

    fn take(&mut self, mut bytes: &mut [u8]) -> Result<(), RecordingError> {
        while !bytes.is_empty() {
            let read = wait(&self.answers).and_then(|()| self.answers.read(bytes));
            match read {
                Ok(0) => return Err(self.broken(&io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => bytes = &mut bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
        Ok(())
    }

    /// The process cannot be used any more.
    fn broken(&mut self, error: &io::Error) -> RecordingError {
        let _ = self.child.kill();
        RecordingError::DecodeProcess(format!(
            "\"{}\" could not be decoded: what decodes it has stopped ({error})",
            self.name
        ))
    }
}

impl Source for DecodeProcess {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn seek(&mut self, byte: u64) -> Result<(), RecordingError> {
        let mut request = [SEEK; 9];
        request[1..].copy_from_slice(&byte.to_le_bytes());
        self.ask(&request)
    }

    fn read(&mut self, out: &mut Vec<u8>) -> Result<(), RecordingError> {
        self.ask(&[READ])?;
        out.append(&mut self.answer()?);
        Ok(())
    }
}

impl Drop for DecodeProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until there is something to read, or the end.
fn wait(answers: &impl AsFd) -> io::Result<()> {
    let mut poll = libc::pollfd { fd: answers.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one structure, which outlives the call, of a descriptor that is open as long as `answers` is borrowed.
    match unsafe { libc::poll(&raw mut poll, 1, ANSWER_TIMEOUT.as_millis() as i32) } {
        0 => Err(io::ErrorKind::TimedOut.into()),
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn word(side: Side) -> &'static str {
    match side {
        Side::Said => "said",
        Side::Heard => "heard",
        Side::Both => "both",
    }
}

/// What the process does: `words` are what follows [`PLAY`].
pub fn play(words: &[OsString]) -> ExitCode {
    let mut answers = io::stdout();
    let done = match open(words) {
        Ok(mut wav) => serve(&mut wav, &mut io::stdin(), &mut answers),
        Err(error) => answer(&mut answers, FAILED, sentence_of(&error).as_bytes()),
    };
    // Whoever asked has gone.
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn open(words: &[OsString]) -> Result<Wav<File>, RecordingError> {
    let wrong =
        || RecordingError::DecodeProcess("a recording is decoded by parlod, which says what and how".to_owned());
    let [library, side, file, bundles @ ..] = words else { return Err(wrong()) };
    let side = match side.to_str() {
        Some("said") => Side::Said,
        Some("heard") => Side::Heard,
        Some("both") => Side::Both,
        _ => return Err(wrong()),
    };
    step_back();
    let runtime = Runtime::load(Some(Path::new(library)))?;
    let path = Path::new(file);
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let unreadable = |error| RecordingError::Unreadable { file: path.to_owned(), error };
    let opened = File::open(path).map_err(unreadable)?;
    parlo_guard::know_users();
    let sandbox = bundles.iter().fold(Sandbox::new(), |sandbox, bundle| sandbox.read(Path::new(bundle)));
    let _ = sandbox.memory(MEMORY).enter();
    // From here on nothing is trusted that is read.
    let archive = Archive::open(opened).map_err(|error| told(error, &name, path))?;
    let bundle = chosen(bundles, |bundle| bundle.reads(archive.header().tokens.id)).ok_or_else(wrong)??;
    let sound = Sound::open(archive, side, false, &runtime, &bundle).map_err(|error| told(error, &name, path))?;
    Ok(Wav::new(sound))
}

/// The first bundle that is right, or else the first.
fn chosen(folders: &[OsString], is_right: impl Fn(&Bundle) -> bool) -> Option<Result<Bundle, parlo_model::ModelError>> {
    let open = |folder: &OsString| Bundle::open(Path::new::<OsStr>(folder));
    let mut bundles = folders.iter().filter_map(|folder| open(folder).ok());
    bundles.find(|bundle| is_right(bundle)).map(Ok).or_else(|| folders.first().map(open))
}

fn serve(wav: &mut Wav<File>, requests: &mut impl Read, answers: &mut impl Write) -> io::Result<()> {
    answer(answers, DONE, &wav.bytes().to_le_bytes())?;
    loop {
        let mut kind = [0];
        if requests.read(&mut kind)? == 0 {
            return Ok(());
        }
        if kind[0] == SEEK {
            let mut byte = [0; 8];
            requests.read_exact(&mut byte)?;
            wav.seek(u64::from_le_bytes(byte));
            continue;
        }
        let mut bytes = Vec::new();
        match wav.read(&mut bytes) {
            Ok(()) => answer(answers, DONE, &bytes)?,
            Err(error) => answer(answers, FAILED, sentence_of(&error).as_bytes())?,
        }
    }
}

fn answer(out: &mut impl Write, kind: u8, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    out.write_all(&[kind])?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(body)?;
    out.flush()
}

/// Calls come first.
fn step_back() {
    // SAFETY: three numbers; on Linux, number 0 is this thread. If it fails, it runs at the priority that it had.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 10);
    }
}
