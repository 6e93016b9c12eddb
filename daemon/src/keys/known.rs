//! Whom the user knows: a text file with a line for each peer, `NAME ADDRESS KEY # comment`, or, if its calls are to be
//! answered without asking, `NAME ADDRESS KEY auto-answer # comment`.
//!
//! Blank lines, comments and lines that are not understood stay as they are. Changes are made under a lock and put in place by
//! renaming, so that two programs lose none of each other's, and a reader never sees half a file.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, Weak},
};

use parlo_guard::{Keep, check_owner};
use parlo_protocol::{identity::PublicKey, psk::Psk};

use super::{
    KeysError, MAX_BYTES,
    contacts::List,
    make_folder,
    psks::{self, Psks},
    sync, written,
};

/// Name of the file, in the [folder](super::folder).
const FILE: &str = "known_peers";

const PREFACE: &str = "# Peers that you know. Each line: NAME ADDRESS KEY # comment. The address may be -.\n\
                       # A peer whose calls are to be answered without asking has the word auto-answer after its key.\n";

/// The fourth word of a line, if there is one.
const AUTO_ANSWER: &str = "auto-answer";

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPeer {
    /// What the user calls the peer.
    pub name: String,
    /// Where it was or is, `HOST:PORT`; `None` if it has no fixed address.
    pub address: Option<String>,
    /// Who it is.
    pub key: PublicKey,
    /// Whether its calls are answered without asking.
    pub auto_answer: bool,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Nothing is known of that name or address.
    New,
    /// It is the one that is known.
    Same {
        /// By this name.
        name: String,
    },
    /// Another key is known: somebody else answers, or the peer has a new key.
    Changed {
        /// By this name.
        name: String,
        /// And this key.
        known: PublicKey,
    },
}

/// The peers of a file, as it was when it was read.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    lines: Vec<Line>,
    psks: Psks,
}

#[derive(Debug, Clone)]
struct Line {
    text: String,
    peer: Option<KnownPeer>,
}

impl Line {
    fn read(text: &str) -> Self {
        let mut words = text.split('#').next().unwrap_or_default().split_whitespace();
        let mut peer = || {
            let (name, address, key) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
            let address = (address != "-").then(|| address.to_owned());
            let auto_answer = match words.next() {
                None => false,
                Some(AUTO_ANSWER) => true,
                Some(_) => return None,
            };
            words.next().is_none().then(|| KnownPeer { name: name.to_owned(), address, key, auto_answer })
        };
        Self { peer: peer(), text: text.to_owned() }
    }
}

impl Peers {
    fn read(text: &str) -> Self {
        Self { lines: text.lines().map(Line::read).collect(), psks: Psks::new() }
    }

    /// All of them, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &KnownPeer> + Clone {
        self.lines.iter().filter_map(|line| line.peer.as_ref())
    }

    /// The peer of this name.
    pub fn by_name(&self, name: &str) -> Option<&KnownPeer> {
        self.iter().find(|peer| peer.name == name)
    }

    /// The first peer at this address.
    pub fn by_address(&self, address: &str) -> Option<&KnownPeer> {
        self.iter().find(|peer| peer.address.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(address)))
    }

    /// The first peer with this key.
    pub fn by_key(&self, key: &PublicKey) -> Option<&KnownPeer> {
        self.iter().find(|peer| peer.key == *key)
    }

    /// The secret that is shared with who has this key, if one is.
    pub fn psk(&self, key: &PublicKey) -> Option<&Psk> {
        self.psks.get(key)
    }

    /// Whether whoever answered for a name or an address is the one that is known. If several peers are known there, any of
    /// them will do.
    pub fn check(&self, name_or_address: &str, key: &PublicKey) -> Check {
        let there = |peer: &&KnownPeer| {
            peer.name == name_or_address
                || peer.address.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(name_or_address))
        };
        let mut candidates = self.iter().filter(there);
        match candidates.clone().find(|peer| peer.key == *key) {
            Some(peer) => Check::Same { name: peer.name.clone() },
            None => match candidates.next() {
                Some(peer) => Check::Changed { name: peer.name.clone(), known: peer.key },
                None => Check::New,
            },
        }
    }

    /// Notes who answered at an address, as [`KnownPeers::first_use`] does.
    pub(super) fn note(&mut self, address: &str, key: &PublicKey) -> Result<String, KeysError> {
        match self.check(address, key) {
            Check::Same { name } => return Ok(name),
            Check::Changed { name, known } => return Err(KeysError::Taken { name, known: Box::new(known) }),
            Check::New => {}
        }
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let plain: String =
            host.chars().map(|c| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' }).collect();
        let base: String = plain.trim_matches('-').chars().take(48).collect();
        let base = if base.is_empty() { "peer".to_owned() } else { base };
        let mut name = base.clone();
        let mut number = 1_u32;
        while self.by_name(&name).is_some() {
            number += 1;
            name = format!("{base}-{number}");
        }
        insert(self, peer(&name, Some(address), key, false), " # noted at the first call")?;
        Ok(name)
    }
}

