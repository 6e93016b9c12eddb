//! `cargo xtask reproduce`: builds the packages twice, in folders of different names, and compares every byte.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::{
    install,
    package::epoch,
    shell::{Build, cargo, output, root, run as run_command, target_dir},
};

/// What is built.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Build this crate of the workspace only, and compare what comes of it: quick, where the whole takes two builds of everything
    #[arg(long, value_name = "CRATE")]
    only: Option<String>,
    /// Keep both folders
    #[arg(long)]
    keep: bool,
}

/// Folders that differ in everything that could get into a program: name, length, depth.
const FOLDERS: [&str; 2] = ["a", "another/much-deeper-folder/tree"];

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let scratch = target_dir()?.join("reproduce");
    let _ = fs::remove_dir_all(&scratch);
    let epoch = epoch();
    let mut found: Vec<BTreeMap<String, String>> = Vec::new();
    for folder in FOLDERS {
        let tree = scratch.join(folder);
        println!("== in {}", tree.display());
        copy_tree(&tree)?;
        let built = match &options.only {
            Some(name) => build_one(&tree, name)?,
            None => build_all(&tree, epoch)?,
        };
        found.push(hashes(&built)?);
    }
    let differences = differences(&found[0], &found[1]);
    for (file, hash) in &found[0] {
        println!("{}  {file}", &hash[..16]);
    }
    if !differences.is_empty() {
        bail!("built twice, these are not the same bytes: {} (see {})", differences.join(", "), scratch.display());
    }
    if !options.keep {
        fs::remove_dir_all(&scratch)?;
    }
    println!("{} files, built twice in different folders, are the same bytes", found[0].len());
    Ok(())
}

/// Copies what git knows of this tree, as it is here, and the library that packages carry.
fn copy_tree(to: &Path) -> anyhow::Result<()> {
    let list = output(Command::new("git").current_dir(root()).args(["ls-files", "-z"]))?;
    for name in list.split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (root().join(name), to.join(name));
        // Removed here, and not yet in git.
        let Ok(about) = from.symlink_metadata() else { continue };
        fs::create_dir_all(to.parent().context("a file without a folder")?)?;
        // Git keeps links as links, of which one leads to a folder.
        let copied = match about.is_symlink() {
            true => fs::read_link(&from).and_then(|target| std::os::unix::fs::symlink(target, &to)),
            false => fs::copy(&from, &to).map(drop),
        };
        copied.with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let vendor = to.join("vendor");
    if !vendor.exists() {
        std::os::unix::fs::symlink(root().join("vendor"), vendor)?;
    }
    Ok(())
}

fn in_tree(tree: &Path, epoch: Option<u64>) -> Command {
    let mut command = cargo();
    command.current_dir(tree).env("CARGO_TARGET_DIR", tree.join("target")).env_remove("CARGO_INCREMENTAL");
    if let Some(epoch) = epoch {
        command.env("SOURCE_DATE_EPOCH", epoch.to_string());
    }
    command
}

/// The packages' folder.
fn build_all(tree: &Path, epoch: u64) -> anyhow::Result<Vec<PathBuf>> {
    run_command(in_tree(tree, Some(epoch)).args(["xtask", "package"]))?;
    files_in(&tree.join("out/packages"))
}

/// The programs and libraries of one crate.
fn build_one(tree: &Path, name: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut command = in_tree(tree, None);
    install::remap(&mut command, tree);
    run_command(command.args(["build", "--locked", "--profile", Build::Dist.profile(), "-p", name]))?;
    let built = files_in(&tree.join("target").join(Build::Dist.folder()))?;
    // Lists of what a file was made of name folders; they are cargo's own.
    Ok(built.into_iter().filter(|file| file.extension().is_none_or(|end| end != "d")).collect())
}

fn files_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("nothing was built in {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() && !entry.file_name().to_string_lossy().starts_with('.') {
            files.push(entry.path());
        }
    }
    Ok(files)
}

fn hashes(files: &[PathBuf]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut hashes = BTreeMap::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let digest = Sha256::digest(fs::read(file)?);
        hashes.insert(name, digest.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    if hashes.is_empty() {
        bail!("nothing was built");
    }
    Ok(hashes)
}

/// Names of files that are there once only, or differ.
fn differences(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> Vec<String> {
    let names = one.keys().chain(other.keys()).collect::<std::collections::BTreeSet<_>>();
    names.into_iter().filter(|name| one.get(*name) != other.get(*name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_or_is_missing_is_named() {
        let of = |files: &[(&str, &str)]| files.iter().map(|(name, hash)| ((*name).into(), (*hash).into())).collect();
        let one: BTreeMap<String, String> = of(&[("a", "1"), ("b", "2"), ("c", "3")]);
        assert_eq!(differences(&one, &one), [""; 0]);
        assert_eq!(differences(&one, &of(&[("a", "1"), ("b", "9"), ("d", "3")])), ["b", "c", "d"]);
    }
}
