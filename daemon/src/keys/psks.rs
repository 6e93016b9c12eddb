//! The secrets that the user shares with contacts (`parlo_protocol::psk`): a file that only its owner may read, with a line for each
//! contact's key, `KEY SECRET`.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use parlo_guard::{Keep, check_owner};
use parlo_protocol::{identity::PublicKey, psk::Psk};
use zeroize::Zeroizing;

use super::{KeysError, MAX_BYTES, sync, written};

/// Name of the file, in the [folder](super::folder).
const FILE: &str = "psks";

const PREFACE: &str =
    "# Secrets that you share with contacts. Each line: KEY SECRET. Whoever reads it can undo what they are for.\n";

/// The secrets, by whose they are.
pub(super) type Psks = BTreeMap<PublicKey, Psk>;

pub(super) fn file(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Reads the file; there are none if it is not there.
pub(super) fn read(folder: &Path) -> Result<Psks, KeysError> {
    let file = file(folder);
    // Before it is opened, as this would wait for the other end of a pipe.
    match fs::metadata(&file) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(KeysError::Psks(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Psks::new()),
        Err(error) => return Err(KeysError::system("read", &file)(error)),
    }
    let opened = match File::open(&file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Psks::new()),
        Err(error) => return Err(KeysError::system("read", &file)(error)),
    };
    let metadata = opened.metadata().map_err(KeysError::system("read", &file))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Of the file that is open, so that nobody puts another one in its place in between.
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeysError::PsksOpen { file, mode });
        }
    }
    check_owner(&file, Keep::Secret)?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Err(KeysError::Psks(file));
    }
    // Room for all at once: a text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(metadata.len() as usize + 1));
    opened.take(MAX_BYTES).read_to_string(&mut text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => KeysError::Psks(file.clone()),
        _ => KeysError::system("read", &file)(error),
    })?;
    // A line that is not understood may be the one that keeps a call from being made without its secret.
    parse(&text).ok_or(KeysError::Psks(file))
}

fn parse(text: &str) -> Option<Psks> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (key, psk) = line.split_once(char::is_whitespace)?;
            Some((key.parse().ok()?, psk.parse().ok()?))
        })
        .collect()
}

/// Puts these in the place of all that the file holds. To be called by one program at a time.
pub(super) fn write(folder: &Path, psks: &Psks) -> Result<(), KeysError> {
    let mut text = Zeroizing::new(String::with_capacity(PREFACE.len() + psks.len() * 160));
    text.push_str(PREFACE);
    for (key, psk) in psks {
        text.push_str(&key.to_string());
        text.push(' ');
        text.push_str(&psk.to_text());
        text.push('\n');
    }
    let file = file(folder);
    written(folder, &text)?.persist(&file).map_err(|error| KeysError::system("write", &file)(error.error))?;
    sync(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use parlo_protocol::identity::Identity;

    use super::*;
    use crate::keys::KnownPeers;

    fn key(n: u8) -> PublicKey {
        Identity::from_bytes([n; 32]).public()
    }

    fn psk(n: u8) -> Psk {
        Psk::from_bytes([n; 32])
    }

    #[test]
    fn secrets_are_kept_replaced_and_forgotten_with_their_contact() {
        let place = tempfile::tempdir().unwrap();
        let known = KnownPeers::new(place.path());
        known.add("ada", None, &key(1)).unwrap();
        known.add("bob", None, &key(2)).unwrap();
        known.add("bobby", None, &key(2)).unwrap();
        assert!(!known.set_psk("eve", Some(&psk(9))).unwrap(), "nobody is called so");
        assert!(!file(place.path()).exists());
        for (name, secret) in [("ada", psk(3)), ("bob", psk(4)), ("ada", psk(5))] {
            assert!(known.set_psk(name, Some(&secret)).unwrap());
        }
        let peers = known.read().unwrap();
        let found = |n| peers.psk(&key(n)).cloned();
        assert_eq!([found(1), found(2), found(3)], [Some(psk(5)), Some(psk(4)), None]);
        assert_eq!(fs::metadata(file(place.path())).unwrap().permissions().mode() & 0o777, 0o600);
        // It is the key's: another name for it keeps it.
        assert!(known.remove("bob").unwrap() && known.read().unwrap().psk(&key(2)).is_some());
        assert!(known.remove("bobby").unwrap() && known.read().unwrap().psk(&key(2)).is_none());
        assert!(known.set_psk("ada", None).unwrap());
        assert!(known.read().unwrap().psk(&key(1)).is_none());
        assert!(!fs::read_to_string(file(place.path())).unwrap().contains("parlo-psk:"));
    }

    #[test]
    fn a_file_that_others_could_have_read_or_written_or_that_is_damaged_is_not_believed() {
        let place = tempfile::tempdir().unwrap();
        let known = KnownPeers::new(place.path());
        known.add("ada", None, &key(1)).unwrap();
        known.set_psk("ada", Some(&psk(3))).unwrap();
        let file = file(place.path());
        let good = fs::read(&file).unwrap();
        for mode in [0o640, 0o604, 0o660, 0o666] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let said = known.read().unwrap_err().to_string();
            assert!(said.contains("chmod 600") && said.contains("psks"), "{said}");
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(known.read().is_ok());
        for damaged in [&good[..good.len() - 3], b"x", b"\xFF", &[&good[..], b"word\n"].concat()] {
            fs::write(&file, damaged).unwrap();
            let said = known.read().unwrap_err().to_string();
            assert!(said.contains("psks") && !said.contains("parlo-psk:a"), "{said}");
            assert!(known.set_psk("ada", Some(&psk(4))).is_err(), "nothing is lost by it");
        }
        fs::remove_file(&file).unwrap();
        symlink("/dev/zero", &file).unwrap();
        assert!(known.read().is_err());
    }
}
