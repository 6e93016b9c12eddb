//! The verbs for files work in a sandbox, all of them, and it is in nobody's way.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    os::unix::{fs::symlink, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use tempfile::TempDir;

struct Folder(TempDir);

impl Folder {
    /// With a sound and its tokens.
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 16_000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(folder.path("talk.wav"), spec).unwrap();
        (0..16_000).for_each(|n| writer.write_sample(((n * n / 7) % 8_000) as i16).unwrap());
        writer.finalize().unwrap();
        folder.works(&["encode", "talk.wav", "talk.ptk"]);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parlo"));
        command.env("XDG_CONFIG_HOME", self.0.path()).env("XDG_RUNTIME_DIR", self.0.path()).env("HOME", self.0.path());
        command.env_remove("PARLO_LOG").current_dir(self.0.path()).args(arguments).stdin(Stdio::null());
        command
    }

    fn works(&self, arguments: &[&str]) -> Output {
        let done = self.command(arguments).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        done
    }

    fn is_wav(&self, name: &str) {
        let count = hound::WavReader::open(self.path(name)).unwrap().duration();
        assert_eq!(count, 16_000, "{name}");
    }
}

/// Whether every thread of a process is under seccomp's filters, and can get no privileges.
fn is_held(child: &Child) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", child.id())).into_iter().flatten().flatten();
    let mut states =
        threads.map(|thread| fs::read_to_string(thread.path().join("status")).unwrap_or_default()).peekable();
    states.peek().is_some()
        && states.all(|state| state.contains("\nSeccomp:\t2\n") && state.contains("\nNoNewPrivs:\t1\n"))
}

#[test]
fn every_verb_for_files_is_held_before_it_reads_anything() {
    let folder = Folder::new();
    for arguments in [
        &["decode", "-", "out.wav"][..],
        &["encode", "-", "out.ptk"],
        &["info", "-"],
        &["verify", "-"],
        &["repair", "-", "--output", "out.ptk"],
        &["cut", "-", "out.ptk"],
        &["cat", "-", "--output", "out.ptk"],
        &["export", "-", "out.csv"],
        &["export", "-", "out.flac"],
    ] {
        let mut command = folder.command(arguments);
        // Nothing comes: it waits for its first byte.
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while !is_held(&child) {
            assert!(child.try_wait().unwrap().is_none(), "{arguments:?} ended");
            assert!(begun.elapsed() < Duration::from_secs(60), "{arguments:?} is not held");
            thread::sleep(Duration::from_millis(5));
        }
        let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        let memory = limits.lines().find(|line| line.starts_with("Max address space")).unwrap();
        assert_ne!(memory.split_whitespace().nth(3), Some("unlimited"), "{arguments:?}");
        drop(child.stdin.take());
        assert!(!child.wait().unwrap().success(), "{arguments:?}: nothing is no input");
        let left = fs::read_dir(folder.0.path()).unwrap().flatten().map(|entry| entry.file_name());
        let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with(".parlo-")).collect();
        assert!(left.is_empty(), "{arguments:?} left {left:?}");
    }
}

#[test]
fn a_folder_of_sounds_is_encoded_where_nothing_else_is_reached() {
    let folder = Folder::new();
    fs::create_dir(folder.path("in")).unwrap();
    fs::copy(folder.path("talk.wav"), folder.path("in/talk.wav")).unwrap();
    // A link out of the folder of sounds leads nowhere.
    symlink(folder.path("talk.wav"), folder.path("in/linked.wav")).unwrap();
    let done = folder.command(&["encode", "-r", "in", "out/of/it"]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(folder.path("out/of/it/talk.ptk").exists(), "{said}");
    assert!(!folder.path("out/of/it/linked.ptk").exists(), "{said}");
}

#[test]
fn a_bundle_reads_nothing_outside_of_its_folder() {
    let folder = Folder::new();
    let shipped = parlo_model::locate_bundle(None).unwrap();
    let bundle = folder.path("bundle");
    fs::create_dir(&bundle).unwrap();
    for entry in fs::read_dir(&shipped).unwrap().flatten() {
        fs::copy(entry.path(), bundle.join(entry.file_name())).unwrap();
    }
    let decode = ["decode", "--force", "--bundle", "./bundle", "talk.ptk", "back.wav"];
    folder.works(&decode);
    for file in ["decoder.onnx", "codebooks.safetensors", "manifest.toml"] {
        let (inside, outside) = (bundle.join(file), folder.path(file));
        fs::rename(&inside, &outside).unwrap();
        symlink(&outside, &inside).unwrap();
        let done = folder.command(&decode).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && (said.contains("link") || said.contains("denied")), "{file}: {said}");
        fs::rename(&outside, &inside).unwrap();
    }
    folder.works(&decode);
}

