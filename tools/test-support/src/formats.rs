//! Two bundles for the same tokens, made of the one that ships: one of the first format, and one of the second with another
//! decoder that serves it.

use std::{fmt::Write as _, fs, path::Path};

use sha2::{Digest, Sha256};
use toml::{Table, Value};

pub fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut hash, byte| {
        write!(hash, "{byte:02x}").unwrap();
        hash
    })
}

pub fn manifest(folder: &Path) -> Table {
    fs::read_to_string(folder.join("manifest.toml")).unwrap().parse().unwrap()
}

pub fn write(folder: &Path, manifest: &Table) {
    fs::write(folder.join("manifest.toml"), manifest.to_string()).unwrap();
}

pub fn table<'t>(manifest: &'t mut Table, name: &str) -> &'t mut Table {
    manifest.get_mut(name).unwrap().as_table_mut().unwrap()
}

/// Lists a file as it lies there.
pub fn list(folder: &Path, manifest: &mut Table, name: &str) {
    let bytes = fs::read(folder.join(name)).unwrap();
    let mut entry = Table::new();
    entry.insert("bytes".into(), Value::Integer(bytes.len() as i64));
    entry.insert("sha256".into(), hash(&bytes).into());
    table(manifest, "files").insert(name.into(), entry.into());
}

pub fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The tokens' identity by docs/bundle.md, of a residual quantizer.
pub fn tokens_id(manifest: &Table) -> String {
    let text = |table: &str, field: &str| match &manifest[table][field] {
        Value::String(text) => text.clone(),
        Value::Array(numbers) => numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    };
    let file = |table: &str| manifest["files"][text(table, "file").as_str()]["sha256"].as_str().unwrap();
    let entropy = manifest.contains_key("entropy").then(|| format!("transformer {}", file("entropy")));
    hash(
        format!(
            "parlo tokens\nsample_rate {}\nframe_samples {}\nquantizer residual\ndimension {}\nsizes {}\ncodebooks {}\nentropy \
             {}\ntensor {}\n",
            text("audio", "sample_rate"),
            text("audio", "frame_samples"),
            text("quantizer", "dimension"),
            text("quantizer", "sizes"),
            file("quantizer"),
            entropy.as_deref().unwrap_or("none"),
            text("quantizer", "tensor"),
        )
        .as_bytes(),
    )
}

/// A manifest's text as one of format 1, for tests that change a line of it: without what format 2 says twice, so that one change is one
/// fault.
pub fn first_text(text: &str) -> String {
    let whole: Table = text.parse().unwrap();
    if whole["format"].as_integer() == Some(1) {
        return text.to_owned();
    }
    let delay: i64 =
        ["encoder", "decoder"].iter().map(|graph| whole[*graph]["delay_samples"].as_integer().unwrap()).sum();
    let (mut section, mut made) = (String::new(), String::new());
    for line in text.lines() {
        if line.starts_with('[') {
            section = line.to_owned();
        }
        let graph = section == "[encoder]" || section == "[decoder]";
        let newer = section == "[tokens]"
            || graph && (line.starts_with("sha256 =") || line.starts_with("delay_samples ="))
            || section == "[files]" && line.contains(".toml\" =");
        match line {
            "format = 2" => made += "format = 1\n",
            "[audio]" => made += &format!("[audio]\ndelay_samples = {delay}\n"),
            _ if newer => {}
            other => made += &format!("{other}\n"),
        }
    }
    made
}

/// The graphs and tokens of the bundle `from` as a bundle of format 1.
pub fn first(from: &Path, folder: &Path) {
    copy(from, folder);
    let mut manifest = manifest(folder);
    if manifest["format"].as_integer() == Some(1) {
        return;
    }
    manifest.insert("format".into(), Value::Integer(1));
    manifest.remove("tokens");
    let mut delay = 0;
    for graph in ["encoder", "decoder"] {
        let graph = table(&mut manifest, graph);
        graph.remove("sha256");
        delay += graph.remove("delay_samples").unwrap().as_integer().unwrap();
    }
    table(&mut manifest, "audio").insert("delay_samples".into(), Value::Integer(delay));
    table(&mut manifest, "files").retain(|name, _| !name.ends_with(".toml"));
    write(folder, &manifest);
}

/// A bundle of format 2 that serves the one of format 1 in `first`, with a decoder of other bytes.
pub fn newer(first: &Path, folder: &Path) {
    copy(first, folder);
    let mut manifest = manifest(folder);
    fs::rename(folder.join("manifest.toml"), folder.join("first.toml")).unwrap();
    // The producer's name, field 2 of an ONNX model: of two the last holds.
    let mut decoder = fs::read(folder.join("decoder.onnx")).unwrap();
    decoder.extend(b"\x12\x05newer");
    fs::write(folder.join("decoder.onnx"), decoder).unwrap();
    for name in ["decoder.onnx", "first.toml"] {
        list(folder, &mut manifest, name);
    }
    manifest.insert("format".into(), Value::Integer(2));
    manifest.insert("name".into(), "newer".into());
    let delay = table(&mut manifest, "audio").remove("delay_samples").unwrap();
    for (graph, delay) in [("encoder", Value::Integer(0)), ("decoder", delay)] {
        let sha256 = manifest["files"][format!("{graph}.onnx").as_str()]["sha256"].clone();
        let graph = table(&mut manifest, graph);
        graph.insert("sha256".into(), sha256);
        graph.insert("delay_samples".into(), delay);
    }
    let mut tokens = Table::new();
    tokens.insert("id".into(), tokens_id(&manifest).into());
    tokens.insert("serves".into(), vec![hash(&fs::read(folder.join("first.toml")).unwrap())].into());
    manifest.insert("tokens".into(), tokens.into());
    write(folder, &manifest);
}
