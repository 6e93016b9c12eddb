//! Tokens have an identity apart from the bundle: bundles of other encoders and decoders share it, and a claim of it is checked.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{fs, path::Path};

use parlo_model::{Bundle, EncoderConfig, decode_recording, encode_recording};
use parlo_test_support::formats::{self, table};
use parlo_tokens::TokensId;
use support::{hum, open, shipped};
use tempfile::TempDir;
use toml::{Table, Value};

/// The first bundle, and one with a newer decoder that serves it.
fn both() -> (TempDir, TempDir) {
    let (first, newer) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    formats::first(&shipped(), first.path());
    formats::newer(first.path(), newer.path());
    (first, newer)
}

fn id(text: &str) -> TokensId {
    text.parse().unwrap()
}

#[test]
fn a_bundle_of_the_first_format_has_one_identity_for_both() {
    let (first, _) = both();
    let bundle = Bundle::open(first.path()).unwrap();
    assert_eq!(bundle.tokens().as_bytes(), bundle.id().as_bytes());
    assert_eq!(bundle.identities(), [bundle.tokens()]);
    assert!(bundle.title().ends_with(&format!(" ({})", bundle.id().short())), "{}", bundle.title());
}

#[test]
fn a_newer_decoder_has_the_tokens_that_it_serves_and_says_so_by_their_first_name() {
    let (first, newer) = both();
    let (first, newer) = (Bundle::open(first.path()).unwrap(), Bundle::open(newer.path()).unwrap());
    newer.verify().unwrap();
    assert_ne!(first.id(), newer.id());
    assert_eq!(newer.tokens(), first.tokens());
    let own = id(&formats::tokens_id(&formats::manifest(newer.folder())));
    assert_eq!(newer.identities(), [first.tokens(), own]);
    assert!(newer.speaks(own) && newer.speaks(first.tokens()) && !first.speaks(own));
    assert!(newer.reads(first.tokens().prefix()) && newer.reads(own.prefix()));
    assert!(!newer.speaks(TokensId::from_bytes([1; 32])) && !newer.reads(TokensId::from_bytes([1; 32]).prefix()));
    assert_eq!(newer.manifest().audio.delay_samples, first.manifest().audio.delay_samples);
    for part in [newer.tokens().short(), newer.id().short()] {
        assert!(newer.title().contains(&part), "{}", newer.title());
    }
}

#[test]
fn what_one_makes_the_other_plays() {
    let (first, newer) = both();
    let (runtime, _) = open();
    let bundles = [Bundle::open(first.path()).unwrap(), Bundle::open(newer.path()).unwrap()];
    let audio = &bundles[0].manifest().audio;
    let signal = hum(30 * audio.frame_samples, audio.sample_rate);
    let config = EncoderConfig { depth: 4, beam: 1 };
    let [ours, theirs] =
        [&bundles[0], &bundles[1]].map(|bundle| encode_recording(&runtime, bundle, config, &signal).unwrap());
    assert_eq!(ours, theirs, "the encoder is the same");
    let heard = [&bundles[0], &bundles[1]].map(|bundle| decode_recording(&runtime, bundle, &ours).unwrap());
    assert_eq!(heard[0], heard[1], "only the decoder's name is another");
}

#[test]
fn a_newer_bundle_need_not_serve_an_earlier_one() {
    let (_first, newer) = both();
    let mut manifest = formats::manifest(newer.path());
    table(&mut manifest, "tokens").remove("serves");
    formats::write(newer.path(), &manifest);
    let bundle = Bundle::open(newer.path()).unwrap();
    assert_eq!(bundle.identities(), [id(&formats::tokens_id(&manifest))]);
    // What is listed and not used is still a file of the bundle.
    bundle.verify().unwrap();
}

