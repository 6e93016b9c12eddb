//! `cargo xtask install`: the programs and all that they need, laid out under a prefix.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::{
    setup,
    shell::{BUNDLE, Build, cargo, root, run as run_command, target_dir},
};

/// What is installed when nobody says where: for this user alone.
const HOME_PREFIX: &str = ".local";

/// The programs that people run.
pub(crate) const PROGRAMS: [&str; 2] = ["parlo", "parlod"];

pub(crate) fn run(prefix: Option<&Path>) -> anyhow::Result<()> {
    let prefix = match prefix {
        Some(prefix) => std::path::absolute(prefix)?,
        None => PathBuf::from(std::env::var_os("HOME").context("HOME names no folder: say where with --prefix DIR")?)
            .join(HOME_PREFIX),
    };
    setup::run(setup::Purpose::Run)?;
    build(Build::Dist, Features::All)?;
    lay_out(&prefix, &prefix, Build::Dist)?;
    println!("installed under {}:", prefix.display());
    println!("    {}", PROGRAMS.map(|name| prefix.join("bin").join(name).display().to_string()).join(", "));
    println!("    to have calls ring from the next login on: systemctl --user enable --now parlod");
    let bin = prefix.join("bin");
    if !std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|folder| folder == bin) {
        println!("    {} is not in PATH: add it there", bin.display());
    }
    Ok(())
}

/// What the programs can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Features {
    /// All that there is.
    All,
    /// Calls and files: without the NATS client, which brings a third of all crates along.
    Least,
}

/// Builds the programs to be installed.
pub(crate) fn build(build: Build, features: Features) -> anyhow::Result<()> {
    // Tests build the whole workspace, whose crates ask for other features of what they share: with fewer, all of it would be built again.
    let what: &[&str] = if build == Build::Dev { &["--workspace", "--bins"] } else { &["-p", "parlod", "-p", "parlo"] };
    let mut command = cargo();
    command.args(["build", "--profile", build.profile(), "--locked"]).args(what);
    if features == Features::Least {
        command.arg("--no-default-features");
    }
    // Of what is given away. Other builds share their crates with those of the tests.
    if build == Build::Dist && features == Features::All {
        remap(&mut command, &root());
    }
    run_command(&mut command)
}

/// Keeps the names of this machine's folders out of what a command builds in this tree: the same programs come of it wherever it is built.
pub(crate) fn remap(command: &mut Command, tree: &Path) {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let mut folders = vec![(tree.to_owned(), "/parlo")];
    folders.extend(home.map(|home| (home, "/cargo")));
    let list = |folders: &[(PathBuf, &str)], name: &str, between: &str, flag: &str| {
        let said = std::env::var(name).into_iter().filter(|said| !said.is_empty());
        let flags = folders.iter().map(|(from, to)| format!("{flag}={}={to}", from.display()));
        said.chain(flags).collect::<Vec<_>>().join(between)
    };
    // Flags that a person has set stay; between those of this variable lies a unit separator.
    let plain = std::env::var("RUSTFLAGS").unwrap_or_default().split_whitespace().collect::<Vec<_>>().join("\x1f");
    let ours = list(&folders, "CARGO_ENCODED_RUSTFLAGS", "\x1f", "--remap-path-prefix");
    let all = if plain.is_empty() { ours } else { format!("{plain}\x1f{ours}") };
    command.env("CARGO_ENCODED_RUSTFLAGS", all);
    // These are cut apart at blanks: a folder with one in its name stays as it is, rather than that nothing is built.
    folders.retain(|(from, _)| !from.to_string_lossy().contains(char::is_whitespace));
    for name in ["CFLAGS", "CXXFLAGS"] {
        command.env(name, list(&folders, name, " ", "-ffile-prefix-map"));
    }
}

