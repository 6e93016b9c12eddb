//! Bundles of strangers: what they name beside themselves is not read.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use parlo_model::{Bundle, Decoder, Encoder, EncoderConfig, Runtime, WholeEncoder};
use parlo_test_support::{
    foreign::{Coded, rehash},
    onnx::{Elsewhere, Onnx},
};

fn codec(whole: Option<&'static str>) -> Coded {
    Coded { rate: 16_000, frame: 320, books: 8, whole, fault: 0 }
}

/// Opens the bundle and makes all that can be made of it; the first complaint.
fn complaint(folder: &Path) -> Option<String> {
    let runtime = Runtime::load(None).unwrap();
    let made = Bundle::open(folder).and_then(|bundle| {
        bundle.verify()?;
        if bundle.whole().is_some() {
            return WholeEncoder::new(&runtime, &bundle, EncoderConfig::default()).map(drop);
        }
        Encoder::new(&runtime, &bundle, EncoderConfig::default())?;
        Decoder::new(&runtime, &bundle).map(drop)
    });
    made.err().map(|error| error.to_string())
}

/// A file with a secret, which a stranger wants to have in the codes: in the working folder of this test, as ONNX Runtime looks there.
fn secret() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir_in(".").unwrap();
    let name = Path::new(folder.path().file_name().unwrap()).join("secret");
    fs::write(&name, [7; 64]).unwrap();
    (folder, name)
}

#[test]
fn no_values_come_from_outside_the_graph() {
    let (_kept, secret) = secret();
    let absolute = secret.canonicalize().unwrap();
    for whole in [None, Some("a reason")] {
        let folder = tempfile::tempdir().unwrap();
        codec(whole).write(folder.path());
        assert_eq!(complaint(folder.path()), None);
        for location in [secret.as_path(), &absolute, Path::new("encoder.onnx"), Path::new("*/_ORT_MEM_ADDR_/*")] {
            let location = location.to_str().unwrap();
            for (name, elsewhere) in Elsewhere::ALL {
                let good = fs::read(folder.path().join("encoder.onnx")).unwrap();
                let bad = Onnx::with_elsewhere(&good, elsewhere, location, 8);
                fs::write(folder.path().join("encoder.onnx"), bad).unwrap();
                rehash(folder.path());
                let said = complaint(folder.path()).unwrap_or_else(|| panic!("{name} at {location} was taken"));
                for part in ["encoder.onnx", "external data", "leak", location] {
                    assert!(said.contains(part), "{name}: {said}");
                }
                // What ONNX Runtime has to say of it is not heard, as it has not seen it.
                assert!(!said.contains("ONNX Runtime:") && !said.contains('\n'), "{name}: {said}");
                fs::write(folder.path().join("encoder.onnx"), good).unwrap();
                rehash(folder.path());
            }
        }
        assert_eq!(complaint(folder.path()), None);
    }
}

#[test]
fn no_file_of_a_bundle_lies_elsewhere_or_is_waited_for() {
    let elsewhere = tempfile::tempdir().unwrap();
    codec(None).write(elsewhere.path());
    for name in ["encoder.onnx", "decoder.onnx", "manifest.toml"] {
        let at = |folder: &Path| folder.join(name);
        type Make<'a> = Box<dyn Fn(&Path) + 'a>;
        let make: [(&str, Make<'_>); 5] = [
            ("link", Box::new(|folder| symlink(at(elsewhere.path()), at(folder)).unwrap())),
            ("link", Box::new(|folder| symlink("/dev/zero", at(folder)).unwrap())),
            ("link", Box::new(|folder| symlink("../nothing", at(folder)).unwrap())),
            ("pipe", Box::new(|folder| assert!(Command::new("mkfifo").arg(at(folder)).status().unwrap().success()))),
            ("folder", Box::new(|folder| fs::create_dir(at(folder)).unwrap())),
        ];
        for (kind, make) in make {
            let folder = tempfile::tempdir().unwrap();
            codec(None).write(folder.path());
            fs::remove_file(at(folder.path())).unwrap();
            make(folder.path());
            let said = complaint(folder.path()).unwrap();
            assert!(said.contains(name) && said.contains(kind), "{kind}: {said}");
        }
    }
}

#[test]
fn sizes_are_bounded_before_anything_is_read() {
    let cases: &[(&str, &str, &str)] = &[
        // A sparse file of that length would not be read either.
        ("bytes = ", "bytes = 90000000000000", "up to"),
        (
            "shape = [1, 320] }",
            "shape = [1, 320] }\nstates = [{ input = \"a\", output = \"b\", shape = [16000000] }, { input = \"c\", \
          output = \"d\", shape = [16000000] }]",
            "states",
        ),
        ("\"encoder.onnx\" =", "\".\" =", "name of a file"),
        ("\"encoder.onnx\" =", "\"a\\u0000b\" =", "name of a file"),
        ("\"encoder.onnx\" =", "\"/etc/passwd\" =", "name of a file"),
    ];
    for (from, to, part) in cases {
        let folder = tempfile::tempdir().unwrap();
        codec(None).write(folder.path());
        let file = folder.path().join("manifest.toml");
        let text = fs::read_to_string(&file).unwrap();
        // Where a line has to end after the change, it does.
        let changed = text.replacen(from, to, 1).replace(
            "file = \"encoder.onnx\"",
            &format!(
                "file = {}",
                match *to {
                    name if name.ends_with(" =") => &name[..name.len() - 2],
                    _ => "\"encoder.onnx\"",
                }
            ),
        );
        assert_ne!(changed, text);
        fs::write(&file, changed).unwrap();
        let said = complaint(folder.path()).unwrap();
        assert!(said.contains(part) && said.contains("manifest.toml"), "{said}");
    }
    let folder = tempfile::tempdir().unwrap();
    codec(None).write(folder.path());
    let file = folder.path().join("manifest.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + &"#".repeat(1 << 20)).unwrap();
    assert!(complaint(folder.path()).unwrap().contains("manifest.toml has"));
}