/// The file with the peers that the user knows.
#[derive(Debug, Clone)]
pub struct KnownPeers {
    folder: PathBuf,
    /// Who holds the list in memory, if somebody does.
    list: Arc<OnceLock<Weak<List>>>,
}

impl KnownPeers {
    /// The one in a folder. It need not exist: nobody is known then.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), list: Arc::default() }
    }

    /// From now on this list is told of what is changed through this or a clone of it.
    pub(super) fn tell(&self, list: &Arc<List>) {
        // One list is enough; a second one finds changes by looking.
        let _ = self.list.set(Arc::downgrade(list));
    }

    /// Where the shared secrets are.
    pub(super) fn psk_file(&self) -> PathBuf {
        psks::file(&self.folder)
    }

    /// Where it is.
    pub fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Reads it, and the secrets that are shared with who is in it. Whoever is in it may be answered without asking, so that nobody
    /// else may have written it.
    ///
    /// # Errors
    /// If the system refuses, others can change the file or a folder that it lies in, or it is no text; or others can read the file
    /// with the secrets, or it is damaged.
    pub fn read(&self) -> Result<Peers, KeysError> {
        let psks = psks::read(&self.folder)?;
        Ok(Peers { psks, ..self.read_list()? })
    }

    fn read_list(&self) -> Result<Peers, KeysError> {
        let file = self.file();
        match check_owner(&file, Keep::Unchanged) {
            Ok(()) => {}
            Err(error) if error.is_not_found() => return Ok(Peers::default()),
            Err(error) => return Err(error.into()),
        }
        let opened = match open(&file) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Peers::default()),
            Err(error) => return Err(KeysError::system("read", &file)(error)),
        };
        let mut text = String::new();
        match opened.take(MAX_BYTES + 1).read_to_string(&mut text) {
            Ok(length) if length as u64 <= MAX_BYTES => Ok(Peers::read(&text)),
            Ok(_) => Err(KeysError::NotText(file)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(KeysError::NotText(file)),
            Err(error) => Err(KeysError::system("read", &file)(error)),
        }
    }

    /// Adds a peer. If its name and key are known, only the address is replaced.
    ///
    /// # Errors
    /// If the name stands for another key, name or address cannot stand in the file, or the system refuses.
    pub fn add(&self, name: &str, address: Option<&str>, key: &PublicKey) -> Result<(), KeysError> {
        self.change(|peers| {
            let auto_answer = peers.by_name(name).is_some_and(|peer| peer.auto_answer);
            insert(peers, peer(name, address, key, auto_answer), "")
        })
    }

    /// Adds a peer, and says whether its calls are answered without asking. If its name and key are known, address and that
    /// are replaced.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn put(
        &self,
        name: &str,
        address: Option<&str>,
        key: &PublicKey,
        auto_answer: bool,
    ) -> Result<KnownPeer, KeysError> {
        let peer = peer(name, address, key, auto_answer);
        self.change(|peers| insert(peers, peer.clone(), "")).map(|()| peer)
    }

    /// Notes who answered at an address that was called for the first time, under a name made from the address; returns the
    /// name. If the same key is known there already, nothing changes.
    ///
    /// # Errors
    /// If another key is known there (somebody else may have noted it since [`check`](Peers::check)), or the system refuses.
    pub fn first_use(&self, address: &str, key: &PublicKey) -> Result<String, KeysError> {
        self.change(|peers| peers.note(address, key))
    }

    /// Removes the peer of this name, and the secret that is shared with it, if no other name stands for the same key; false if
    /// there is none.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn remove(&self, name: &str) -> Result<bool, KeysError> {
        self.change(|peers| {
            let before = peers.lines.len();
            peers.lines.retain(|line| line.peer.as_ref().is_none_or(|peer| peer.name != name));
            let left: Vec<PublicKey> = peers.iter().map(|peer| peer.key).collect();
            peers.psks.retain(|key, _| left.contains(key));
            Ok(peers.lines.len() < before)
        })
    }

    /// From now on this secret is shared with the peer of this name, or none; false if there is no such peer.
    ///
    /// # Errors
    /// If the system refuses, or the secrets that are there cannot be read.
    pub fn set_psk(&self, name: &str, psk: Option<&Psk>) -> Result<bool, KeysError> {
        self.change(|peers| {
            let Some(key) = peers.by_name(name).map(|peer| peer.key) else { return Ok(false) };
            match psk {
                Some(psk) => peers.psks.insert(key, psk.clone()),
                None => peers.psks.remove(&key),
            };
            Ok(true)
        })
    }

    /// Reads, changes and replaces the file while nobody else does.
    fn change<T>(&self, change: impl FnOnce(&mut Peers) -> Result<T, KeysError>) -> Result<T, KeysError> {
        make_folder(&self.folder)?;
        // A file of its own, as the one with the peers is replaced. The system lets go of the lock when it is closed.
        let lock_file = self.folder.join(format!(".{FILE}.lock"));
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let lock = options.open(&lock_file).map_err(KeysError::system("write", &lock_file))?;
        lock.lock().map_err(KeysError::system("lock", &lock_file))?;

        let mut peers = self.read()?;
        let (before, psks) = (text(&peers), peers.psks.clone());
        let result = change(&mut peers)?;
        if peers.psks != psks {
            psks::write(&self.folder, &peers.psks)?;
        }
        let after = text(&peers);
        if after != before {
            // Through a link to where the file really is, so that the link stays.
            let file = fs::canonicalize(self.file()).unwrap_or_else(|_| self.file());
            let folder = file.parent().unwrap_or(&self.folder);
            let temporary = written(folder, &after)?;
            temporary.persist(&file).map_err(|error| KeysError::system("write", &file)(error.error))?;
            sync(folder)?;
        }
        if let Some(list) = self.list.get().and_then(Weak::upgrade) {
            list.look();
        }
        Ok(result)
    }
}