/// Lays everything out under `folder`; what names its own place names it under `prefix`, where the folder is, or will be.
pub(crate) fn lay_out(folder: &Path, prefix: &Path, build: Build) -> anyhow::Result<()> {
    for name in PROGRAMS {
        let program = folder.join("bin").join(name);
        put(&target_dir()?.join(build.folder()).join(name), &program, 0o755)?;
        if build == Build::Dev {
            // The profile of what is given away says it of itself.
            run_command(Command::new("strip").arg(&program))?;
        }
    }
    put(&setup::library_file(), &folder.join("lib/parlo/libonnxruntime.so"), 0o644)?;
    let bundle = root().join("model/bundles").join(BUNDLE);
    for file in fs::read_dir(&bundle)? {
        let file = file?;
        put(&file.path(), &folder.join("share/parlo/bundles").join(BUNDLE).join(file.file_name()), 0o644)?;
    }
    let documents = folder.join("share/doc/parlo");
    for (file, name) in [
        ("README.md", "README.md"),
        ("CHANGELOG.md", "CHANGELOG.md"),
        ("LICENSE-MIT", "LICENSE-MIT"),
        ("LICENSE-APACHE", "LICENSE-APACHE"),
    ] {
        put(&root().join(file), &documents.join(name), 0o644)?;
    }
    for (notice, name) in [("LICENSE", "ONNXRUNTIME-LICENSE"), ("ThirdPartyNotices.txt", "ONNXRUNTIME-NOTICES")] {
        put(&setup::library_file().with_file_name(notice), &documents.join(name), 0o644)?;
    }
    let share = folder.join("share");
    for (name, arguments) in [("parlo", &["generate"][..]), ("parlod", &["--generate"])] {
        run_command(Command::new(folder.join("bin").join(name)).args(arguments).arg(&share))?;
    }
    put(&root().join("clients/web/icon.svg"), &share.join("icons/hicolor/scalable/apps/parlo.svg"), 0o644)?;
    let bin = prefix.join("bin");
    for (template, file) in [
        ("packaging/parlo.desktop", "applications/parlo.desktop"),
        ("packaging/systemd/parlod.service", "systemd/user/parlod.service"),
    ] {
        let text = fs::read_to_string(root().join(template)).with_context(|| format!("{template} cannot be read"))?;
        let file = share.join(file);
        make_parent(&file)?;
        fs::write(&file, placed(&text, &bin)?).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// The text of a unit or desktop entry for programs in `bin`: whole lines, so that no word of a comment is taken for one.
fn placed(template: &str, bin: &Path) -> anyhow::Result<String> {
    let bin = bin.to_str().context("the prefix has a name that is not UTF-8")?;
    if bin.contains(|c: char| c.is_whitespace() || "\"'\\%$`".contains(c)) {
        bail!("{bin}: systemd and desktops would misread this name; choose a prefix without spaces, quotes, $ and %");
    }
    let mut text = String::new();
    for line in template.lines() {
        let line = match line.split_once('=') {
            Some((key @ ("ExecStart" | "Exec" | "TryExec"), command)) => {
                let program = command.split(' ').next().unwrap_or_default();
                let name = program.rsplit('/').next().unwrap_or_default();
                format!("{key}={bin}/{name}{}", &command[program.len()..])
            }
            _ => line.to_owned(),
        };
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

/// Copies a file, in place of what is there: a program that runs cannot be written over, but replaced.
fn put(from: &Path, to: &Path, mode: u32) -> anyhow::Result<()> {
    make_parent(to)?;
    let new = to.with_file_name(format!(".{}.new", to.file_name().unwrap_or_default().to_string_lossy()));
    let copied = fs::copy(from, &new)
        .and_then(|_| fs::set_permissions(&new, fs::Permissions::from_mode(mode)))
        .and_then(|()| fs::rename(&new, to));
    if copied.is_err() {
        let _ = fs::remove_file(&new);
    }
    copied.with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

fn make_parent(file: &Path) -> anyhow::Result<()> {
    let folder = file.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_with_blanks_do_not_cut_the_flags_of_c_apart() {
        for (tree, is_there) in [("/somewhere/tree", true), ("/some where/tree", false)] {
            let mut command = Command::new("true");
            remap(&mut command, Path::new(tree));
            let of = |name: &str| {
                let set = command.get_envs().find(|(key, _)| *key == name).and_then(|(_, value)| value);
                set.unwrap().to_str().unwrap().to_owned()
            };
            assert!(of("CARGO_ENCODED_RUSTFLAGS").contains(&format!("--remap-path-prefix={tree}=/parlo")));
            for name in ["CFLAGS", "CXXFLAGS"] {
                assert_eq!(of(name).contains("=/parlo"), is_there, "{name}: {}", of(name));
            }
        }
    }

    #[test]
    fn units_and_entries_name_the_programs_where_they_are() {
        let unit = include_str!("../../packaging/systemd/parlod.service");
        let placed = placed(unit, Path::new("/opt/parlo/bin")).unwrap();
        assert_eq!(placed.matches("\nExecStart=/opt/parlo/bin/parlod\n").count(), 1);
        assert!(placed.contains("\nExecStartPre=+/bin/mkdir "), "what is not ours stays");
        assert_eq!(placed.lines().count(), unit.lines().count());
        let entry = super::placed(include_str!("../../packaging/parlo.desktop"), Path::new("/usr/bin")).unwrap();
        assert!(entry.contains("\nExec=/usr/bin/parlo screen\n") && entry.contains("\nTryExec=/usr/bin/parlo\n"));
        assert!(super::placed(unit, Path::new("/home/a b/bin")).is_err());
    }

    #[test]
    fn a_file_is_put_in_place_of_another() {
        let folder = std::env::temp_dir().join(format!("parlo-put-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (from, to) = (folder.join("from"), folder.join("deep/er/to"));
        for text in ["one", "two"] {
            fs::write(&from, text).unwrap();
            put(&from, &to, 0o640).unwrap();
            assert_eq!(fs::read_to_string(&to).unwrap(), text);
            assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o640);
        }
        assert!(put(&folder.join("nothing"), &to, 0o644).is_err());
        assert_eq!(fs::read_dir(folder.join("deep/er")).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }
}
