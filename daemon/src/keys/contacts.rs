//! The list of known peers as a daemon holds it: in memory.
//!
//! Whoever must not wait takes the list as it was read last ([`Contacts::current`]). A thread looks four times a second whether
//! the file has changed, another one writes down who answered for the first time; a slow disk, or a lock that another program
//! holds, delays these two and nobody else. Where the file cannot be read, the last list that could be stays.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parlo_protocol::identity::PublicKey;

use super::{KeysError, KnownPeers, Peers};

/// How often the file is looked at.
const FILE_CHECK_EVERY: Duration = Duration::from_millis(250);

/// A file that was changed so lately is read again at the next look: its time may stay the same if it is changed once more
/// (file systems count in steps, of two seconds at most).
const FRESH: Duration = Duration::from_secs(2);

/// Peers that wait to be written down. More come only if each call is to another address while the file cannot be written.
const WAITING: usize = 64;

/// How long the end of the program waits for what is still being written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// What becomes of the note of a peer that answered for the first time: its name in the file.
pub type Noted = Box<dyn FnOnce(Result<String, KeysError>) + Send>;

/// The known peers, as they were read last. Clones are the same list.
#[derive(Debug, Clone)]
pub struct Contacts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    list: Arc<List>,
    /// Closed when this is dropped, which ends the thread that looks.
    _alive: Sender<()>,
    notes: Option<Sender<Note>>,
    /// Closed when everything is written.
    written: Receiver<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.notes = None;
        // Nothing is ever sent: it is closed, or the time is over.
        let _ = self.written.recv_timeout(WRITE_TIMEOUT);
    }
}

struct Note {
    address: String,
    key: PublicKey,
    noted: Noted,
}

/// The list as it is just now.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Whom the user knows.
    pub peers: Arc<Peers>,
    /// Why the file cannot be read, if it cannot: `peers` is then what was read before.
    pub trouble: Option<Arc<str>>,
    /// Whether the file could be read at least once, or was not there. If not, nobody can say who is known.
    pub is_read: bool,
}

/// What the threads share.
#[derive(Debug)]
pub(super) struct List {
    known: KnownPeers,
    /// The file as it was at the last look. Held while it is read.
    seen: Mutex<Option<Stamps>>,
    /// Held for a moment only.
    listing: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    listing: Listing,
    /// Peers that answered for the first time, and are not in the file yet.
    unwritten: Vec<(String, PublicKey)>,
}

/// What tells one state of the file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: SystemTime,
    #[cfg(unix)]
    inode: [i64; 6],
}

impl Stamp {
    /// None if the file is not there, cannot be looked at, or was changed so lately that it may change unseen.
    fn of(file: &Path) -> Option<Self> {
        let metadata = fs::metadata(file).ok()?;
        let modified = metadata.modified().ok()?;
        if SystemTime::now().duration_since(modified).map_or(true, |age| age < FRESH) {
            return None;
        }
        #[cfg(unix)]
        let inode = {
            use std::os::unix::fs::MetadataExt;
            // Also owner and mode: reading may depend on them.
            [
                metadata.dev() as i64,
                metadata.ino() as i64,
                metadata.ctime(),
                metadata.ctime_nsec(),
                i64::from(metadata.uid()),
                i64::from(metadata.mode()),
            ]
        };
        Some(Self {
            length: metadata.len(),
            modified,
            #[cfg(unix)]
            inode,
        })
    }
}

/// Of the list, and of the shared secrets, if there are some.
type Stamps = (Stamp, Option<Stamp>);

