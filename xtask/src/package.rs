//! `cargo xtask package`: what is given to people who have no source tree.
//!
//! Archives are the same bytes whoever makes them when: files in order of their names, owned by root, of one time, that of
//! `SOURCE_DATE_EPOCH` or of the last commit.

use std::{
    env::{self, consts::ARCH},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::{
    install, python, setup,
    shell::{self, Build, root, run_quietly, target_dir},
    supply::sbom,
};

/// A kind of package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// For Debian and Ubuntu
    Deb,
    /// For other systems of the same processor: unpack it anywhere
    Tarball,
    /// For Python
    Wheel,
}

/// Debian's packages that bring the libraries of the programs and of ONNX Runtime. Sound servers are spoken to by their own protocol:
/// there is no client library of theirs among these.
const DEPENDENCIES: [&str; 5] = ["libasound2", "libc6", "libdbus-1-3", "libgcc-s1", "libstdc++6"];

/// Makes packages of these kinds, of all if none is named, in `out/packages`, with the programs of this build.
pub(crate) fn run(kinds: &[Kind], build: Build) -> anyhow::Result<()> {
    let wanted = |kind| kinds.is_empty() || kinds.contains(&kind);
    let out = folder();
    fs::create_dir_all(&out)?;
    let epoch = epoch();
    setup::run(if wanted(Kind::Wheel) { setup::Purpose::Package } else { setup::Purpose::Run })?;
    if wanted(Kind::Deb) || wanted(Kind::Tarball) {
        install::build(build, install::Features::All)?;
    }
    let mut made = Vec::new();
    if wanted(Kind::Deb) || wanted(Kind::Tarball) {
        remove(&out, "cdx.json")?;
        made.push(out.join(list_name()));
    }
    if wanted(Kind::Tarball) {
        made.push(tarball(&out, epoch, build)?);
    }
    if wanted(Kind::Deb) {
        made.push(deb(&out, epoch, build)?);
    }
    if wanted(Kind::Wheel) {
        remove(&out, "whl")?;
        let wheel = python::wheel(&target_dir()?.join("package/wheel"), Some(epoch))?;
        let kept = out.join(wheel.file_name().context("the wheel has no name")?);
        fs::copy(&wheel, &kept)?;
        made.push(kept);
    }
    for file in made {
        println!("made {} ({:.1} MB)", file.display(), fs::metadata(&file)?.len() as f64 / 1e6);
    }
    Ok(())
}

/// Where packages are put.
fn folder() -> PathBuf {
    root().join("out/packages")
}

/// Lays everything out that a package has, under `folder`; `prefix` is where it will be. The list of what it is made of is kept in `out` too.
fn lay_out(folder: &Path, prefix: &Path, build: Build, epoch: u64, out: &Path) -> anyhow::Result<()> {
    install::lay_out(folder, prefix, build)?;
    let list = folder.join("share/doc/parlo/sbom.cdx.json");
    sbom::write(&list, &folder.join("bin"), epoch)?;
    sbom::validate(&serde_json::from_slice(&fs::read(&list)?)?).context("the list of what the programs are made of")?;
    fs::copy(&list, out.join(list_name()))?;
    Ok(())
}

fn list_name() -> String {
    format!("parlo-{}.cdx.json", env!("CARGO_PKG_VERSION"))
}

/// Seconds since 1970 that files in archives get.
pub(crate) fn epoch() -> u64 {
    if let Some(said) = env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok()) {
        return said;
    }
    let commit = Command::new("git").current_dir(root()).args(["log", "-1", "--format=%ct"]).output();
    let commit = commit.ok().and_then(|output| String::from_utf8_lossy(&output.stdout).trim().parse().ok());
    // Zip files cannot tell earlier times than 1980.
    commit.unwrap_or(315_619_200)
}

fn tarball(out: &Path, epoch: u64, build: Build) -> anyhow::Result<PathBuf> {
    let name = format!("parlo-{}-{ARCH}-linux", env!("CARGO_PKG_VERSION"));
    let staged = target_dir()?.join("package/tarball");
    let _ = fs::remove_dir_all(&staged);
    // Where it will be unpacked is not known; programs are found by PATH.
    lay_out(&staged.join(&name), Path::new("/usr/local"), build, epoch, out)?;
    remove(out, "tar.gz")?;
    let file = out.join(format!("{name}.tar.gz"));
    pack_tarball(&staged, &name, epoch, &file)?;
    Ok(file)
}

