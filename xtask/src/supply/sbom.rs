//! The list of everything that a package is made of: a CycloneDX 1.5 document (ECMA-424), JSON. The same bytes whoever makes it when.

use std::{
    collections::BTreeMap,
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Graph, Package, checksums, licence};
use crate::{
    install::PROGRAMS,
    setup,
    shell::{BUNDLE, root},
};

/// The crates of this tree that packages are built of.
const BUILT: [&str; 3] = ["parlo", "parlod", "parlo-python"];

/// Where the crate that brings libopus says which version it is.
const OPUS: &str = "opusic-sys";

/// Writes the list for programs in `bin`, of files that were last changed at `epoch`, seconds since 1970.
///
/// # Errors
/// If something that is in the programs cannot be told.
pub(crate) fn write(file: &Path, bin: &Path, epoch: u64) -> anyhow::Result<()> {
    let graph = Graph::read(&[format!("{ARCH}-unknown-linux-gnu")])?;
    let programs: Vec<PathBuf> = PROGRAMS.iter().map(|name| bin.join(name)).collect();
    let document = document(&graph, &checksums()?, &programs, epoch)?;
    fs::write(file, serde_json::to_string_pretty(&document)? + "\n")
        .with_context(|| format!("cannot write {}", file.display()))
}

fn document(
    graph: &Graph,
    checksums: &BTreeMap<(String, String), String>,
    programs: &[PathBuf],
    epoch: u64,
) -> anyhow::Result<Value> {
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    let inside = graph.under(&BUILT);
    for &id in &inside {
        let package = &graph.packages[id];
        components.push(of_crate(package, checksums)?);
        let uses = graph.uses.get(id).into_iter().flatten().filter(|used| inside.contains(used.as_str()));
        let mut on: Vec<String> = uses.map(|used| name_of(&graph.packages[used])).collect();
        match package.name.as_str() {
            OPUS => on.push("libopus".to_owned()),
            "parlo-model" => on.extend(["onnxruntime".to_owned(), format!("bundle:{BUNDLE}")]),
            _ => {}
        }
        on.sort_unstable();
        dependencies.push(json!({"ref": name_of(package), "dependsOn": on}));
    }
    let opus = inside.iter().map(|id| &graph.packages[*id]).find(|package| package.name == OPUS);
    components.push(libopus(opus.context("nothing brings libopus")?)?);
    components.push(onnxruntime()?);
    components.push(bundle()?);
    for name in ["libopus", "onnxruntime", &format!("bundle:{BUNDLE}")] {
        dependencies.push(json!({"ref": name, "dependsOn": []}));
    }
    for program in programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        components.push(json!({
            "type": "file", "bom-ref": format!("file:bin/{name}"), "name": format!("bin/{name}"), "hashes": [of_file(program)?],
        }));
        dependencies.push(json!({"ref": format!("file:bin/{name}"), "dependsOn": [of_own(graph, &name)?]}));
    }
    components.sort_by_key(reference);
    dependencies.sort_by_key(|one| one["ref"].as_str().unwrap_or_default().to_owned());
    let version = env!("CARGO_PKG_VERSION");
    let mut document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": utc(epoch),
            "tools": {"components": [{"type": "application", "name": "cargo xtask package", "version": version}]},
            "component": {
                "type": "application", "bom-ref": "parlo-packages", "name": "parlo", "version": version,
                "licenses": [{"expression": "MIT OR Apache-2.0"}],
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    // A document's own number is of what is in it, so that the same list has the same.
    let digest = Sha256::digest(serde_json::to_vec(&document)?);
    document["serialNumber"] = json!(format!("urn:uuid:{}", uuid(&digest)));
    Ok(document)
}

fn reference(component: &Value) -> String {
    component["bom-ref"].as_str().unwrap_or_default().to_owned()
}

