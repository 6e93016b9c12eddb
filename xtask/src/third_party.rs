//! The crates of others that are changed here: each folder of `third_party/` is a published crate and a patch, and nothing else.
//!
//! `NAME.sha256` has the archive's checksum, and those of the files in it that are kept; `NAME.patch` is the change. The test takes the patch
//! back from the tree, compares what remains with the list, and puts the patch on again: neither network nor archive is needed.
//! `cargo xtask third-party` writes both anew from the archive.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};

use crate::shell::{self, cargo, root};

/// The manifest as its author wrote it. The archive's `Cargo.toml` is what cargo made of it; here it is this one.
const MANIFEST_AS_WRITTEN: &str = "Cargo.toml.orig";

/// Files by their path in a folder.
type Files = BTreeMap<String, Vec<u8>>;

/// Writes the list and the patch of every changed crate anew. What stands at a patch's head stays.
///
/// # Errors
/// If a published crate cannot be fetched, or has another checksum than the registry's index says.
pub(crate) fn run() -> anyhow::Result<()> {
    let third_party = root().join("third_party");
    for name in names(&third_party)? {
        let tree = read(&third_party.join(&name))?;
        let version = version(&tree).with_context(|| name.clone())?;
        let (checksum, published) = fetch(&name, &version)?;
        let list = format!("{checksum}  {}\n{}", archive(&name, &version), listed(&published));
        let patch_file = third_party.join(format!("{name}.patch"));
        let old = fs::read_to_string(&patch_file).unwrap_or_default();
        let head = old.split_inclusive('\n').take_while(|line| !line.starts_with("--- "));
        let patch = head.collect::<String>() + &differences(&published, &tree)?;
        let said = if patch == old { "the patch is as it was" } else { "the patch is written anew" };
        fs::write(third_party.join(format!("{name}.sha256")), list)?;
        fs::write(&patch_file, patch)?;
        check(&third_party, &name)?;
        println!("{name} {version}: {said}");
    }
    Ok(())
}

/// Checks that a folder is the published files of the list with the patch, byte for byte.
fn check(third_party: &Path, name: &str) -> anyhow::Result<()> {
    let says_how =
        || format!("third_party/{name}: if the folder is right, `cargo xtask third-party` writes its patch and list");
    let tree = read(&third_party.join(name))?;
    let list = fs::read_to_string(third_party.join(format!("{name}.sha256"))).with_context(says_how)?;
    let (first, list) = list.split_once('\n').context("an empty list").with_context(says_how)?;
    let archive = archive(name, &version(&tree)?);
    ensure!(first.ends_with(&format!("  {archive}")), "third_party/{name}.sha256 is not of {archive}");

    let patch = third_party.join(format!("{name}.patch"));
    let scratch = Scratch::new(name)?;
    write(&scratch.0, &tree)?;
    apply(&patch, &["--reverse"], &scratch.0).with_context(says_how)?;
    let published = read(&scratch.0)?;
    let found = listed(&published);
    if found != list {
        let (found, wanted): (BTreeSet<&str>, BTreeSet<&str>) = (found.lines().collect(), list.lines().collect());
        let differ: BTreeSet<&str> =
            found.symmetric_difference(&wanted).filter_map(|line| Some(line.split_once("  ")?.1)).collect();
        bail!("without its patch not as published: {differ:?}\n{}", says_how());
    }
    // The way back has several beginnings if a hunk fits in several places.
    apply(&patch, &[], &scratch.0).with_context(says_how)?;
    ensure!(read(&scratch.0)? == tree, "not what the published files and the patch come to\n{}", says_how());
    Ok(())
}

