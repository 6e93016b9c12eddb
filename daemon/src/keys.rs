//! Keys on disk: who this user is, and whom the user knows.
//!
//! Both live in one folder, `$XDG_CONFIG_HOME/parlo` or `~/.config/parlo`: the secret key in `identity`, which only its owner
//! may read, and the keys of others in [`known_peers`](KnownPeers), which is plain text for people to edit.

mod contacts;
mod known;
mod psks;

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use parlo_guard::{Keep, OwnerError, check_owner};
use parlo_protocol::identity::Identity;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

pub use contacts::{Contacts, Listing, Noted};
pub use known::{Check, KnownPeer, KnownPeers, Peers};

/// Name of the file with the secret key, in the [folder].
pub const IDENTITY: &str = "identity";

/// What stands before the secret key's digits.
const SECRET: &str = "parlo-secret:";

/// The first lines of the identity file.
const PREFACE: &str = "# Who you are to other users of Parlo: a secret key. Whoever reads it can pass for you.\n\
                       # `parlo id` shows the public half, which is for others. Keep a copy of this file in a safe place.\n";

/// Files longer than this are not ours.
const MAX_BYTES: u64 = 1 << 20;

/// Why keys cannot be read or written, with the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// No place for the files.
    #[error("cannot tell where your settings are: set HOME, or XDG_CONFIG_HOME, to a folder's full path")]
    NoFolder,
    /// The system refuses.
    #[error("cannot {what} {}: {error}", .file.display())]
    System {
        /// What was tried.
        what: &'static str,
        /// With which file or folder.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The secret key is open to others.
    #[error(
        "{} holds your secret key, and others on this machine can read or change it (mode {mode:03o}): say chmod 600 on it \
         if you trust them all; else remove it, so that a new key is made, and tell your peers", .file.display()
    )]
    Open {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Others could have written a file, or put another in its place.
    #[error("{0}")]
    Owner(#[from] OwnerError),
    /// The file with the secret key is damaged.
    #[error(
        "{} is no identity file, as it lacks the one line \"{SECRET}\" and 64 digits 0-9, a-f: restore it from a copy; or \
         remove it, so that a new key is made, and tell your peers", .0.display()
    )]
    Damaged(PathBuf),
    /// The file with shared secrets is damaged.
    #[error(
        "{} is no list of shared secrets, or a line of it is damaged: restore it from a copy; or remove it, and share new secrets \
         (parlo contacts psk NAME --new). Until then nobody is called or answered by it", .0.display()
    )]
    Psks(PathBuf),
    /// The shared secrets are open to others.
    #[error(
        "{} holds secrets that you share with contacts, and others on this machine can read or change it (mode {mode:03o}): say \
         chmod 600 on it if you trust them all; else share new ones (parlo contacts psk NAME --new)", .file.display()
    )]
    PsksOpen {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file that is not text, or enormous.
    #[error("{} is not a list of peers: it is not text, or longer than a megabyte", .0.display())]
    NotText(PathBuf),
    /// The list could not be read so far.
    #[error("{0}; until it can be read, nobody can say who is known")]
    Unread(std::sync::Arc<str>),
    /// A name that cannot stand in the list.
    #[error("\"{0}\" cannot be a peer's name: use 1 to 64 characters, without spaces, \"#\" and \":\"")]
    Name(String),
    /// An address that cannot stand in the list.
    #[error("\"{0}\" cannot be a peer's address: say HOST:PORT, or - if there is none")]
    Address(String),
    /// The name stands for somebody else.
    #[error("{name} is known already, with the key {known}; remove it first: parlo peers remove {name}")]
    Taken {
        /// The name.
        name: String,
        /// Whose it is.
        known: Box<parlo_protocol::identity::PublicKey>,
    },
}

impl KeysError {
    fn system(what: &'static str, file: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { what, file: file.to_owned(), error }
    }
}

/// Where the files are: `$XDG_CONFIG_HOME/parlo`, or `~/.config/parlo`.
///
/// # Errors
/// If neither variable names a folder by its full path.
pub fn folder() -> Result<PathBuf, KeysError> {
    let place = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = place("XDG_CONFIG_HOME").or_else(|| place("HOME").map(|home| home.join(".config")));
    config.map(|config| config.join("parlo")).ok_or(KeysError::NoFolder)
}