/// What a crate is called in the list: its package URL, which names those of this tree too.
fn name_of(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

fn of_own(graph: &Graph, name: &str) -> anyhow::Result<String> {
    let own = graph.packages.values().find(|package| package.source.is_none() && package.name == name);
    own.map(name_of).with_context(|| format!("{name} is no crate of this tree"))
}

fn of_crate(package: &Package, checksums: &BTreeMap<(String, String), String>) -> anyhow::Result<Value> {
    let title = format!("{} {}", package.name, package.version);
    let text = package.license.as_deref().with_context(|| format!("{title} names no licence"))?;
    let mut component = json!({
        "type": "library", "bom-ref": name_of(package), "name": package.name, "version": package.version,
        "licenses": [{"expression": licence::expression(text)}],
    });
    let folder = Path::new(&package.manifest_path).parent().unwrap_or(Path::new(""));
    if package.source.is_some() {
        let checksum = checksums.get(&(package.name.clone(), package.version.clone()));
        let checksum = checksum.with_context(|| format!("Cargo.lock has no checksum of {title}"))?;
        component["purl"] = json!(name_of(package));
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    } else if folder.parent().is_some_and(|folder| folder.ends_with("third_party")) {
        // Somebody's crate, changed here.
        let origin = name_of(package);
        component["pedigree"] = json!({
            "ancestors": [{"type": "library", "name": package.name, "version": package.version, "purl": origin}],
            "notes": "changed: third_party/README.md says how",
        });
    }
    Ok(component)
}

/// The C library in the crate that binds it, at the version that the crate's own text states.
fn libopus(package: &Package) -> anyhow::Result<Value> {
    let folder = Path::new(&package.manifest_path).parent().context("a crate without a folder")?;
    let text = fs::read_to_string(folder.join("README.md")).with_context(|| format!("{OPUS} has no README.md"))?;
    let version = text.lines().find_map(|line| line.strip_prefix("Target version [")?.split(']').next());
    let version = version.with_context(|| format!("{OPUS} does not say which version of libopus it brings"))?;
    Ok(json!({
        "type": "library", "bom-ref": "libopus", "name": "libopus", "version": version, "purl": format!("pkg:generic/opus@{version}"),
        "licenses": [{"expression": "BSD-3-Clause"}],
        "pedigree": {"notes": format!("its source, with a patch, is part of {}", name_of(package))},
    }))
}

/// The library that is packed, from the wheel that is pinned.
fn onnxruntime() -> anyhow::Result<Value> {
    let pinned = fs::read_to_string(root().join("xtask/onnxruntime.txt"))?;
    let version = pinned.lines().find_map(|line| line.strip_prefix("onnxruntime==")?.split([' ', ';', '\\']).next());
    let version = version.context("xtask/onnxruntime.txt pins no onnxruntime")?;
    Ok(json!({
        "type": "library", "bom-ref": "onnxruntime", "name": "onnxruntime", "version": version,
        "purl": format!("pkg:pypi/onnxruntime@{version}"), "licenses": [{"expression": "MIT"}],
        "hashes": [of_file(&setup::library_file())?],
    }))
}

/// The model that ships: its manifest, whose hash is its identity, and which has the hashes of all else.
fn bundle() -> anyhow::Result<Value> {
    let folder = root().join("model/bundles").join(BUNDLE);
    let manifest = fs::read_to_string(folder.join("manifest.toml"))?;
    let fields: toml::Table = toml::from_str(&manifest).context("the bundle's manifest is no TOML")?;
    let licence =
        fields.get("licence").and_then(toml::Value::as_str).context("the bundle's manifest names no licence")?;
    let mut files: Vec<PathBuf> =
        fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    files.sort();
    let mut parts = Vec::new();
    for file in files {
        let name = format!("{BUNDLE}/{}", file.file_name().unwrap_or_default().to_string_lossy());
        parts.push(
            json!({"type": "file", "bom-ref": format!("file:{name}"), "name": name, "hashes": [of_file(&file)?]}),
        );
    }
    Ok(json!({
        "type": "machine-learning-model", "bom-ref": format!("bundle:{BUNDLE}"), "name": BUNDLE,
        "licenses": [{"expression": licence}],
        "hashes": [of_file(&folder.join("manifest.toml"))?],
        "components": parts,
    }))
}

fn of_file(file: &Path) -> anyhow::Result<Value> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(json!({"alg": "SHA-256", "content": hex(&Sha256::digest(bytes))}))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sixteen of these bytes as a UUID of version 8 (RFC 9562, section 5.8): of one's own making.
fn uuid(bytes: &[u8]) -> String {
    let mut bytes: [u8; 16] = std::array::from_fn(|n| bytes[n]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex(&bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

/// A time as RFC 3339 has it. The calendar by days from 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn utc(epoch: u64) -> String {
    let (days, second) = (epoch / 86_400 + 719_468, epoch % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// What of the standard's rules a document breaks, as far as ours could.
///
/// # Errors
/// The first rule that is broken.
pub(crate) fn validate(document: &Value) -> anyhow::Result<()> {
    if document["bomFormat"] != "CycloneDX" || document["specVersion"] != "1.5" || document["version"] != 1 {
        bail!("it is no CycloneDX 1.5");
    }
    let serial =
        document["serialNumber"].as_str().and_then(|serial| serial.strip_prefix("urn:uuid:")).unwrap_or_default();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if serial.split('-').map(str::len).ne([8, 4, 4, 4, 12]) || !serial.split('-').all(digits) {
        bail!("\"{serial}\" is no UUID");
    }
    let mut references = vec![reference(&document["metadata"]["component"])];
    let mut open: Vec<&Value> = document["components"].as_array().context("there are no components")?.iter().collect();
    while let Some(component) = open.pop() {
        let name = component["name"].as_str().filter(|name| !name.is_empty()).context("a component has no name")?;
        let kind = component["type"].as_str().unwrap_or_default();
        if !["application", "library", "file", "machine-learning-model"].contains(&kind) {
            bail!("{name}: \"{kind}\" is no type");
        }
        if kind != "file" {
            let licence =
                component["licenses"][0]["expression"].as_str().with_context(|| format!("{name} has no licence"))?;
            licence::allows(licence, &|_| true).with_context(|| name.to_owned())?;
        }
        for hash in component["hashes"].as_array().into_iter().flatten() {
            let content = hash["content"].as_str().unwrap_or_default();
            if hash["alg"] != "SHA-256" || content.len() != 64 || !digits(content) {
                bail!("{name}: \"{content}\" is no SHA-256");
            }
        }
        if component["purl"].as_str().is_some_and(|purl| !purl.starts_with("pkg:")) {
            bail!("{name} has a purl that is none");
        }
        references.push(reference(component));
        open.extend(component["components"].as_array().into_iter().flatten());
    }
    let count = references.len();
    references.sort_unstable();
    references.dedup();
    if references.len() != count || references.iter().any(String::is_empty) {
        bail!("components have no reference, or one that another has");
    }
    for edge in document["dependencies"].as_array().context("there are no dependencies")? {
        let ends = edge["dependsOn"].as_array().into_iter().flatten().chain([&edge["ref"]]);
        for end in ends.map(|end| end.as_str().unwrap_or_default()) {
            if references.binary_search_by(|one| one.as_str().cmp(end)).is_err() {
                bail!("\"{end}\" is depended on, and is no component");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list of this tree, with two files in the place of the programs.
    fn list(folder: &Path, epoch: u64) -> Value {
        for name in PROGRAMS {
            fs::write(folder.join(name), name).unwrap();
        }
        let file = folder.join("list.json");
        write(&file, folder, epoch).unwrap();
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    }

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("parlo-sbom-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn the_list_is_valid_whole_and_the_same_each_time() {
        let folder = scratch("list");
        if !setup::library_file().exists() {
            // `cargo xtask setup` brings it; `cargo xtask test` begins with that.
            return;
        }
        let (one, other) = (list(&folder, 1_800_000_000), list(&folder, 1_800_000_000));
        assert_eq!(one, other);
        validate(&one).unwrap();
        assert_eq!(one["metadata"]["timestamp"], "2027-01-15T08:00:00Z");
        let components = one["components"].as_array().unwrap();
        let of = |name: &str| {
            components.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name} is missing"))
        };
        for name in
            ["parlo", "parlod", "parlo-model", "landlock", "pulseaudio", "libopus", "onnxruntime", BUNDLE, "bin/parlo"]
        {
            of(name);
        }
        // What only tests need is in no package.
        assert!(!components.iter().any(|one| one["name"] == "proptest" || one["name"] == "xtask"));
        assert!(of("pulseaudio")["pedigree"]["notes"].as_str().unwrap().contains("changed"));
        assert!(of("libopus")["version"].as_str().unwrap().starts_with("1."));
        let locked = checksums().unwrap();
        for component in
            components.iter().filter(|one| one["purl"].as_str().is_some_and(|purl| purl.starts_with("pkg:cargo/")))
        {
            let text = |field: &str| component[field].as_str().unwrap().to_owned();
            assert_eq!(
                component["hashes"][0]["content"].as_str(),
                locked.get(&(text("name"), text("version"))).map(String::as_str)
            );
        }
        let files = of(BUNDLE)["components"].as_array().unwrap();
        assert!(files.iter().any(|file| file["name"] == format!("{BUNDLE}/decoder.onnx")));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_breaks_the_standard_is_found() {
        let component = |name: &str| {
            json!({"type": "library", "bom-ref": name, "name": name, "licenses": [{"expression": "MIT"}],
                   "hashes": [{"alg": "SHA-256", "content": "0".repeat(64)}]})
        };
        let good = json!({
            "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
            "serialNumber": format!("urn:uuid:{}", uuid(&[0; 16])),
            "metadata": {"component": {"bom-ref": "whole"}},
            "components": [component("a"), component("b")],
            "dependencies": [{"ref": "a", "dependsOn": ["b"]}],
        });
        validate(&good).unwrap();
        let broken: [(&str, Value); 8] = [
            ("/specVersion", json!("1.0")),
            ("/serialNumber", json!("urn:uuid:1")),
            ("/components/0/type", json!("thing")),
            ("/components/0/name", json!("")),
            ("/components/0/bom-ref", json!("b")),
            ("/components/0/licenses/0/expression", json!("MIT OR")),
            ("/components/0/hashes/0/content", json!("00")),
            ("/dependencies/0/dependsOn/0", json!("c")),
        ];
        for (place, value) in broken {
            let mut bad = good.clone();
            *bad.pointer_mut(place).unwrap() = value;
            assert!(validate(&bad).is_err(), "{place}");
        }
    }

    #[test]
    fn times_are_of_the_calendar() {
        for (epoch, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(utc(epoch), text);
        }
    }
}