/// The changed crates: the folders.
fn names(third_party: &Path) -> anyhow::Result<BTreeSet<String>> {
    let entries = fs::read_dir(third_party).context("third_party")?.flatten().filter(|entry| entry.path().is_dir());
    Ok(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

fn archive(name: &str, version: &str) -> String {
    format!("{name}-{version}.crate")
}

/// The version in a crate's manifest.
fn version(tree: &Files) -> anyhow::Result<String> {
    let manifest = tree.get("Cargo.toml").context("no Cargo.toml")?;
    let manifest: toml::Table = toml::from_str(str::from_utf8(manifest)?)?;
    Ok(manifest["package"]["version"].as_str().context("no version")?.to_owned())
}

/// The list of files, as `sha256sum` writes and reads it, by their names in the archive.
fn listed(files: &Files) -> String {
    let mut list = String::new();
    for (path, bytes) in files {
        let path = if path == "Cargo.toml" { MANIFEST_AS_WRITTEN } else { path };
        let _ = writeln!(list, "{}  {path}", hash(bytes));
    }
    list
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The published crate by way of cargo: its archive's SHA-256, which is the one in the registry's index, and the files in it that are kept.
fn fetch(name: &str, version: &str) -> anyhow::Result<(String, Files)> {
    let scratch = Scratch::new(name)?;
    // The workspace's own manifest cannot be asked: it has the crate replaced.
    let manifest = format!(
        "[package]\nname = \"asks-for-{name}\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n[dependencies]\n{name} = \"={version}\"\n"
    );
    let asking = [("Cargo.toml".to_owned(), manifest.into_bytes()), ("lib.rs".to_owned(), Vec::new())];
    write(&scratch.0, &Files::from(asking))?;
    let mut ask = cargo();
    ask.current_dir(&scratch.0).args(["metadata", "--format-version=1"]);
    let metadata: serde_json::Value = serde_json::from_str(&shell::output(&mut ask)?)?;
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let package = packages.find(|package| package["name"] == name).context("cargo does not tell of it")?;
    // CARGO_HOME/registry/src/REGISTRY/NAME-VERSION/Cargo.toml, and the archive in CARGO_HOME/registry/cache/REGISTRY.
    let unpacked = Path::new(package["manifest_path"].as_str().unwrap_or_default()).parent();
    let place = unpacked.and_then(|unpacked| unpacked.ancestors().nth(1)?.file_name().zip(unpacked.ancestors().nth(3)));
    let (registry, home) = place.with_context(|| format!("{name} does not come from a registry"))?;
    let archive = home.join("cache").join(registry).join(archive(name, version));

    let lock: toml::Table = toml::from_str(&fs::read_to_string(scratch.0.join("Cargo.lock"))?)?;
    let mut locked = lock["package"].as_array().into_iter().flatten();
    let locked = locked.find(|package| package["name"].as_str() == Some(name)).context("not in the lock file")?;
    let wanted = locked["checksum"].as_str().context("the lock file has no checksum")?;
    let bytes = fs::read(&archive).with_context(|| format!("cannot read {}", archive.display()))?;
    ensure!(hash(&bytes) == wanted, "{} has not the SHA-256 {wanted}", archive.display());

    // Not the sources beside it: somebody may have tried something there.
    shell::run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&scratch.0))?;
    let mut files = read(&scratch.0.join(format!("{name}-{version}")))?;
    let manifest = files.remove(MANIFEST_AS_WRITTEN).with_context(|| format!("no {MANIFEST_AS_WRITTEN}"))?;
    files.retain(|path, _| path.starts_with("src/") || path.starts_with("LICENSE"));
    files.insert("Cargo.toml".to_owned(), manifest);
    Ok((wanted.to_owned(), files))
}

/// What makes `to` of `from`, without times.
fn differences(from: &Files, to: &Files) -> anyhow::Result<String> {
    let scratch = Scratch::new("differences")?;
    write(&scratch.0.join("a"), from)?;
    write(&scratch.0.join("b"), to)?;
    let mut all = String::new();
    for path in from.keys().chain(to.keys()).collect::<BTreeSet<_>>() {
        let (a, b) = (format!("a/{path}"), format!("b/{path}"));
        let label = |there: bool, name: &str| format!("--label={}", if there { name } else { "/dev/null" });
        let labels = [label(from.contains_key(path), &a), label(to.contains_key(path), &b)];
        let mut diff = Command::new("diff");
        diff.current_dir(&scratch.0).args(["--unified", "--new-file"]).args(labels).args([&a, &b]);
        let said = diff.output().context("cannot start diff")?;
        ensure!(matches!(said.status.code(), Some(0 | 1)), "diff: {}", String::from_utf8_lossy(&said.stderr));
        all += str::from_utf8(&said.stdout).with_context(|| path.clone())?;
    }
    Ok(all)
}

/// Applies a patch to a folder, and takes nothing that nearly fits.
fn apply(patch: &Path, more: &[&str], folder: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("patch");
    command.args(["--strip=1", "--unified", "--fuzz=0", "--force", "--remove-empty-files", "--no-backup-if-mismatch"]);
    command.args(more).arg("--directory").arg(folder).arg("--input").arg(patch).env_remove("POSIXLY_CORRECT");
    let said = command.output().context("cannot start `patch`, which `cargo xtask setup` installs")?;
    ensure!(said.status.success(), "{} does not fit: {}", patch.display(), String::from_utf8_lossy(&said.stdout));
    Ok(())
}

fn read(folder: &Path) -> anyhow::Result<Files> {
    let mut files = Files::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("cannot read {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder)?.to_str().context("a name that is no text")?.to_owned();
                files.insert(name, fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
            }
        }
    }
    Ok(files)
}