/// Packs the folder `name` in `staged`: the same bytes of the same files.
fn pack_tarball(staged: &Path, name: &str, epoch: u64, file: &Path) -> anyhow::Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu", "--mode=u+rw,go+rX,go-w"]);
    tar.arg(format!("--mtime=@{epoch}")).arg("--directory").arg(staged);
    // Gzip's own header would have a time too.
    tar.args(["--use-compress-program", "gzip -n -9", "--create", "--file"]).arg(file).arg(name);
    run_quietly("packing the tarball", &mut tar)
}

fn deb(out: &Path, epoch: u64, build: Build) -> anyhow::Result<PathBuf> {
    let staged = target_dir()?.join("package/deb");
    let _ = fs::remove_dir_all(&staged);
    lay_out(&staged.join("usr"), Path::new("/usr"), build, epoch, out)?;
    let documents = staged.join("usr/share/doc/parlo");
    fs::rename(documents.join("LICENSE-MIT"), documents.join("copyright"))?;
    let mut pages = Vec::new();
    for page in fs::read_dir(staged.join("usr/share/man/man1"))? {
        pages.push(page?.path());
    }
    shell::run(Command::new("gzip").args(["-n", "-9"]).args(&pages))?;
    let architecture =
        shell::output(Command::new("dpkg").arg("--print-architecture")).context("a .deb needs Debian's dpkg")?;
    let architecture = architecture.trim();
    let control = control(architecture, &dependencies(&staged)?, size(&staged)?);
    fs::create_dir_all(staged.join("DEBIAN"))?;
    fs::write(staged.join("DEBIAN/control"), control)?;
    remove(out, "deb")?;
    let file = out.join(format!("parlo_{}_{architecture}.deb", env!("CARGO_PKG_VERSION")));
    pack_deb(&staged, epoch, &file)?;
    Ok(file)
}

/// Packs a folder with its `DEBIAN/control`: the same bytes of the same files.
fn pack_deb(staged: &Path, epoch: u64, file: &Path) -> anyhow::Result<()> {
    even(staged, epoch)?;
    let mut build = Command::new("dpkg-deb");
    build.env("SOURCE_DATE_EPOCH", epoch.to_string()).args(["--root-owner-group", "-Zxz", "-z2", "--build"]);
    run_quietly("packing the .deb", build.arg(staged).arg(file))
}

fn control(architecture: &str, depends: &str, kilobytes: u64) -> String {
    format!(
        "Package: parlo\nVersion: {}\nSection: sound\nPriority: optional\nArchitecture: {architecture}\nMaintainer: Parlo's makers <parlo@localhost>\n\
         Installed-Size: {kilobytes}\nDepends: {depends}\nSuggests: pipewire-pulse | pulseaudio\n\
         Description: voice calls and recordings in 1 to 6 kbps\n \
         A neural codec, a calling daemon and a command line: a human voice as a\n \
         few integers every 20 ms, over links that carry nothing else.\n",
        env!("CARGO_PKG_VERSION"),
    )
}

/// What the programs and the library are linked to, as Debian's packages with the versions that they need.
fn dependencies(staged: &Path) -> anyhow::Result<String> {
    let scratch = target_dir()?.join("package/shlibdeps");
    // The tool wants a source package to stand in.
    fs::create_dir_all(scratch.join("debian"))?;
    fs::write(scratch.join("debian/control"), "Source: parlo\n\nPackage: parlo\nArchitecture: any\n")?;
    let mut look = Command::new("dpkg-shlibdeps");
    look.current_dir(&scratch).args(["-O", "--ignore-missing-info", "--warnings=0"]);
    for name in install::PROGRAMS {
        look.arg("-e").arg(staged.join("usr/bin").join(name));
    }
    look.arg("-e").arg(staged.join("usr/lib/parlo/libonnxruntime.so"));
    let found = shell::output(&mut look).context("naming a .deb's dependencies needs the package dpkg-dev")?;
    let found = found.trim().strip_prefix("shlibs:Depends=").context("dpkg-shlibdeps found nothing")?.to_owned();
    let mut names: Vec<&str> = found.split(", ").filter_map(|dependency| dependency.split(' ').next()).collect();
    names.sort_unstable();
    if names != DEPENDENCIES {
        bail!("the programs are linked to {names:?}, and should be to {DEPENDENCIES:?}: what has come in?");
    }
    Ok(found)
}