/// None if they may change unseen.
fn stamps(known: &KnownPeers) -> Option<Stamps> {
    let psks = known.psk_file();
    let is_there = fs::symlink_metadata(&psks).is_ok();
    let of_psks = if is_there { Some(Stamp::of(&psks)?) } else { None };
    Some((Stamp::of(&known.file())?, of_psks))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done where it could panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl List {
    /// Reads the file, if it may have changed. May wait for the disk.
    pub(super) fn look(&self) {
        let mut seen = lock(&self.seen);
        let stamp = stamps(&self.known);
        if stamp.is_some() && *seen == stamp {
            return;
        }
        let read = self.known.read();
        let mut kept = lock(&self.listing);
        match read {
            Ok(peers) => {
                *seen = stamp;
                let mut peers = peers;
                kept.unwritten.retain(|(address, key)| {
                    // What the file says of an address counts, whatever was to be noted of it.
                    peers.by_address(address).is_none() && peers.note(address, key).is_ok()
                });
                kept.listing = Listing { peers: Arc::new(peers), trouble: None, is_read: true };
            }
            Err(error) => {
                *seen = None;
                let text = error.to_string();
                if kept.listing.trouble.as_deref() != Some(&text) {
                    kept.listing.trouble = Some(text.into());
                }
            }
        }
    }
}

impl Contacts {
    /// The list of this file, read now; `known` and its clones tell it of what they change.
    ///
    /// # Errors
    /// If the system gives no threads. That the file cannot be read is no error: [`Listing::trouble`] says so.
    pub fn new(known: &KnownPeers) -> Result<Self, KeysError> {
        let listing = Listing { peers: Arc::default(), trouble: None, is_read: false };
        let list = Arc::new(List {
            known: known.clone(),
            seen: Mutex::new(None),
            listing: Mutex::new(Kept { listing, unwritten: Vec::new() }),
        });
        known.tell(&list);
        list.look();
        let (alive, ended) = bounded::<()>(0);
        let (notes, noted) = bounded(WAITING);
        let (writing, written) = bounded(0);
        let failed = |error| KeysError::system("start a thread for", &known.file())(error);
        let looking = Arc::clone(&list);
        let looks = move || {
            while ended.recv_timeout(FILE_CHECK_EVERY) == Err(RecvTimeoutError::Timeout) {
                looking.look();
            }
        };
        thread::Builder::new().name("parlo-contacts".into()).spawn(looks).map_err(failed)?;
        let writer = known.clone();
        let writes = move || {
            write_down(&writer, &noted);
            drop(writing);
        };
        thread::Builder::new().name("parlo-notes".into()).spawn(writes).map_err(failed)?;
        Ok(Self(Arc::new(Inner { list, _alive: alive, notes: Some(notes), written })))
    }

    /// The list as it was read last. Never waits.
    pub fn current(&self) -> Listing {
        lock(&self.0.list.listing).listing.clone()
    }

    /// Reads the file if it may have changed; then [`current`](Self::current). Waits for the disk.
    pub fn fresh(&self) -> Listing {
        self.0.list.look();
        self.current()
    }

    /// Notes who answered at an address that was called for the first time: at once in the list, and by another thread in the
    /// file. `noted` is told what became of that, on that thread. Never waits.
    pub fn note(&self, address: &str, key: &PublicKey, noted: Noted) {
        {
            let mut kept = lock(&self.0.list.listing);
            if kept.unwritten.len() < WAITING {
                let mut peers = Peers::clone(&kept.listing.peers);
                if peers.note(address, key).is_ok() {
                    kept.unwritten.push((address.to_owned(), *key));
                    kept.listing.peers = Arc::new(peers);
                }
            }
        }
        let note = Note { address: address.to_owned(), key: *key, noted };
        let unsent = match &self.0.notes {
            Some(notes) => notes.try_send(note).err().map(crossbeam_channel::TrySendError::into_inner),
            None => Some(note),
        };
        if let Some(note) = unsent {
            let busy = std::io::Error::new(std::io::ErrorKind::WouldBlock, "too much waits to be written already");
            (note.noted)(Err(KeysError::system("write", &self.0.list.known.file())(busy)));
        }
    }
}

/// Writes down what is noted, until nobody can note anything any more.
fn write_down(known: &KnownPeers, notes: &Receiver<Note>) {
    for Note { address, key, noted } in notes {
        noted(known.first_use(&address, &key));
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, time::Instant};

    use parlo_protocol::identity::Identity;

    use super::*;

    fn key(n: u8) -> PublicKey {
        Identity::from_bytes([n; 32]).public()
    }

    fn until(what: &str, holds: impl Fn() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < Duration::from_secs(10), "waited for: {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn names(contacts: &Contacts) -> Vec<String> {
        contacts.current().peers.iter().map(|peer| peer.name.clone()).collect()
    }

    /// Makes the file unreadable in one way.
    type Spoil = fn(&Path);

    #[test]
    fn a_file_that_cannot_be_read_leaves_the_last_list_and_is_told_of_until_it_can_be() {
        let ways: [(&str, Spoil); 8] = [
            ("no UTF-8", |file| fs::write(file, b"# J\xfcrgen\n").unwrap()),
            ("one byte of no UTF-8 at its end", |file| {
                fs::write(file, [b"# x\n".as_slice(), &[0xFF]].concat()).unwrap()
            }),
            ("too long", |file| fs::write(file, "# x\n".repeat(300_000)).unwrap()),
            ("a folder", |file| fs::create_dir(file).unwrap()),
            ("a link to itself", |file| symlink(file, file).unwrap()),
            ("a link to a folder", |file| symlink(file.parent().unwrap(), file).unwrap()),
            ("an endless device", |file| symlink("/dev/zero", file).unwrap()),
            // Opening it would wait for a writer.
            ("a pipe", |file| {
                assert!(std::process::Command::new("mkfifo").arg(file).status().unwrap().success());
            }),
        ];
        for (way, spoil) in ways {
            let place = tempfile::tempdir().unwrap();
            let known = KnownPeers::new(place.path());
            known.add("ada", None, &key(1)).unwrap();
            let contacts = Contacts::new(&known).unwrap();
            fs::remove_file(known.file()).unwrap();
            spoil(&known.file());
            until(way, || contacts.current().trouble.is_some());
            let listing = contacts.current();
            assert!(listing.is_read && names(&contacts) == ["ada"], "{way}");
            assert!(listing.trouble.unwrap().contains("known_peers"), "{way}");
            // Begun with such a file, nobody is known, and nobody can say so.
            let begun = Contacts::new(&KnownPeers::new(place.path())).unwrap().current();
            assert!(!begun.is_read && begun.trouble.is_some() && begun.peers.iter().count() == 0, "{way}");
            if known.file().symlink_metadata().unwrap().is_dir() {
                fs::remove_dir(known.file()).unwrap();
            } else {
                fs::remove_file(known.file()).unwrap();
            }
            known.add("bob", None, &key(2)).unwrap();
            until("it is well again", || contacts.current().trouble.is_none() && names(&contacts) == ["bob"]);
        }
    }

    #[test]
    fn what_others_write_is_seen_and_what_this_program_writes_at_once() {
        let place = tempfile::tempdir().unwrap();
        let known = KnownPeers::new(place.path());
        let contacts = Contacts::new(&known).unwrap();
        assert!(contacts.current().is_read && names(&contacts).is_empty());
        known.clone().add("ada", None, &key(1)).unwrap();
        assert_eq!(names(&contacts), ["ada"], "a clone has told of it");
        KnownPeers::new(place.path()).add("bob", None, &key(2)).unwrap();
        until("bob", || names(&contacts) == ["ada", "bob"]);
        // In place, with the same length.
        let text = fs::read_to_string(known.file()).unwrap();
        fs::write(known.file(), text.replace("bob", "eve")).unwrap();
        until("eve", || names(&contacts) == ["ada", "eve"]);
        fs::remove_file(known.file()).unwrap();
        until("nobody", || names(&contacts).is_empty());
    }

    #[test]
    fn a_lock_that_another_program_holds_delays_the_note_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let known = KnownPeers::new(place.path());
        known.add("ada", None, &key(1)).unwrap();
        let contacts = Contacts::new(&known).unwrap();
        let lock = fs::File::create(place.path().join(".known_peers.lock")).unwrap();
        lock.lock().unwrap();
        let (told, noted) = bounded(1);
        let begun = Instant::now();
        contacts.note("192.0.2.1:7275", &key(2), Box::new(move |result| told.send(result).unwrap()));
        assert!(contacts.current().peers.by_address("192.0.2.1:7275").unwrap().key == key(2), "at once");
        assert!(begun.elapsed() < Duration::from_secs(1) && noted.try_recv().is_err());
        // The list is read meanwhile, and what was noted stays in it.
        let text = fs::read_to_string(known.file()).unwrap();
        fs::write(known.file(), text.replace("ada", "carl")).unwrap();
        until("carl", || names(&contacts) == ["carl", "192.0.2.1"]);
        lock.unlock().unwrap();
        assert_eq!(noted.recv_timeout(Duration::from_secs(10)).unwrap().unwrap(), "192.0.2.1");
        assert!(fs::read_to_string(known.file()).unwrap().contains(&key(2).to_string()));
        // What is noted last is written before the program ends.
        contacts.note("192.0.2.2:7275", &key(3), Box::new(drop));
        drop(contacts);
        assert!(fs::read_to_string(known.file()).unwrap().contains(&key(3).to_string()));
    }

    #[test]
    fn who_cannot_be_noted_is_told_of_and_kept_in_memory() {
        let place = tempfile::tempdir().unwrap();
        let known = KnownPeers::new(place.path());
        let contacts = Contacts::new(&known).unwrap();
        fs::create_dir(known.file()).unwrap();
        let (told, noted) = bounded(1);
        contacts.note("192.0.2.1:7275", &key(2), Box::new(move |result| told.send(result).unwrap()));
        let error = noted.recv_timeout(Duration::from_secs(10)).unwrap().unwrap_err().to_string();
        assert!(error.contains("known_peers"), "{error}");
        assert_eq!(contacts.current().peers.by_address("192.0.2.1:7275").unwrap().key, key(2));
    }
}