fn write(folder: &Path, files: &Files) -> anyhow::Result<()> {
    for (name, bytes) in files {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().unwrap_or(folder))?;
        fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// A folder for a while.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> anyhow::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("parlo-third-party-{}-{count}-{name}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn third_party() -> PathBuf {
        root().join("third_party")
    }

    #[test]
    fn every_changed_crate_is_the_published_one_and_its_patch() {
        let names = names(&third_party()).unwrap();
        for name in &names {
            check(&third_party(), name).unwrap_or_else(|error| panic!("{error:?}"));
        }
        let manifest: toml::Table = toml::from_str(&fs::read_to_string(root().join("Cargo.toml")).unwrap()).unwrap();
        let replaced: BTreeSet<String> = manifest["patch"]["crates-io"].as_table().unwrap().keys().cloned().collect();
        assert_eq!(names, replaced, "folders, and what [patch.crates-io] in Cargo.toml replaces");
        let entries = fs::read_dir(third_party()).unwrap().map(|entry| entry.unwrap().path());
        let about = entries.filter(|path| path.extension().is_some_and(|kind| kind == "patch" || kind == "sha256"));
        assert_eq!(about.count(), 2 * names.len(), "a patch and a list for each folder, and no others");
    }

    /// Whether the check lets a changed copy of `httpdate` pass.
    fn passes(change: impl FnOnce(&mut Files)) -> bool {
        let mut files = read(&third_party()).unwrap();
        files.retain(|path, _| path.starts_with("httpdate"));
        let scratch = Scratch::new("changed").unwrap();
        change(&mut files);
        write(&scratch.0, &files).unwrap();
        check(&scratch.0, "httpdate").is_ok()
    }

    fn replace(files: &mut Files, path: &str, from: &str, to: &str) {
        let text = String::from_utf8(files[path].clone()).unwrap();
        assert!(text.contains(from), "{path} has no {from:?}");
        files.insert(path.to_owned(), text.replacen(from, to, 1).into_bytes());
    }

    #[test]
    fn neither_tree_nor_patch_nor_list_changes_alone() {
        const CODE: &str = "httpdate/src/date.rs";
        const PATCH: &str = "httpdate.patch";
        const LIST: &str = "httpdate.sha256";
        let new_file = "--- /dev/null\n+++ b/src/new.rs\n@@ -0,0 +1 @@\n+// new\n";
        assert!(passes(|_| {}));
        assert!(passes(|files| replace(files, PATCH, "httpdate", "The crate httpdate")), "its head is free");

        assert!(!passes(|files| replace(files, CODE, "const LEAPOCH", "const  LEAPOCH")), "theirs");
        assert!(!passes(|files| replace(files, CODE, "253402300799", "253402300800")), "ours");
        assert!(!passes(|files| files.get_mut(CODE).unwrap().insert(0, b'\n')), "a line that moves the hunks");
        assert!(!passes(|files| files.get_mut(CODE).unwrap().extend(b"// more\n")));
        assert!(!passes(|files| drop(files.insert("httpdate/src/new.rs".into(), b"// new\n".into()))));
        assert!(!passes(|files| drop(files.remove("httpdate/LICENSE-MIT"))));

        assert!(!passes(|files| replace(files, PATCH, "253402300799", "253402300800")));
        assert!(!passes(|files| replace(files, PATCH, "-        if secs", "-        if  secs")));
        assert!(!passes(|files| files.get_mut(PATCH).unwrap().extend(new_file.bytes())));
        assert!(!passes(|files| drop(files.insert(PATCH.into(), Vec::new()))));

        assert!(!passes(|files| replace(files, LIST, "  src/date.rs", "  src/dates.rs")));
        assert!(!passes(|files| replace(files, LIST, "httpdate-1.0.3", "httpdate-1.0.4")));
        assert!(!passes(|files| drop(files.insert(LIST.into(), Vec::new()))));
        // Both together are a change that can be read.
        assert!(passes(|files| {
            files.insert("httpdate/src/new.rs".into(), b"// new\n".into());
            files.get_mut(PATCH).unwrap().extend(new_file.bytes());
        }));
    }
}
