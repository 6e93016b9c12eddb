//! `parlo import` with programs in the place of Python: what is said when something is missing, and what is made of the bundle.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

const BUNDLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../model/bundles/parlo-16k");

/// A program that has the package, and then does as `script` says, with the words it was given.
fn python(folder: &Path, script: &str) -> PathBuf {
    let file = folder.join("python");
    fs::write(&file, format!("#!/bin/sh\n[ \"$1\" = -c ] && exit 0\n{script}\n")).expect("a script");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("it may be run");
    file
}

/// Whether it ended well, what it put out and what it said.
fn import(folder: &Path, words: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parlo"));
    let output =
        command.current_dir(folder).env_remove("PARLO_PYTHON").arg("import").args(words).output().expect("parlo");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn without_python_or_its_package_it_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::create_dir(folder.join("model")).expect("a folder");
    let (well, _, said) = import(folder, &["--from", "mimi", "--python", "./nowhere", "model"]);
    assert!(!well && said.contains("there is no ./nowhere") && said.contains("PARLO_PYTHON"), "{said}");
    let bare = folder.join("bare");
    fs::write(&bare, "#!/bin/sh\necho \"ModuleNotFoundError: No module named 'parlo'\" >&2\nexit 1\n")
        .expect("a script");
    fs::set_permissions(&bare, fs::Permissions::from_mode(0o755)).expect("it may be run");
    let (well, _, said) = import(folder, &["--from", "mimi", "--python", "./bare", "model"]);
    assert!(
        !well
            && said.contains("No module named 'parlo'")
            && said.contains("parlo_voice-")
            && said.contains(".whl[importing]'"),
        "{said}"
    );
    let (well, _, said) = import(folder, &["--from", "opus", "model"]);
    assert!(!well && said.contains("encodec, mimi, dac, snac, wavtokenizer"), "{said}");
    let (well, _, said) = import(folder, &["--from", "dac", "--python", "./bare", "nowhere"]);
    assert!(!well && said.contains("cannot read nowhere"), "{said}");
}

#[test]
fn what_python_says_is_passed_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::create_dir(folder.join("model")).expect("a folder");
    python(folder, "echo 'parlo import: two channels' >&2; exit 1");
    let (well, out, said) = import(folder, &["--from", "encodec", "--python", "./python", "model"]);
    assert!(!well && out.is_empty(), "{out}");
    assert!(said.starts_with("parlo import: two channels\n") && said.contains("nothing was imported"), "{said}");
}

#[test]
fn the_finished_bundle_is_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::create_dir(folder.join("model")).expect("a folder");
    let copy = format!(
        "for word in \"$@\"; do case \"$word\" in --out=*) out=\"${{word#--out=}}\";; esac; done\n\
         cp -r '{BUNDLE}' \"$out\"; echo \"$@\" > words; echo ignored"
    );
    let program = python(folder, &copy);
    let program = program.to_str().expect("text");
    let words = [
        "--from",
        "dac",
        "--name",
        "odd",
        "--books",
        "4",
        "--no-compare",
        "--out",
        "made",
        "--python",
        program,
        "model",
    ];
    let (well, out, said) = import(folder, &words);
    assert!(well, "{said}");
    assert_eq!(out, "made\n");
    assert!(said.contains("parlo-16k: 16000 Hz, 50.0000 frames a second of 12 codes"), "{said}");
    assert!(said.contains("--bundle ./made"), "{said}");
    let told = fs::read_to_string(folder.join("words")).expect("words");
    let expected =
        "-m parlo.importing --from=dac --out=made --name=odd --start=trained --books=4 --no-compare -- model\n";
    assert_eq!(told, expected);
    // The name comes from the folder's, and a bundle that is not whole is no success.
    python(folder, &format!("{copy}; rm model/decoder.onnx"));
    fs::remove_dir(folder.join("model")).expect("it was empty");
    fs::create_dir_all(folder.join("far/model")).expect("a folder");
    let (well, _, said) = import(folder, &["--from", "dac", "--python", program, "far/model"]);
    assert!(!well && said.contains("cannot read it") && said.contains("decoder.onnx"), "{said}");
}
