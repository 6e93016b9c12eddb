//! Where the API is served: a folder that is its owner's alone, a lock there, the socket, and the token.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read},
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use parlo_api::place;
use parlo_guard::{Keep, check_owner};
use zeroize::Zeroizing;

use super::{ControlError, Endpoints, auth::Token};

/// What stands in the configuration for no socket.
pub(super) const NONE: &str = "none";

/// Name of the lock, in the socket's folder. The system lets go of it when its holder ends, however that happens.
const LOCK: &str = "control.lock";

/// The socket that the configuration names: its field, or the usual place if it is empty (or "none": then no socket is there,
/// but this is where it would be).
pub fn socket_path(config: &str) -> PathBuf {
    match config {
        "" | NONE => place::socket(),
        path => PathBuf::from(path),
    }
}

/// The file with the token, for the same field of the configuration: beside the socket.
pub fn token_path(config: &str) -> PathBuf {
    place::token_beside(&socket_path(config))
}

/// A hold on the place: as long as it lives, no other daemon serves there. Dropped, it removes the socket; the token stays, so that
/// whoever was let in once is let in by the next daemon too.
#[derive(Debug)]
pub(super) struct Claim {
    lock: File,
    folder: PathBuf,
    /// With what file it was.
    socket: Option<(PathBuf, Identity)>,
    token: Option<(PathBuf, Token)>,
}

/// What tells a file from another that takes its place: device and number.
type Identity = (u64, u64);

fn identity(there: &fs::Metadata) -> Identity {
    (there.dev(), there.ino())
}

impl Claim {
    /// Claims the folder of socket and token.
    pub(super) fn new(endpoints: &Endpoints) -> Result<Self, ControlError> {
        let folder = match endpoints.socket.as_ref().unwrap_or(&endpoints.token).parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let lock = Self::lock(&folder)?;
        Ok(Self { lock, folder, socket: None, token: None })
    }

    fn lock(folder: &Path) -> Result<File, ControlError> {
        private(folder)?;
        let file = folder.join(LOCK);
        let lock = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&file)
            .map_err(ControlError::system("write", file.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(ControlError::AnotherRuns(folder.to_owned())),
            Err(TryLockError::Error(error)) => Err(ControlError::system("lock", file.display())(error)),
        }
    }

    /// Binds the socket, in the place of one that a killed daemon left behind.
    pub(super) fn bind(&mut self, path: &Path) -> Result<UnixListener, ControlError> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(ControlError::system("use", path.display())(error)),
            Ok(there) if !there.file_type().is_socket() => return Err(ControlError::Occupied(path.to_owned())),
            // Whoever answers holds no lock of ours: an older program, or another one. It keeps its socket.
            Ok(_) => match UnixStream::connect(path) {
                Ok(_) => return Err(ControlError::AnotherRuns(self.folder.clone())),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(ControlError::system("use", path.display())(error)),
            },
        }
        // Made in a folder that only its owner can enter, closed to others there, and only then put in place, whatever
        // the process' file mode mask: nobody else can connect at any moment.
        let nursery = tempfile::Builder::new()
            .prefix(".parlo-")
            .rand_bytes(4)
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(&self.folder)
            .map_err(ControlError::system("write to", self.folder.display()))?;
        let made = nursery.path().join("s");
        let bound = ControlError::system("serve the control API at", path.display());
        let listener = UnixListener::bind(&made)
            .and_then(|listener| {
                fs::set_permissions(&made, fs::Permissions::from_mode(0o600))?;
                fs::rename(&made, path)?;
                Ok((listener, fs::symlink_metadata(path)?))
            })
            .map_err(bound)?;
        let (listener, there) = listener;
        self.socket = Some((path.to_owned(), identity(&there)));
        Ok(listener)
    }

    /// If the socket has gone, serves it anew: the folder of a user's sockets vanishes when the user logs out, and comes back, empty, when
    /// they log in; a daemon that lives on must still be found. None if nothing is to be done, or nothing can be now.
    ///
    /// # Errors
    /// If it cannot be served anew. It may later.
    pub(super) fn renew(&mut self) -> Result<Option<UnixListener>, ControlError> {
        let Some((path, _)) = self.socket.clone() else { return Ok(None) };
        // Another daemon's socket in its place is left alone; so is one that cannot be looked at.
        if !matches!(fs::symlink_metadata(&path), Err(error) if error.kind() == io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let held = self.lock.metadata().map(|held| identity(&held)).ok();
        let there = fs::symlink_metadata(self.folder.join(LOCK)).map(|there| identity(&there)).ok();
        if there.is_none() || there != held {
            // The lock went too, and does not keep others away any more.
            self.lock = Self::lock(&self.folder)?;
        }
        if let Some((file, token)) = &self.token {
            self.write(file, token)?;
        }
        self.bind(&path).map(Some)
    }

    /// The token that a daemon before wrote to this file; if there is none that is only its owner's, a new one.
    pub(super) fn token(&mut self, file: &Path) -> Result<Token, ControlError> {
        let token = match kept(file) {
            Some(token) => token,
            None => {
                let token = Token::draw().map_err(ControlError::system("draw a token for", file.display()))?;
                self.write(file, &token)?;
                token
            }
        };
        self.token = Some((file.to_owned(), token.clone()));
        Ok(token)
    }

    /// Writes a token to a file that only its owner can read.
    fn write(&self, file: &Path, token: &Token) -> Result<(), ControlError> {
        let text = token.line();
        crate::keys::written(&self.folder, &text)
            .map_err(|error| ControlError::system("write", file.display())(io::Error::other(error)))?
            .persist(file)
            .map_err(|error| ControlError::system("write", file.display())(error.error))?;
        Ok(())
    }

    /// The file with the token.
    pub(super) fn token_file(&self) -> Option<&Path> {
        self.token.as_ref().map(|(file, _)| file.as_path())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The lock is held until its file is closed, after this; it stays, as whoever removed it could remove another's.
        if let Some((file, ours)) = &self.socket
            && fs::symlink_metadata(file).is_ok_and(|there| identity(&there) == *ours)
        {
            let _ = fs::remove_file(file);
        }
        let _ = self.lock.unlock();
    }
}

