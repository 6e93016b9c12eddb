//! Bundles that are missing, damaged, or not what their manifest says: one sentence that names the fault.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{fs, path::Path};

use parlo_model::{Bundle, Decoder, Encoder, EncoderConfig};
use parlo_test_support::formats::first_text;
use sha2::{Digest, Sha256};
use support::{open, shipped};
use tempfile::TempDir;

/// A copy of the shipped bundle to do harm to, in format 1: `tokens.rs` has the faults of what format 2 says besides.
fn copy() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(shipped()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let manifest = folder.path().join("manifest.toml");
    fs::write(&manifest, first_text(&fs::read_to_string(&manifest).unwrap())).unwrap();
    folder
}

fn edit(folder: &Path, from: &str, to: &str) {
    let file = folder.join("manifest.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "the manifest has {from}");
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}

/// Opens the bundle and makes both ends of a codec of it; the error as a person would read it.
fn complaint(folder: &Path) -> String {
    let (runtime, _) = open();
    let result = Bundle::open(folder).and_then(|bundle| {
        Encoder::new(&runtime, &bundle, EncoderConfig::default())?;
        Decoder::new(&runtime, &bundle)
    });
    result.expect_err("this bundle is bad").to_string()
}

fn assert_says(complaint: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| complaint.contains(part)), "\"{complaint}\" should name {parts:?}");
    assert!(!complaint.contains('\n') || complaint.contains("TOML parse error"), "one sentence: {complaint}");
}

#[test]
fn the_shipped_bundle_is_whole_and_is_its_manifests_hash() {
    let bundle = Bundle::open(&shipped()).unwrap();
    bundle.verify().unwrap();
    let digest: [u8; 32] = Sha256::digest(fs::read(shipped().join("manifest.toml")).unwrap()).into();
    assert_eq!(bundle.id().as_bytes(), &digest);
    let audio = &bundle.manifest().audio;
    let latency = audio.frame_duration() + audio.delay();
    assert!(latency.as_millis() <= 40, "algorithmic latency of {latency:?}");
}

#[test]
fn missing_things_are_named() {
    let folder = tempfile::tempdir().unwrap();
    assert_says(&complaint(folder.path()), &["manifest.toml", "cannot read"]);
    for name in ["encoder.onnx", "decoder.onnx", "codebooks.safetensors"] {
        let folder = copy();
        fs::remove_file(folder.path().join(name)).unwrap();
        assert_says(&complaint(folder.path()), &[name, "cannot read"]);
    }
}

#[test]
fn truncated_and_tampered_files_are_named_with_what_differs() {
    for name in ["encoder.onnx", "decoder.onnx", "codebooks.safetensors"] {
        let folder = copy();
        let file = folder.path().join(name);
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, &bytes).unwrap();
        assert_says(&complaint(folder.path()), &[name, "sha256 should be"]);
        assert!(Bundle::open(folder.path()).and_then(|bundle| bundle.verify()).is_err());

        fs::write(&file, &bytes[..middle]).unwrap();
        assert_says(&complaint(folder.path()), &[name, "length should be", &format!("is {middle} bytes")]);
    }
}

#[test]
fn graphs_and_codebooks_that_differ_from_the_manifest_are_named_by_field() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("\"block0\", output", "\"block9\", output", &["encoder.onnx", "list of inputs", "block9", "block0"]),
        ("\"fine1_out\"", "\"fine11_out\"", &["decoder.onnx", "list of outputs", "fine11_out"]),
        (
            "shape = [1, 6, 256]",
            "shape = [1, 5, 256]",
            &["encoder.onnx", "shape of input block0", "[1, 5, 256]", "[1, 6, 256]"],
        ),
        ("shape = [1, 160]", "shape = [160]", &["decoder.onnx", "shape of input tail", "[160]", "[1, 160]"]),
        (
            "sizes = [1024,",
            "sizes = [2048,",
            &["codebooks.safetensors", "shape of tensor", "[12, 2048, 64]", "[12, 1024, 64]"],
        ),
        (
            "tensor = \"codebooks\"",
            "tensor = \"books\"",
            &["codebooks.safetensors", "list of tensors", "books", "codebooks"],
        ),
        ("dimension = 64", "dimension = 32", &["manifest.toml", "encoder.latent", "32"]),
        // The graphs take any number of frames; that these are not of 480 samples shows when one runs.
        ("frame_samples = 320", "frame_samples = 480", &["encoder.onnx", "as the manifest declares it", "480"]),
        ("frame_samples = 320", "frame_samples = 640", &["encoder.onnx", "as the manifest declares it"]),
        ("shape = [1, -1] }", "shape = [-1, -1] }", &["manifest.toml", "encoder.audio", "[-1, -1]"]),
        ("shape = [1, -1] }", "shape = [1, 480] }", &["manifest.toml", "encoder.audio", "320"]),
        ("shape = [-1, 13]", "shape = [-1, 12]", &["manifest.toml", "depth_one_hot", "13"]),
        ("sample_rate = 16000", "sample_rate = 0", &["manifest.toml", "sample_rate"]),
        ("format = 1", "format = 3", &["manifest.toml", "format 3"]),
        ("licence", "license", &["manifest.toml", "license", "line"]),
        ("shape = [1, 6, 256]", "shape = [1, -6, 256]", &["manifest.toml", "block0", "positive"]),
        ("file = \"encoder.onnx\"", "file = \"../encoder.onnx\"", &["manifest.toml", "../encoder.onnx"]),
        ("\"encoder.onnx\" =", "\"../encoder.onnx\" =", &["manifest.toml", "encoder.onnx"]),
        ("kind = \"residual\"", "kind = \"magic\"", &["manifest.toml", "magic", "residual"]),
    ];
    for (from, to, parts) in cases {
        let folder = copy();
        edit(folder.path(), from, to);
        assert_says(&complaint(folder.path()), parts);
    }
}

#[test]
fn files_with_the_right_hash_and_the_wrong_content_are_named() {
    for (name, content, part) in [
        ("encoder.onnx", &b"not a graph"[..], "not an ONNX graph"),
        ("codebooks.safetensors", &b"not tensors"[..], "safetensors"),
    ] {
        let folder = copy();
        let file = folder.path().join(name);
        let old = fs::read(&file).unwrap();
        fs::write(&file, content).unwrap();
        let hex = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>();
        edit(folder.path(), &hex(&old), &hex(content));
        edit(folder.path(), &format!("bytes = {}", old.len()), &format!("bytes = {}", content.len()));
        assert_says(&complaint(folder.path()), &[name, part]);
    }
    let folder = copy();
    fs::write(folder.path().join("manifest.toml"), [0xFF, 0xFE, 0x00]).unwrap();
    assert_says(&complaint(folder.path()), &["manifest.toml"]);
}

#[test]
fn a_bundle_that_is_nowhere_is_looked_for_where_the_message_says() {
    let error = parlo_model::locate_bundle(Some(Path::new("no-such-bundle"))).unwrap_err().to_string();
    assert!(error.contains("no-such-bundle") && error.contains("looked in"), "{error}");
    assert_eq!(parlo_model::locate_bundle(Some(&shipped())).unwrap(), shipped());
}