/// Kilobytes of a folder.
fn size(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    every(folder, &mut |path| {
        bytes += fs::symlink_metadata(path)?.len();
        Ok(())
    })?;
    Ok(bytes.div_ceil(1024))
}

/// Gives everything in a folder one time, and the permissions of one umask.
fn even(folder: &Path, epoch: u64) -> anyhow::Result<()> {
    let time = UNIX_EPOCH + Duration::from_secs(epoch);
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    every(folder, &mut |path| {
        let runs = fs::symlink_metadata(path)?.permissions().mode() & 0o100 != 0;
        fs::set_permissions(path, fs::Permissions::from_mode(if runs { 0o755 } else { 0o644 }))?;
        Ok(fs::File::open(path)?.set_modified(time)?)
    })
}

/// Shows each file and folder in `folder`, what a folder holds before itself.
fn every(folder: &Path, show: &mut dyn FnMut(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            every(&entry.path(), show)?;
        }
        show(&entry.path())?;
    }
    Ok(())
}

/// Removes what earlier runs left of a kind: the folder never has two versions.
fn remove(folder: &Path, end: &str) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_name().to_string_lossy().ends_with(&format!(".{end}")) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of a package, made in this order in a new folder.
    fn staged(folder: &Path, order: &[&str]) {
        for name in order {
            let file = folder.join("parlo").join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, name).unwrap();
            // Whoever unpacked or wrote them when.
            fs::File::open(&file)
                .unwrap()
                .set_modified(UNIX_EPOCH + Duration::from_secs(order.len() as u64 * 1000))
                .unwrap();
            // And under which umask.
            let mode = if order[0] == "lib/c" { 0o600 } else { 0o664 };
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir_all(folder.join("parlo/DEBIAN")).unwrap();
        fs::write(folder.join("parlo/DEBIAN/control"), control("all", "libc6", 1)).unwrap();
    }

    #[test]
    fn archives_are_the_same_bytes_whatever_the_folder_and_the_order() {
        let scratch = std::env::temp_dir().join(format!("parlo-package-{}", std::process::id()));
        let made = [("one", &["bin/a", "bin/b", "lib/c"][..]), ("a/longer/name", &["lib/c", "bin/b", "bin/a"])].map(
            |(name, order)| {
                let folder = scratch.join(name);
                staged(&folder, order);
                let (tar, deb) = (folder.join("parlo.tar.gz"), folder.join("parlo.deb"));
                pack_tarball(&folder, "parlo", 1_800_000_000, &tar).unwrap();
                let deb = crate::shell::succeeds("dpkg-deb", &["--version"]).then(|| {
                    pack_deb(&folder.join("parlo"), 1_800_000_000, &deb).unwrap();
                    fs::read(&deb).unwrap()
                });
                (fs::read(&tar).unwrap(), deb)
            },
        );
        assert!(made[0] == made[1], "of the same files");
        let other = scratch.join("other");
        staged(&other, &["bin/a", "bin/b"]);
        pack_tarball(&other, "parlo", 1_800_000_000, &other.join("parlo.tar.gz")).unwrap();
        assert!(fs::read(other.join("parlo.tar.gz")).unwrap() != made[0].0, "of others");
        fs::remove_dir_all(scratch).unwrap();
    }

    #[test]
    fn the_control_file_is_one_paragraph_with_what_dpkg_asks_for() {
        let control = control("amd64", "libc6 (>= 2.34), libasound2 (>= 1.2)", 41_000);
        assert!(control.ends_with("nothing else.\n") && !control.contains("\n\n"));
        for field in ["Package", "Version", "Architecture", "Maintainer", "Depends", "Description", "Installed-Size"] {
            assert_eq!(control.lines().filter(|line| line.starts_with(&format!("{field}: "))).count(), 1, "{field}");
        }
        assert!(control.lines().all(|line| line.starts_with(' ') || line.contains(": ")));
    }
}