/// The identity kept in a folder. If there is none, one is made of the operating system's randomness; folder and file are then
/// only for their owner. Of two programs that make one at the same time, one wins and both use its key.
///
/// # Errors
/// If the file is damaged or others can read it, or the system refuses.
pub fn identity(folder: &Path) -> Result<Identity, KeysError> {
    made_or_read(folder).inspect(keep_in_memory)
}

fn made_or_read(folder: &Path) -> Result<Identity, KeysError> {
    guard_memory();
    let file = folder.join(IDENTITY);
    if let Some(identity) = read_identity(&file)? {
        return Ok(identity);
    }
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *secret).map_err(|error| KeysError::System {
        what: "draw a key for",
        file: file.clone(),
        error: error.into(),
    })?;
    let identity = Identity::from_bytes(*secret);
    if write_identity(folder, &file, &identity)? {
        return Ok(identity);
    }
    // Somebody was faster.
    read_identity(&file)?.ok_or(KeysError::Damaged(file))
}

/// The identity kept in a folder, if there is one. Writes nothing.
///
/// # Errors
/// If the file is damaged or others can read it, or the system refuses.
pub fn existing_identity(folder: &Path) -> Result<Option<Identity>, KeysError> {
    guard_memory();
    Ok(read_identity(&folder.join(IDENTITY))?.inspect(keep_in_memory))
}

/// Keeps the memory of a process that holds a key out of core files, and from being read by the user's other programs.
fn guard_memory() {
    if let Err(error) = parlo_sandbox::keep_from_dumps() {
        tracing::debug!("the memory with the key in it may be dumped: {error}");
    }
}

/// Keeps the secret key from being swapped out. A system may not allow that, or not so much of it; then it is as any other memory.
fn keep_in_memory(identity: &Identity) {
    if let Err(error) = parlo_sandbox::lock(identity.as_bytes()) {
        tracing::debug!("{error}");
    }
}

fn read_identity(file: &Path) -> Result<Option<Identity>, KeysError> {
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(KeysError::system("read", file)(error)),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Of the file that is open, so that nobody puts another one in its place in between.
        let mode = opened.metadata().map_err(KeysError::system("read", file))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeysError::Open { file: file.to_owned(), mode });
        }
    }
    // And nobody else can put another in its place, now or later.
    check_owner(file, Keep::Secret)?;
    // Room for all at once: a text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(4096));
    opened.take(4096).read_to_string(&mut text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => KeysError::Damaged(file.to_owned()),
        _ => KeysError::system("read", file)(error),
    })?;
    parse_identity(&text).map(Some).ok_or_else(|| KeysError::Damaged(file.to_owned()))
}

fn parse_identity(text: &str) -> Option<Identity> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let digits = lines.next()?.strip_prefix(SECRET)?.trim().as_bytes();
    if lines.next().is_some() || digits.len() != 64 {
        return None;
    }
    let mut secret = Zeroizing::new([0; 32]);
    for (byte, pair) in secret.iter_mut().zip(digits.chunks(2)) {
        let digit = |n: usize| char::from(pair[n]).to_digit(16);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(Identity::from_bytes(*secret))
}

/// False if there is a file already.
fn write_identity(folder: &Path, file: &Path, identity: &Identity) -> Result<bool, KeysError> {
    use std::fmt::Write as _;
    let mut text = Zeroizing::new(String::with_capacity(PREFACE.len() + SECRET.len() + 80));
    text.push_str(PREFACE);
    text.push_str(SECRET);
    text.push(' ');
    for byte in identity.to_bytes().iter() {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\n');
    let temporary = written(folder, &text)?;
    match temporary.persist_noclobber(file) {
        Ok(_) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(KeysError::system("write", file)(error.error)),
    }
    sync(folder)?;
    Ok(true)
}

/// A new file in the folder, which only its owner can read, with this text, on the disk.
pub(crate) fn written(folder: &Path, text: &str) -> Result<NamedTempFile, KeysError> {
    make_folder(folder)?;
    // What is written where others can write is not read back.
    check_owner(folder, Keep::Unchanged)?;
    // Files of this kind have mode 0600 from the start.
    let mut temporary = tempfile::Builder::new()
        .prefix(".parlo-")
        .tempfile_in(folder)
        .map_err(KeysError::system("write to", folder))?;
    temporary
        .write_all(text.as_bytes())
        .and_then(|()| temporary.as_file().sync_all())
        .map_err(KeysError::system("write to", folder))?;
    Ok(temporary)
}

fn make_folder(folder: &Path) -> Result<(), KeysError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(KeysError::system("make the folder", folder))
}

