//! Entropy models that are damaged, or strange: refused by the tensor's name, or else computed without a fault.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{fs, path::Path};

use parlo_model::{Bundle, EntropyCoder, EntropyModel, FrameCoder, Kernel, ModelError};
use parlo_test_support::{
    formats::first_text,
    synthetic::{Random, SHIPPED, SMALL, Sizes, Synthetic},
};
use parlo_tokens::{FrameSet, TokenFrame};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use support::shipped;
use tempfile::TempDir;

fn small() -> Synthetic {
    Synthetic::new(&SMALL, 1)
}

/// The tensor that is complained of. The message names it, and is one sentence.
fn refused(model: &Synthetic) -> String {
    let error = model.load().unwrap_err();
    let text = error.to_string();
    let ModelError::Tensor { tensor, .. } = error else { panic!("{text}") };
    assert!(text.contains("entropy.safetensors") && text.contains(&tensor) && !text.contains('\n'), "{text}");
    tensor
}

/// Encodes and decodes on every kernel; all payloads are the same.
fn exercise(model: &EntropyModel, seed: u64) {
    let frames = Random(seed).frames(model.layout(), 4, 12);
    let context: FrameSet = (0..20).collect();
    let mut payloads = Vec::new();
    for kernel in Kernel::ALL {
        let Some(mut coder) = EntropyCoder::with_kernel(model, kernel) else { continue };
        (0..)
            .zip(Random(!seed).frames(model.layout(), 4, 20))
            .for_each(|(n, frame)| coder.remember(n, &frame).unwrap());
        let (mut payload, mut out) = (Vec::new(), Vec::new());
        coder.encode_in(20, &frames, &context, &mut payload).unwrap();
        coder.decode_in(20, &payload, frames.len(), 4, &context, &mut out).unwrap();
        assert_eq!(out, frames);
        payloads.push(payload);
    }
    assert!(payloads.iter().all(|payload| payload == &payloads[0]));
}

#[test]
fn a_tensor_that_is_missing_is_named() {
    for name in small().tensors.keys() {
        let mut model = small();
        model.tensors.remove(name);
        let named = refused(&model);
        // A book's network that has nothing to tell it by is missed by its first tensor.
        assert!(named == *name, "{named} for {name}");
    }
}

#[test]
fn values_beyond_what_the_arithmetic_holds_are_named() {
    let word = |value: i32| value.to_le_bytes().to_vec();
    let cases = [
        ("books.1.middle.weight", vec![128]),
        ("embeddings", vec![128]),
        ("gelu", vec![128]),
        ("content_in.multiplier", word(i32::MAX)),
        ("layers.1.leave.multiplier", word(i32::MIN)),
        ("layers.1.leave.bias", word(i32::MIN)),
        ("books.2.answer.multiplier", word(-i32::MAX)),
        ("exp2", word(1 << 23)),
        ("exp2", word(1 << 20)),
        ("exp2", word((1 << 22) - 1)),
        ("gains", word(1 << 24)),
        ("norm", word(1 << 18)),
        ("question", word(1 << 27)),
        ("layers.0.distance", word(-(1 << 27))),
        ("layers.1.nothing", word(1 << 27)),
    ];
    for (name, bytes) in cases {
        let mut model = small();
        model.tensors.get_mut(name).unwrap().2[..bytes.len()].copy_from_slice(&bytes);
        assert_eq!(refused(&model), name);
    }
    // Of short vectors no product is too large.
    for name in ["product", "score"] {
        let mut model = Synthetic::new(&Sizes { embedding: 48, heads: 1, ..SMALL }, 1);
        model.tensors.get_mut(name).unwrap().2[..4].copy_from_slice(&word(i32::MAX));
        assert_eq!(refused(&model), name);
    }
}