/// The token in a file, if it is one that nobody else can have read or written.
fn kept(file: &Path) -> Option<Token> {
    let opened = fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(file).ok()?;
    // Of the file that is open, so that nobody puts another one in its place in between.
    let there = opened.metadata().ok()?;
    if !there.is_file() || there.uid() != place::user() || there.mode() & 0o077 != 0 {
        return None;
    }
    // Room for all at once: a text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(128));
    opened.take(128).read_to_string(&mut text).ok()?;
    Token::parse(&text)
}

/// Makes the folder if it is missing, and sees that nobody else can put anything there.
fn private(folder: &Path) -> Result<(), ControlError> {
    let wrong = |reason: &str| Err(ControlError::Folder { folder: folder.to_owned(), reason: reason.to_owned() });
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .or_else(|error| match error.kind() {
            // A link that leads nowhere, or a file: what it is is said below.
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        })
        .map_err(ControlError::system("make the folder", folder.display()))?;
    // Of the folder itself: not of what a link leads to.
    let there = fs::symlink_metadata(folder).map_err(ControlError::system("use the folder", folder.display()))?;
    if there.file_type().is_symlink() {
        return wrong("it is a symbolic link; name the folder itself, or remove the link");
    }
    if !there.is_dir() {
        return wrong("it is no folder");
    }
    if there.uid() != place::user() {
        return wrong(
            "it belongs to another user; set XDG_RUNTIME_DIR to a folder of yours, or name one with [control] socket",
        );
    }
    if there.mode() & 0o022 != 0 {
        return wrong(
            "others can write to it; say chmod 700 on it, or name a folder of your own with [control] socket",
        );
    }
    // Nor can anybody put another folder in its place.
    check_owner(folder, Keep::Unchanged)
        .map_err(|error| ControlError::Folder { folder: folder.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(folder: &Path) -> Endpoints {
        Endpoints { socket: Some(folder.join("control.sock")), tcp: None, token: folder.join("token") }
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn folder_socket_and_token_are_their_owners_alone_and_go_with_the_claim() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a/parlo");
        let endpoints = endpoints(&folder);
        let socket = endpoints.socket.clone().unwrap();
        let mut claim = Claim::new(&endpoints).unwrap();
        let _listener = claim.bind(&socket).unwrap();
        let token = claim.token(&endpoints.token).unwrap();
        assert_eq!((mode(&folder), mode(&socket), mode(&endpoints.token)), (0o700, 0o600, 0o600));
        assert!(UnixStream::connect(&socket).is_ok());
        let text = fs::read_to_string(&endpoints.token).unwrap();
        assert!(text.len() == 65 && token.is(text.trim().as_bytes()), "{text}");
        // Nothing else is left in the folder.
        let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["control.lock", "control.sock", "token"]);
        drop(claim);
        assert!(!socket.exists());
        // The next daemon lets in whoever the one before did.
        assert!(Claim::new(&endpoints).unwrap().token(&endpoints.token).unwrap().is(text.trim().as_bytes()));
    }

    #[test]
    fn a_token_that_others_may_know_or_that_is_none_is_drawn_anew() {
        let place = tempfile::tempdir().unwrap();
        let endpoints = endpoints(place.path());
        let draw = || {
            Claim::new(&endpoints).unwrap().token(&endpoints.token).unwrap();
            fs::read_to_string(&endpoints.token).unwrap()
        };
        let first = draw();
        assert_eq!(draw(), first);
        let other = first.replace(|c| c != '\n', "a");
        let elsewhere = place.path().join("elsewhere");
        for (text, open) in
            [(other.as_str(), 0o644), (&other, 0o660), ("", 0o600), (&other[1..], 0o600), ("x\n", 0o600)]
        {
            fs::write(&endpoints.token, text).unwrap();
            fs::set_permissions(&endpoints.token, fs::Permissions::from_mode(open)).unwrap();
            let drawn = draw();
            assert!(drawn.len() == 65 && drawn != text && mode(&endpoints.token) == 0o600, "{text} {open:o}: {drawn}");
        }
        // Neither is one that a link leads to.
        fs::write(&elsewhere, &other).unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o600)).unwrap();
        fs::remove_file(&endpoints.token).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &endpoints.token).unwrap();
        assert!(draw() != other && fs::read_to_string(&elsewhere).unwrap() == other);
    }

    #[test]
    fn a_socket_whose_folder_vanished_is_served_anew() {
        let place = tempfile::tempdir().unwrap();
        let (folder, away) = (place.path().join("run/parlo"), place.path().join("away"));
        let endpoints = endpoints(&folder);
        let socket = endpoints.socket.clone().unwrap();
        let mut claim = Claim::new(&endpoints).unwrap();
        let _first = claim.bind(&socket).unwrap();
        let token = claim.token(&endpoints.token).unwrap();
        assert!(claim.renew().unwrap().is_none(), "nothing is missing");
        // Everything, as when the user logs out; and the socket alone.
        for all in [true, false] {
            if all {
                fs::rename(place.path().join("run"), &away).unwrap();
            } else {
                fs::remove_file(&socket).unwrap();
            }
            let _listener = claim.renew().unwrap().expect("it is missing");
            assert!(UnixStream::connect(&socket).is_ok() && claim.renew().unwrap().is_none());
            assert!(token.is(fs::read(&endpoints.token).unwrap().trim_ascii()));
            assert_eq!((mode(&folder), mode(&socket)), (0o700, 0o600));
            assert!(matches!(Claim::new(&endpoints), Err(ControlError::AnotherRuns(_))), "the place is taken");
        }
        // While it is away another daemon may come: it keeps its place, and its socket.
        fs::rename(&folder, place.path().join("away-too")).unwrap();
        let mut other = Claim::new(&endpoints).unwrap();
        assert!(matches!(claim.renew(), Err(ControlError::AnotherRuns(_))));
        let _theirs = other.bind(&socket).unwrap();
        assert!(claim.renew().unwrap().is_none());
        drop(claim);
        assert!(UnixStream::connect(&socket).is_ok());
    }

    #[test]
    fn there_is_one_claim_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let endpoints = endpoints(place.path());
        let claim = Claim::new(&endpoints).unwrap();
        assert!(matches!(Claim::new(&endpoints), Err(ControlError::AnotherRuns(_))));
        drop(claim);
        assert!(Claim::new(&endpoints).is_ok());
    }

    #[test]
    fn a_socket_that_nobody_serves_is_replaced_and_one_that_answers_is_not() {
        let place = tempfile::tempdir().unwrap();
        let endpoints = endpoints(place.path());
        let socket = endpoints.socket.clone().unwrap();
        let other = UnixListener::bind(&socket).unwrap();
        let error = Claim::new(&endpoints).unwrap().bind(&socket).map(drop).unwrap_err();
        assert!(error.to_string().contains("another parlod runs"), "{error}");
        assert!(UnixStream::connect(&socket).is_ok(), "the other one's socket stays");
        drop(other);
        let mut claim = Claim::new(&endpoints).unwrap();
        claim.bind(&socket).unwrap();
        drop(claim);
        fs::write(&socket, "mine").unwrap();
        let error = Claim::new(&endpoints).unwrap().bind(&socket).map(drop).unwrap_err();
        assert!(matches!(error, ControlError::Occupied(_)));
        assert_eq!(fs::read_to_string(&socket).unwrap(), "mine");
    }

    #[test]
    fn folders_that_others_could_write_to_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let refused = |folder: &Path, word: &str| {
            let error = Claim::new(&endpoints(folder)).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains(&folder.display().to_string()), "{error}");
        };
        for open in [0o777, 0o770, 0o702, 0o1777] {
            let folder = place.path().join(format!("{open:o}"));
            fs::create_dir(&folder).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(open)).unwrap();
            refused(&folder, "chmod 700");
        }
        let (real, link, nowhere) =
            (place.path().join("real"), place.path().join("link"), place.path().join("nowhere"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        std::os::unix::fs::symlink("missing", &nowhere).unwrap();
        refused(&link, "symbolic link");
        refused(&nowhere, "symbolic link");
        let file = place.path().join("file");
        fs::write(&file, "").unwrap();
        refused(&file, "no folder");
        if place::user() == 0 {
            let theirs = place.path().join("theirs");
            fs::create_dir(&theirs).unwrap();
            std::os::unix::fs::chown(&theirs, Some(65_534), None).unwrap();
            refused(&theirs, "another user");
        }
        // A lock that is a link is not followed.
        std::os::unix::fs::symlink(&file, real.join(LOCK)).unwrap();
        assert!(Claim::new(&endpoints(&real)).is_err());
    }

    #[test]
    fn the_configuration_names_the_socket_and_the_token_is_beside_it() {
        assert_eq!(socket_path(""), place::socket());
        assert_eq!(token_path(NONE), place::token());
        assert_eq!(socket_path("/a/b.sock"), Path::new("/a/b.sock"));
        assert_eq!(token_path("/a/b.sock"), Path::new("/a/token"));
    }
}