/// Opens what is to be read, if it is a file: a pipe would wait for somebody to write, and a device may do anything.
fn open(file: &Path) -> io::Result<File> {
    let no_file = || io::Error::new(io::ErrorKind::InvalidInput, "it is a folder, a pipe or a device, and no file");
    if !fs::metadata(file)?.is_file() {
        return Err(no_file());
    }
    let mut options = fs::OpenOptions::new();
    options.read(true);
    // Should another one have come in its place meanwhile, this does not wait for it.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOCTTY);
    let opened = options.open(file)?;
    if opened.metadata()?.is_file() { Ok(opened) } else { Err(no_file()) }
}

fn peer(name: &str, address: Option<&str>, key: &PublicKey, auto_answer: bool) -> KnownPeer {
    KnownPeer { name: name.to_owned(), address: address.map(str::to_owned), key: *key, auto_answer }
}

fn insert(peers: &mut Peers, peer: KnownPeer, comment: &str) -> Result<(), KeysError> {
    let name = &peer.name;
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '#';
    if !(1..=64).contains(&name.chars().count()) || name.contains(|c| bad(c) || c == ':') || name.starts_with('-') {
        return Err(KeysError::Name(name.clone()));
    }
    if let Some(address) = &peer.address {
        let port =
            address.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then_some(port)?.parse::<u16>().ok());
        if port.is_none() || address.contains(bad) || address.len() > 300 {
            return Err(KeysError::Address(address.clone()));
        }
    }
    let mut line = format!("{name} {} {}", peer.address.as_deref().unwrap_or("-"), peer.key);
    if peer.auto_answer {
        line.push(' ');
        line.push_str(AUTO_ANSWER);
    }
    match peers.lines.iter_mut().find(|line| line.peer.as_ref().is_some_and(|known| known.name == *name)) {
        None => peers.lines.push(Line { text: line + comment, peer: Some(peer) }),
        Some(known) => {
            if let Some(other) = known.peer.as_ref().filter(|other| other.key != peer.key) {
                return Err(KeysError::Taken { name: name.clone(), known: Box::new(other.key) });
            }
            if known.peer.as_ref() == Some(&peer) {
                // As the user wrote it.
                return Ok(());
            }
            let comment = known.text.split_once('#').map(|(_, comment)| format!(" #{comment}"));
            *known = Line { text: line + &comment.unwrap_or_default(), peer: Some(peer) };
        }
    }
    Ok(())
}