/// So that a new name outlives a power cut.
fn sync(folder: &Path) -> Result<(), KeysError> {
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(KeysError::system("write to", folder))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, os::unix::fs::PermissionsExt};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_identity_is_made_once_and_kept_private() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a/parlo");
        let first = identity(&folder).unwrap();
        assert_eq!(identity(&folder).unwrap().public(), first.public());
        assert_eq!((mode(&folder), mode(&folder.join(IDENTITY))), (0o700, 0o600));
        let text = fs::read_to_string(folder.join(IDENTITY)).unwrap();
        assert!(text.starts_with("# "), "{text}");
        // Nothing else is left behind.
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        let other = identity(&place.path().join("b")).unwrap();
        assert_ne!(other.public(), first.public());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_key_is_kept_out_of_dumps_and_out_of_swap() {
        let place = tempfile::tempdir().unwrap();
        let identity = identity(place.path()).unwrap();
        // SAFETY: numbers only.
        assert_eq!(unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) }, 0);
        let limit = parlo_sandbox::lockable_bytes();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap().trim();
        assert!(limit.is_some_and(|limit| limit < 4096) || locked != "0 kB", "{locked} of {limit:?} bytes");
        // Clones do not take the secret to other places.
        assert!(std::ptr::eq(identity.as_bytes(), identity.clone().as_bytes()));
    }

    #[test]
    fn of_many_who_make_one_all_have_the_same() {
        let place = tempfile::tempdir().unwrap();
        let keys: BTreeSet<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| identity(place.path()).unwrap().public())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(keys.len(), 1);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_others_can_read_is_refused_with_what_to_do() {
        let place = tempfile::tempdir().unwrap();
        identity(place.path()).unwrap();
        let file = place.path().join(IDENTITY);
        for open in [0o644, 0o640, 0o620, 0o601] {
            fs::set_permissions(&file, fs::Permissions::from_mode(open)).unwrap();
            let error = identity(place.path()).unwrap_err().to_string();
            assert!(error.contains("chmod 600") && error.contains(&format!("{open:o}")), "{error}");
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(identity(place.path()).is_ok());
    }

    #[test]
    fn a_key_in_a_folder_that_others_can_write_to_is_not_used() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("parlo");
        identity(&folder).unwrap();
        for open in [0o770, 0o702, 0o777] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(open)).unwrap();
            let said = identity(&folder).unwrap_err().to_string();
            assert!(said.contains(&format!("chmod go-w {}", folder.display())), "{said}");
            assert!(existing_identity(&folder).is_err());
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        identity(&folder).unwrap();
    }

    #[test]
    fn a_damaged_identity_is_never_overwritten() {
        let digits = "0123456789abcdef".repeat(4);
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join(IDENTITY);
        for text in [
            String::new(),
            "# nothing\n".into(),
            format!("{SECRET} {}\n", &digits[1..]),
            format!("{SECRET} {digits}0\n"),
            format!("{SECRET} {}g\n", &digits[1..]),
            format!("{SECRET} {digits}\n{SECRET} {digits}\n"),
            "\u{FFFD}".repeat(2000),
        ] {
            fs::write(&file, &text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(identity(place.path()), Err(KeysError::Damaged(_))), "{text}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        fs::write(&file, format!("\n# comment\n  {SECRET}{digits}  \n\n")).unwrap();
        assert!(identity(place.path()).is_ok());
    }
}