/// A change of a manifest, and what its refusal names.
type Fault = (&'static str, fn(&mut Table, &Path), &'static [&'static str]);

/// Faults of either format; those of only one are told by `format`.
fn refused(format: i64, faults: &[Fault]) {
    let (first, newer) = both();
    let from = if format == 1 { first.path() } else { newer.path() };
    for (what, harm, parts) in faults {
        let folder = tempfile::tempdir().unwrap();
        formats::copy(from, folder.path());
        let mut manifest = formats::manifest(folder.path());
        harm(&mut manifest, folder.path());
        formats::write(folder.path(), &manifest);
        let text = Bundle::open(folder.path()).expect_err(what).to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{what}: \"{text}\" should name {parts:?}");
        assert!(text.contains("manifest.toml") || text.contains("first.toml"), "{what}: {text}");
        assert!(!text.contains('\n') || text.contains("TOML parse error"), "{what}: one sentence: {text}");
    }
}

/// Whatever else a bundle says, its tokens are what they are: the identity is computed anew.
fn reclaim(manifest: &mut Table) {
    let own = formats::tokens_id(manifest);
    table(manifest, "tokens").insert("id".into(), own.into());
}

/// Puts something else in a file, and lists it as it is then.
fn replace(manifest: &mut Table, folder: &Path, name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let bytes = change(fs::read(folder.join(name)).unwrap());
    fs::write(folder.join(name), bytes).unwrap();
    formats::list(folder, manifest, name);
}

/// The next of a file's 16-bit floats: other codebooks.
fn other(mut bytes: Vec<u8>) -> Vec<u8> {
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    bytes
}

fn set(manifest: &mut Table, at: &str, value: impl Into<Value>) {
    let (section, field) = at.split_once('.').unwrap();
    table(manifest, section).insert(field.into(), value.into());
}

fn serves(manifest: &mut Table) -> Vec<Value> {
    manifest["tokens"]["serves"].as_array().unwrap().clone()
}

#[test]
fn fields_of_the_other_format_and_missing_ones_are_named() {
    refused(
        1,
        &[
            (
                "tokens",
                |m, _| drop(m.insert("tokens".into(), "id = \"0\"".parse::<Table>().unwrap().into())),
                &["[tokens] is of format 2", "format 1"],
            ),
            ("an encoder's hash", |m, _| set(m, "encoder.sha256", "0"), &["encoder.sha256 is of format 2"]),
            ("a decoder's hash", |m, _| set(m, "decoder.sha256", "0"), &["decoder.sha256 is of format 2"]),
            (
                "an encoder's delay",
                |m, _| set(m, "encoder.delay_samples", 0),
                &["encoder.delay_samples is of format 2"],
            ),
            ("a decoder's delay", |m, _| set(m, "decoder.delay_samples", 0), &["decoder.delay_samples is of format 2"]),
            ("no delay", |m, _| drop(table(m, "audio").remove("delay_samples")), &["audio.delay_samples is missing"]),
            (
                "a long delay",
                |m, _| set(m, "audio.delay_samples", 1 << 20),
                &["audio.delay_samples is 1048576", "a second"],
            ),
            ("the next format", |m, _| drop(m.insert("format".into(), 3.into())), &["format 3", "1 to 2"]),
            ("no format", |m, _| drop(m.remove("format")), &["format"]),
            ("format 0", |m, _| drop(m.insert("format".into(), 0.into())), &["format 0"]),
            ("no hash", |m, _| set(m, "files.encoder.onnx", 0), &["encoder.onnx"]),
        ],
    );
    refused(
        2,
        &[
            ("no tokens", |m, _| drop(m.remove("tokens")), &["[tokens] is missing", "format 2"]),
            ("no id", |m, _| drop(table(m, "tokens").remove("id")), &["id"]),
            ("an unknown field", |m, _| set(m, "tokens.name", "x"), &["name"]),
            ("one delay", |m, _| set(m, "audio.delay_samples", 320), &["audio.delay_samples is of format 1"]),
            (
                "no hash of the encoder",
                |m, _| drop(table(m, "encoder").remove("sha256")),
                &["encoder.sha256 is missing"],
            ),
            (
                "no hash of the decoder",
                |m, _| drop(table(m, "decoder").remove("sha256")),
                &["decoder.sha256 is missing"],
            ),
            (
                "no delay of the encoder",
                |m, _| drop(table(m, "encoder").remove("delay_samples")),
                &["encoder.delay_samples is missing"],
            ),
            (
                "no delay of the decoder",
                |m, _| drop(table(m, "decoder").remove("delay_samples")),
                &["decoder.delay_samples is missing"],
            ),
            ("a long delay", |m, _| set(m, "decoder.delay_samples", 16_001), &["delay_samples", "16001", "a second"]),
            (
                "delays that are long together",
                |m, _| {
                    set(m, "encoder.delay_samples", 8_000);
                    set(m, "decoder.delay_samples", 8_001);
                },
                &["delay_samples", "16001"],
            ),
            (
                "delays beyond all numbers",
                |m, _| {
                    set(m, "encoder.delay_samples", i64::MAX);
                    set(m, "decoder.delay_samples", i64::MAX);
                },
                &["delay_samples"],
            ),
            ("a delay before its time", |m, _| set(m, "decoder.delay_samples", -1), &["delay_samples"]),
            (
                "another hash of the encoder",
                |m, _| set(m, "encoder.sha256", "a".repeat(64)),
                &["encoder.sha256 is aaaa", "[files]"],
            ),
            ("another hash of the decoder", |m, _| set(m, "decoder.sha256", ""), &["decoder.sha256", "[files]"]),
            (
                "the graphs' hashes changed",
                |m, _| {
                    let (encoder, decoder) = (m["encoder"]["sha256"].clone(), m["decoder"]["sha256"].clone());
                    set(m, "encoder.sha256", decoder);
                    set(m, "decoder.sha256", encoder);
                },
                &["encoder.sha256"],
            ),
        ],
    );
}

#[test]
fn a_hash_that_is_none_is_named_whatever_the_format() {
    for format in [1, 2] {
        refused(
            format,
            &[
                (
                    "letters",
                    |m, _| set(table(m, "files"), "codebooks.safetensors", file_of("z")),
                    &["codebooks.safetensors", "64"],
                ),
                (
                    "short",
                    |m, _| set(table(m, "files"), "entropy.safetensors", file_of("a")),
                    &["entropy.safetensors", "64"],
                ),
            ],
        );
    }

    /// An entry with such a hash, by the name of a "section" with a dot in it.
    fn file_of(digit: &str) -> Value {
        let mut entry = Table::new();
        entry.insert("bytes".into(), 1.into());
        entry.insert("sha256".into(), digit.repeat(if digit == "a" { 63 } else { 64 }).into());
        entry.into()
    }

    fn set(files: &mut Table, name: &str, entry: Value) {
        files.insert(name.into(), entry);
    }
}

#[test]
fn a_claim_of_tokens_that_are_not_the_bundles_own_is_refused() {
    const CLAIM: &[&str] = &["tokens.id is", "claims tokens that are not its own"];
    refused(
        2,
        &[
            ("no identity", |m, _| set(m, "tokens.id", ""), CLAIM),
            ("another identity", |m, _| set(m, "tokens.id", "ab".repeat(32)), CLAIM),
            (
                "the identity that it serves",
                |m, _| {
                    let first = serves(m)[0].clone();
                    set(m, "tokens.id", first);
                },
                CLAIM,
            ),
            (
                "one digit more",
                |m, _| {
                    let id = format!("{}0", m["tokens"]["id"].as_str().unwrap());
                    set(m, "tokens.id", id);
                },
                CLAIM,
            ),
            ("other codebooks", |m, f| replace(m, f, "codebooks.safetensors", other), CLAIM),
            ("another entropy model", |m, f| replace(m, f, "entropy.safetensors", other), CLAIM),
            ("no entropy model", |m, _| drop(m.remove("entropy")), CLAIM),
            ("another rate", |m, _| set(m, "audio.sample_rate", 24_000), CLAIM),
            (
                "fewer codebooks",
                |m, _| {
                    let sizes: Vec<Value> = m["quantizer"]["sizes"].as_array().unwrap()[1..].to_vec();
                    set(m, "quantizer.sizes", sizes);
                    set(
                        m,
                        "decoder.depth_one_hot",
                        "name = \"depth_one_hot\"\nshape = [-1, 12]".parse::<Table>().unwrap(),
                    );
                },
                CLAIM,
            ),
            ("another tensor", |m, _| set(m, "quantizer.tensor", "books"), CLAIM),
        ],
    );
}

#[test]
fn a_claim_to_serve_an_earlier_bundle_is_proven_by_its_manifest() {
    refused(
        2,
        &[
            (
                "an identity of nothing",
                |m, _| set(m, "tokens.serves", vec!["ab".repeat(32)]),
                &["tokens.serves names abab", "[files]"],
            ),
            ("no identity", |m, _| set(m, "tokens.serves", vec!["first"]), &["tokens.serves", "64 hexadecimal digits"]),
            (
                "one identity twice",
                |m, _| {
                    let first = serves(m)[0].clone();
                    set(m, "tokens.serves", vec![first.clone(), first.as_str().unwrap().to_uppercase().into()]);
                },
                &["tokens.serves names", "twice"],
            ),
            (
                "its own identity",
                |m, _| {
                    let own = vec![serves(m)[0].clone(), m["tokens"]["id"].clone()];
                    set(m, "tokens.serves", own);
                },
                &["tokens.serves names", "tokens.id"],
            ),
            (
                "the manifest is not listed",
                |m, _| drop(table(m, "files").remove("first.toml")),
                &["[files]", "manifest"],
            ),
            (
                "the manifest is not there",
                |_, f| fs::remove_file(f.join("first.toml")).unwrap(),
                &["first.toml", "cannot read"],
            ),
            (
                "the manifest is damaged",
                |_, f| {
                    let text = fs::read_to_string(f.join("first.toml")).unwrap();
                    fs::write(f.join("first.toml"), text.replacen("320", "321", 1)).unwrap();
                },
                &["first.toml", "sha256"],
            ),
            (
                "a file that is no manifest",
                |m, _| {
                    let decoder = m["files"]["decoder.onnx"]["sha256"].clone();
                    set(m, "tokens.serves", vec![decoder]);
                },
                &["decoder.onnx is not a bundle's manifest"],
            ),
            (
                "an earlier bundle of other codebooks",
                |m, f| {
                    replace(m, f, "codebooks.safetensors", other);
                    reclaim(m);
                },
                &["tokens.serves names", "\"codebooks ", "its tokens are others"],
            ),
            (
                "an earlier bundle of another entropy model",
                |m, f| {
                    replace(m, f, "entropy.safetensors", other);
                    reclaim(m);
                },
                &["tokens.serves names", "\"entropy transformer ", "its tokens are others"],
            ),
            (
                "an earlier bundle of another rate",
                |m, _| {
                    set(m, "audio.sample_rate", 24_000);
                    reclaim(m);
                },
                &["\"sample_rate 16000\"", "\"sample_rate 24000\""],
            ),
            (
                "another tensor",
                |m, _| {
                    set(m, "quantizer.tensor", "books");
                    reclaim(m);
                },
                &["\"tensor codebooks\"", "\"tensor books\""],
            ),
            (
                "a bundle of this format, which has no identity of its own for tokens",
                |m, f| {
                    fs::copy(f.join("manifest.toml"), f.join("second.toml")).unwrap();
                    formats::list(f, m, "second.toml");
                    let second = m["files"]["second.toml"]["sha256"].clone();
                    set(m, "tokens.serves", vec![second]);
                },
                &["second.toml has format 2"],
            ),
        ],
    );
}

#[test]
fn doubled_fields_and_sections_are_refused_in_both_formats() {
    let (first, newer) = both();
    for (from, line) in [
        (&first, "format = 1"),
        (&first, "delay_samples = "),
        (&newer, "format = 2"),
        (&newer, "serves = "),
        (&newer, "id = "),
        (&newer, "[tokens]"),
        (&newer, "[encoder]"),
        (&newer, "[files.\"first.toml\"]"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        formats::copy(from.path(), folder.path());
        let file = folder.path().join("manifest.toml");
        let text = fs::read_to_string(&file).unwrap();
        let Some(whole) = text.lines().find(|found| found.starts_with(line)) else {
            // The manifest that ships writes a table in one line, where the one made here has a section.
            panic!("{line} is not in {text}");
        };
        fs::write(&file, text.replacen(whole, &format!("{whole}\n{whole}"), 1)).unwrap();
        let error = Bundle::open(folder.path()).expect_err(line).to_string();
        assert!(error.contains("manifest.toml") && error.contains("duplicate"), "{line}: {error}");
    }
}