fn text(peers: &Peers) -> String {
    let mut text = String::new();
    if !peers.lines.is_empty() && !peers.lines[0].text.starts_with('#') {
        text.push_str(PREFACE);
    }
    for line in &peers.lines {
        text.push_str(&line.text);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use parlo_protocol::identity::Identity;

    use super::*;

    fn key(n: u8) -> PublicKey {
        Identity::from_bytes([n; 32]).public()
    }

    #[test]
    fn peers_are_added_found_and_removed_and_the_rest_of_the_file_stays() {
        let place = tempfile::tempdir().unwrap();
        let known = KnownPeers::new(&place.path().join("parlo"));
        assert_eq!(known.read().unwrap().iter().count(), 0);
        known.add("ada", Some("ada.example:7275"), &key(1)).unwrap();
        known.add("bob", None, &key(2)).unwrap();
        let mut text = fs::read_to_string(known.file()).unwrap();
        assert!(text.starts_with(PREFACE));
        text.push_str(&format!("\n  # mine\nwhatever this is\n\tcarl   [::1]:9   {}#old friend\n", key(3)));
        fs::write(known.file(), &text).unwrap();
        known.add("dora", Some("192.0.2.1:7275"), &key(4)).unwrap();
        let after = fs::read_to_string(known.file()).unwrap();
        assert_eq!(after, format!("{text}dora 192.0.2.1:7275 {}\n", key(4)));
        let peers = known.read().unwrap();
        let names: Vec<_> = peers.iter().map(|peer| peer.name.as_str()).collect();
        assert_eq!(names, ["ada", "bob", "carl", "dora"]);
        assert_eq!(peers.by_name("carl").unwrap().key, key(3));
        assert_eq!(peers.by_address("ADA.example:7275").unwrap().name, "ada");
        assert_eq!(peers.by_key(&key(2)).unwrap().address, None);
        assert!(peers.by_name("Ada").is_none() && peers.by_address("-").is_none());
        // A new address keeps the comment.
        known.add("carl", Some("[::1]:10"), &key(3)).unwrap();
        assert!(fs::read_to_string(known.file()).unwrap().contains(&format!("carl [::1]:10 {} #old friend\n", key(3))));
        assert!(matches!(known.add("ada", None, &key(9)), Err(KeysError::Taken { .. })));
        assert!(known.remove("ada").unwrap() && !known.remove("ada").unwrap());
        let left = fs::read_to_string(known.file()).unwrap();
        assert!(left.contains("whatever this is\n") && left.contains("  # mine\n") && !left.contains("ada"), "{left}");
    }

    #[test]
    fn auto_answer_is_a_fourth_word_that_stays_until_it_is_taken_away() {
        let place = tempfile::tempdir().unwrap();
        let known = KnownPeers::new(place.path());
        let text = format!(
            "ada - {} auto-answer # auto-answer\nbob -  {} # auto-answer\ncarl - {} answer\ndora - {} auto-answer x\n",
            key(1),
            key(2),
            key(3),
            key(4)
        );
        fs::write(known.file(), format!("# mine\n{text}")).unwrap();
        let who =
            || -> Vec<_> { known.read().unwrap().iter().map(|peer| (peer.name.clone(), peer.auto_answer)).collect() };
        assert_eq!(who(), [("ada".into(), true), ("bob".into(), false)]);
        known.add("ada", Some("ada.example:1"), &key(1)).unwrap();
        known.put("bob", None, &key(2), true).unwrap();
        assert_eq!(who(), [("ada".into(), true), ("bob".into(), true)]);
        let now = fs::read_to_string(known.file()).unwrap();
        assert!(now.contains(&format!("ada ada.example:1 {} auto-answer # auto-answer\n", key(1))), "{now}");
        assert!(now.contains(&format!("bob - {} auto-answer # auto-answer\n", key(2))), "{now}");
        assert!(now.starts_with("# mine\n") && now.contains(" answer\n") && now.contains("auto-answer x\n"), "{now}");
        known.put("ada", Some("ada.example:1"), &key(1), false).unwrap();
        assert_eq!(who(), [("ada".into(), false), ("bob".into(), true)]);
        assert!(matches!(known.put("ada", None, &key(5), true), Err(KeysError::Taken { .. })));
    }

    #[test]
    fn trust_on_first_use_notices_changes() {
        let place = tempfile::tempdir().unwrap();
        let known = KnownPeers::new(place.path());
        let check = |what, n| known.read().unwrap().check(what, &key(n));
        assert_eq!(check("host.example:7275", 1), Check::New);
        assert_eq!(known.first_use("host.example:7275", &key(1)).unwrap(), "host.example");
        assert_eq!(known.first_use("host.example:7275", &key(1)).unwrap(), "host.example");
        assert_eq!(known.first_use("host.example:7276", &key(2)).unwrap(), "host.example-2");
        assert_eq!(known.first_use("[2001:db8::1]:7276", &key(3)).unwrap(), "2001-db8--1");
        let same = Check::Same { name: "host.example".into() };
        assert_eq!(check("host.example:7275", 1), same);
        assert_eq!(check("host.example", 1), same);
        let changed = Check::Changed { name: "host.example".into(), known: key(1) };
        assert_eq!(check("host.example:7275", 7), changed);
        assert!(matches!(known.first_use("host.example:7275", &key(7)), Err(KeysError::Taken { .. })));
        assert_eq!(known.read().unwrap().iter().count(), 3);
    }

    #[test]
    fn names_and_addresses_that_would_break_the_file_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let known = KnownPeers::new(place.path());
        for name in ["", "a b", "a#b", "a\nb", "a:b", "-", "-x", &"x".repeat(65)] {
            assert!(matches!(known.add(name, None, &key(1)), Err(KeysError::Name(_))), "{name:?}");
        }
        for address in ["", "host", ":1", "host:", "host:99999", "a b:1", "a#:1", "a\nb:1"] {
            assert!(matches!(known.add("x", Some(address), &key(1)), Err(KeysError::Address(_))), "{address:?}");
        }
        assert!(!known.file().exists());
    }

    #[test]
    fn many_writers_lose_nothing() {
        let place = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let known = KnownPeers::new(place.path());
                scope.spawn(move || {
                    for n in 0..8_u8 {
                        known.add(&format!("peer-{thread}-{n}"), None, &key(thread * 8 + n)).unwrap();
                        known.read().unwrap();
                    }
                });
            }
        });
        assert_eq!(KnownPeers::new(place.path()).read().unwrap().iter().count(), 32);
        // The file and its lock, and nothing else.
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_list_that_others_could_have_written_is_not_believed() {
        use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("config/parlo");
        let known = KnownPeers::new(&folder);
        known.put("ann", None, &key(1), true).unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let refused = |what: &str| {
            let said = known.read().unwrap_err().to_string();
            assert!(said.contains(what) && known.put("eve", None, &key(2), true).is_err(), "{what}: {said}");
        };
        let places = [known.file(), folder.clone(), place.path().join("config")];
        for path in &places {
            let own = fs::metadata(path).unwrap().permissions().mode();
            for open in [0o666, 0o777, own | 0o020, own | 0o002] {
                mode(path, open);
                refused(&format!("chmod go-w {}", path.display()));
            }
            mode(path, own);
        }
        // Only root can give files away.
        if fs::metadata(&folder).is_ok_and(|there| std::os::unix::fs::MetadataExt::uid(&there) == 0) {
            for path in &places {
                chown(path, Some(65_534), None).unwrap();
                refused(&format!("chown 0 {}", path.display()));
                chown(path, Some(0), None).unwrap();
            }
        }
        // Where a link leads counts.
        let elsewhere = place.path().join("open");
        fs::create_dir(&elsewhere).unwrap();
        fs::rename(known.file(), elsewhere.join("list")).unwrap();
        symlink(elsewhere.join("list"), known.file()).unwrap();
        assert_eq!(known.read().unwrap().iter().count(), 1);
        mode(&elsewhere, 0o777);
        refused(&format!("chmod go-w {}", elsewhere.display()));
        // Others may read it.
        mode(&elsewhere, 0o755);
        mode(&elsewhere.join("list"), 0o644);
        assert_eq!(known.read().unwrap().iter().count(), 1);
    }

    #[test]
    fn what_is_no_text_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let known = KnownPeers::new(place.path());
        fs::write(known.file(), [0xFF, 0xFE, 0]).unwrap();
        assert!(matches!(known.add("x", None, &key(1)), Err(KeysError::NotText(_))));
        assert_eq!(fs::read(known.file()).unwrap(), [0xFF, 0xFE, 0]);
    }
}
