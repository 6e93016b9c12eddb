//! Which files: Landlock.

use std::{fs, os::unix::fs::FileTypeExt, path::PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};

use crate::Right;

/// The newest version whose rights are handled here. An older kernel handles those that it knows.
const NEWEST: ABI = ABI::V6;

/// Refuses this thread all files but these, TCP, and the Unix sockets and signals of processes outside.
///
/// # Errors
/// Why not: the kernel has no Landlock, or an early one, which lets some through.
pub(crate) fn restrict(rules: &[(PathBuf, Right)]) -> Result<(), String> {
    let made = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create);
    let mut made = made.map_err(|error| error.to_string())?;
    for (path, right) in rules {
        // What is not there, or may not be looked at, is refused by name anyway. Pipes and sockets without a name need no rule, and take none.
        let Ok(metadata) = fs::metadata(path) else { continue };
        let kind = metadata.file_type();
        if kind.is_socket() {
            continue;
        }
        let Ok(file) = PathFd::new(path) else { continue };
        let access = access(*right, kind.is_dir());
        let rule = PathBeneath::new(file, access);
        match (&mut made).add_rule(rule) {
            Ok(_) => {}
            Err(_) if kind.is_fifo() => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
    }
    match made.restrict_self().map_err(|error| error.to_string())?.ruleset {
        // Version 3 (Linux 6.2) is the first that refuses to cut files short, the last way into one that is not listed.
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced if has(ABI::V3) => Ok(()),
        RulesetStatus::PartiallyEnforced => Err("this kernel's Landlock is older than that of Linux 6.2".to_owned()),
        _ => Err("this kernel has no Landlock, or it is switched off".to_owned()),
    }
}

/// Whether the kernel handles every right of a version.
fn has(version: ABI) -> bool {
    let all =
        Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::from_all(version));
    all.and_then(Ruleset::create).is_ok()
}

fn access(right: Right, is_folder: bool) -> BitFlags<AccessFs> {
    let (file, folder) = match right {
        Right::Read => (AccessFs::ReadFile.into(), AccessFs::ReadFile | AccessFs::ReadDir),
        Right::Write => (AccessFs::WriteFile | AccessFs::Truncate, BitFlags::empty()),
        Right::Rename => (BitFlags::empty(), AccessFs::MakeReg | AccessFs::RemoveFile),
        Right::All => (
            AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate,
            AccessFs::ReadFile
                | AccessFs::ReadDir
                | AccessFs::WriteFile
                | AccessFs::Truncate
                | AccessFs::MakeReg
                | AccessFs::MakeDir
                | AccessFs::RemoveFile
                | AccessFs::RemoveDir
                | AccessFs::Refer,
        ),
    };
    if is_folder { folder } else { file }
}