#[test]
fn a_model_for_other_codebooks_is_refused() {
    let parse = |sizes: &[u32]| {
        let layout = parlo_tokens::CodeLayout::new(sizes).unwrap();
        EntropyModel::parse(Path::new("entropy.safetensors"), &small().file(), &layout).unwrap_err().to_string()
    };
    for sizes in [&[80, 80, 80, 64][..], &[80, 80], &[1024; 12]] {
        assert!(parse(sizes).contains("embeddings has 3 books of 80 entries"), "{}", parse(sizes));
    }
    assert!(parse(&[80; 5]).contains("books.4.bias"));
    let parse = |bytes: &[u8]| EntropyModel::parse(Path::new("entropy.safetensors"), bytes, &SMALL.layout());
    let complaint = parse(b"not tensors").unwrap_err().to_string();
    assert!(complaint.contains("entropy.safetensors") && complaint.contains("safetensors"), "{complaint}");
}

/// Everything as large as is let through.
fn extreme(seed: u64) -> Synthetic {
    let random = &mut Random(seed);
    let mut model = Synthetic::new(&SMALL, seed);
    let names: Vec<String> = model.tensors.keys().cloned().collect();
    let shapes: Vec<Vec<usize>> = model.tensors.values().map(|tensor| tensor.1.clone()).collect();
    let sign = |random: &mut Random, most: i64| if random.within(0, 1) == 0 { -most } else { most };
    for (name, shape) in names.iter().zip(&shapes) {
        let count: usize = shape.iter().product();
        let words = |random: &mut Random, most: i64| (0..count).map(|_| sign(random, most) as i32).collect();
        let columns = |name: &str| {
            let weight = format!("{}.weight", name.rsplit_once('.').unwrap().0);
            names.iter().position(|name| *name == weight).map(|at| shapes[at][1] as i64)
        };
        match name.rsplit('.').next().unwrap() {
            "exp2" => {}
            "weight" | "embeddings" | "gelu" => {
                model.bytes(name, shape, (0..count).map(|_| sign(random, 127) as i8).collect());
            }
            "bias" if columns(name).is_none() => {
                model.shorts(name, shape, (0..count).map(|_| sign(random, 32767) as i16).collect());
            }
            "bias" => model.words(name, shape, words(random, 1 << 30)),
            "multiplier" => {
                let has_bias = names.contains(&name.replace("multiplier", "bias"));
                let sum = 127 * 127 * columns(name).unwrap() + if has_bias { 1 << 30 } else { 0 };
                model.words(name, shape, words(random, ((1 << 50) / sum).min(i64::from(i32::MAX))));
            }
            "gains" => model.words(name, shape, words(random, (1 << 30) / 127 / 3)),
            "norm" => model.words(name, shape, vec![(1 << 18) - 1]),
            "product" => model.words(name, shape, words(random, (1_i64 << 50) / (127 * 127 * 16))),
            "score" => model.words(name, shape, words(random, (1_i64 << 50) / (127 * 127 * 32))),
            "question" | "distance" | "nothing" => model.words(name, shape, words(random, 1 << 26)),
            other => panic!("{other} is new here"),
        }
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_tensor_of_another_shape_or_type_is_named(
        at: prop::sample::Index, dimension: prop::sample::Index, to in prop_oneof![0_usize..300, Just(16), Just(2048)],
        turned in prop::bool::weighted(0.1),
    ) {
        let mut model = small();
        let name = at.get(&model.tensors.keys().cloned().collect::<Vec<_>>()).clone();
        let (kind, shape, data) = model.tensors.get_mut(&name).unwrap();
        if turned {
            *kind = if *kind == safetensors::Dtype::I16 { safetensors::Dtype::F16 } else { safetensors::Dtype::I16 };
            data.resize(shape.iter().product::<usize>() * 2, 1);
        } else {
            let (size, dimension) = (data.len() / shape.iter().product::<usize>(), dimension.index(shape.len()));
            prop_assume!(shape[dimension] != to);
            // A model of one layer less is a model.
            prop_assume!(name != "score" || to > 1);
            shape[dimension] = to;
            data.resize(shape.iter().product::<usize>() * size, 1);
        }
        let named = refused(&model);
        prop_assert!(named == name || named.contains('.') || model.tensors.contains_key(&named));
    }

    #[test]
    fn flipped_bits_are_refused_or_harmless(flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8), 1..50)) {
        let model = small();
        let mut bytes = model.file();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
        }
        if let Ok(model) = EntropyModel::parse(Path::new("x"), &bytes, &model.layout) {
            exercise(&model, 3);
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes: Vec<u8>) {
        prop_assert!(EntropyModel::parse(Path::new("x"), &bytes, &SMALL.layout()).is_err());
    }

    /// Sums that overflow would panic here.
    #[test]
    fn nothing_overflows_at_the_ends(seed: u64) {
        exercise(&extreme(seed).model(), seed);
    }
}