#[test]
fn outputs_go_to_any_place() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path("deep/er")).unwrap();
    symlink(folder.path("deep"), folder.path("linked")).unwrap();
    let whole = folder.path("absolute.wav").display().to_string();
    for output in ["here.wav", "./deep/there.wav", "deep/../up.wav", "linked/er/through.wav", &whole] {
        folder.works(&["decode", "talk.ptk", output]);
        folder.is_wav(output);
        folder.works(&["decode", "--force", "talk.ptk", output]);
    }
    // What a link points to is replaced, in its own folder.
    symlink(folder.path("deep/there.wav"), folder.path("link.wav")).unwrap();
    fs::write(folder.path("deep/there.wav"), "").unwrap();
    folder.works(&["decode", "talk.ptk", "link.wav"]);
    folder.is_wav("deep/there.wav");
    assert!(fs::symlink_metadata(folder.path("link.wav")).unwrap().is_symlink());
    // Devices, standard output by its path, a named pipe.
    folder.works(&["decode", "talk.ptk", "/dev/null"]);
    let file = fs::File::create(folder.path("redirected")).unwrap();
    assert!(folder.command(&["decode", "talk.ptk", "-"]).stdout(file).status().unwrap().success());
    let done = folder.works(&["decode", "talk.ptk", "/dev/stdout"]);
    assert!(done.stdout.starts_with(b"RIFF"));
    let pipe = folder.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        fs::File::open(pipe).unwrap().read_to_end(&mut all).unwrap();
        all
    });
    folder.works(&["decode", "talk.ptk", "pipe"]);
    assert!(reader.join().unwrap().starts_with(b"RIFF"));
    // In the place of the damaged file.
    let whole = fs::read(folder.path("talk.ptk")).unwrap();
    fs::write(folder.path("deep/cut.ptk"), &whole[..whole.len() * 2 / 3]).unwrap();
    let done = folder.command(&["repair", "linked/cut.ptk"]).output().unwrap();
    assert_eq!(done.status.code(), Some(3), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(folder.path("deep/cut.damaged.ptk").exists());
    folder.works(&["verify", "deep/cut.ptk"]);
    // Nowhere.
    let done = folder.command(&["decode", "talk.ptk", "missing/folder/out.wav"]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("missing/folder/out.wav") && said.contains("No such file"), "{said}");
    let done = folder.command(&["decode", "missing.ptk", "out.wav"]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("missing.ptk") && said.contains("No such file"), "{said}");
    assert!(!folder.path("out.wav").exists());
}

/// Runs it where the kernel does not know these calls.
fn without(mut command: Command, calls: &[i64]) -> Output {
    let rules: BTreeMap<i64, Vec<_>> = calls.iter().map(|&call| (call, Vec::new())).collect();
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    let processor = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, absent, processor).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    // SAFETY: between fork and exec it makes two system calls, and allocates nothing unless they fail.
    unsafe { command.pre_exec(move || apply_filter(&program).map_err(std::io::Error::other)) };
    command.output().unwrap()
}

#[test]
fn where_the_kernel_has_no_sandbox_verbs_work_and_say_so_when_asked() {
    let folder = Folder::new();
    let calls = [libc::SYS_landlock_create_ruleset];
    let quiet = without(folder.command(&["decode", "talk.ptk", "quiet.wav"]), &calls);
    assert!(quiet.status.success() && quiet.stderr.is_empty(), "{}", String::from_utf8_lossy(&quiet.stderr));
    let mut command = folder.command(&["decode", "talk.ptk", "told.wav"]);
    command.env("PARLO_LOG", "debug");
    let told = without(command, &calls);
    let said = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success() && said.lines().count() == 1 && said.contains("files are not refused"), "{said}");
    folder.is_wav("told.wav");
    let sandbox = |output: Output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find(|line| line.contains(" sandbox ")).unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    assert!(sandbox(without(folder.command(&["doctor"]), &calls)).starts_with("note"));
    assert!(sandbox(folder.command(&["doctor"]).output().unwrap()).starts_with("ok"));
}

#[test]
fn a_key_is_not_read_by_way_of_a_bundle() {
    // The folder of settings lies beside the output: no verb for files can read it.
    let folder = Folder::new();
    folder.works(&["id"]);
    let key = folder.path("parlo/identity");
    assert!(key.exists());
    symlink(&key, folder.path("key.ptk")).unwrap();
    // Named, it is an input as any other, which is refused for what it is; as part of a bundle it cannot be opened.
    let done = folder.command(&["info", "key.ptk"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&done.stderr).contains("parlo-secret"));
    let bundle = folder.path("bundle");
    fs::create_dir(&bundle).unwrap();
    symlink(&key, bundle.join("manifest.toml")).unwrap();
    let done = folder.command(&["decode", "--bundle", "./bundle", "talk.ptk", "out.wav"]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).to_lowercase();
    assert!(!done.status.success() && !said.contains("parlo-secret"), "{said}");
}