/// A copy of the shipped bundle, but for its graphs, with an entropy model of random weights.
fn bundle() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let manifest = first_text(&fs::read_to_string(shipped().join("manifest.toml")).unwrap());
    let without: String =
        manifest.lines().filter(|line| !line.contains("entropy")).map(|line| format!("{line}\n")).collect();
    let without = without.replace("kind = \"transformer\"\n", "");
    let content = Synthetic::new(&SHIPPED, 1).file();
    let hash = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let with =
        without.replace("[files]", "[entropy]\nkind = \"transformer\"\nfile = \"entropy.safetensors\"\n\n[files]");
    let with = format!("{with}\"entropy.safetensors\" = {{ bytes = {}, sha256 = \"{hash}\" }}\n", content.len());
    fs::write(folder.path().join("plain.toml"), without).unwrap();
    fs::write(folder.path().join("manifest.toml"), with).unwrap();
    fs::write(folder.path().join("entropy.safetensors"), content).unwrap();
    fs::copy(shipped().join("codebooks.safetensors"), folder.path().join("codebooks.safetensors")).unwrap();
    folder
}

fn edit(folder: &Path, from: &str, to: &str) -> String {
    let file = folder.join("manifest.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from));
    fs::write(file, text.replacen(from, to, 1)).unwrap();
    Bundle::open(folder).and_then(|bundle| bundle.entropy_model()).unwrap_err().to_string()
}

#[test]
fn a_bundle_may_have_an_entropy_model_or_not() {
    let folder = bundle();
    let opened = Bundle::open(folder.path()).unwrap();
    let model = opened.entropy_model().unwrap().unwrap();
    assert_eq!((model.layout(), model.reach()), (opened.layout(), 256));
    let mut payload = Vec::new();
    EntropyCoder::new(&model).encode(&[TokenFrame::new(&[1023; 12]).unwrap()], &mut payload).unwrap();
    fs::rename(folder.path().join("plain.toml"), folder.path().join("manifest.toml")).unwrap();
    assert!(Bundle::open(folder.path()).unwrap().entropy_model().unwrap().is_none());
}

#[test]
fn a_bundle_with_a_damaged_entropy_model_says_so() {
    let (one, other, third, fourth) = (bundle(), bundle(), bundle(), bundle());
    let listed = edit(one.path(), "file = \"entropy.safetensors\"", "file = \"entropy2.safetensors\"");
    assert!(listed.contains("entropy2.safetensors") && listed.contains("[files]"), "{listed}");
    let kind = edit(other.path(), "kind = \"transformer\"", "kind = \"magic\"");
    assert!(kind.contains("magic") && kind.contains("transformer"), "{kind}");
    let unlisted = edit(third.path(), "\n\"entropy.safetensors\" =", "\n\"entropy3.safetensors\" =");
    assert!(unlisted.contains("entropy.safetensors is used, but not listed"), "{unlisted}");
    let file = fourth.path().join("entropy.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    bytes[500_000] ^= 1;
    fs::write(&file, bytes).unwrap();
    let bundle = Bundle::open(fourth.path()).unwrap();
    let damaged = bundle.entropy_model().unwrap_err().to_string();
    assert!(damaged.contains("entropy.safetensors") && damaged.contains("sha256 should be"), "{damaged}");
}
