//! Places for connections over TCP, where anybody on this machine can connect: some for strangers, the rest for whoever has shown the token.
//!
//! A stranger is whoever has not shown it yet. There is always room for one more: when their places are taken, the stranger who has been
//! there longest goes. So strangers, however many and slow, cannot keep the owner away, who shows the token with the first request.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tokio::sync::Notify;

/// Strangers at a time.
const STRANGERS: usize = 64;
/// Connections that have shown the token, at a time. More of them count as strangers.
const OWNERS: usize = 160;

/// The places of one listener. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    /// By number, who came first first.
    strangers: VecDeque<(u64, Arc<Notify>)>,
    owners: usize,
    next: u64,
}

/// A connection in its place.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    places: Places,
    number: u64,
    out: Arc<Notify>,
    owner: Arc<AtomicBool>,
}

impl Places {
    /// Takes a place for a stranger, from the one who has had one longest if there is no other.
    pub(super) fn enter(&self) -> Guest {
        let (out, mut taken) = (Arc::new(Notify::new()), self.lock());
        let number = taken.next;
        taken.next += 1;
        taken.strangers.push_back((number, Arc::clone(&out)));
        if taken.strangers.len() > STRANGERS
            && let Some((_, oldest)) = taken.strangers.pop_front()
        {
            oldest.notify_one();
        }
        Guest { places: self.clone(), number, out, owner: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Takes a stranger out; whether it was one.
    fn take(&mut self, number: u64) -> bool {
        let at = self.strangers.iter().position(|(other, _)| *other == number);
        at.and_then(|at| self.strangers.remove(at)).is_some()
    }
}

impl Guest {
    /// It has shown the token.
    pub(super) fn is_owner(&self) {
        let mut taken = self.places.lock();
        if taken.owners < OWNERS && taken.take(self.number) {
            taken.owners += 1;
            self.owner.store(true, Relaxed);
        }
    }

    /// Waits until another needs the place.
    pub(super) async fn shown_out(&self) {
        self.out.notified().await;
    }

    /// Gives the place back, if it still has one.
    pub(super) fn leave(&self) {
        let mut taken = self.places.lock();
        if self.owner.swap(false, Relaxed) {
            taken.owners -= 1;
        } else {
            taken.take(self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn is_shown_out(guest: &Guest) -> bool {
        tokio::time::timeout(Duration::from_millis(1), guest.shown_out()).await.is_ok()
    }

    #[tokio::test]
    async fn strangers_make_room_for_each_other_and_never_for_the_owner_to_go() {
        let places = Places::default();
        let owner = places.enter();
        owner.is_owner();
        let first: Vec<Guest> = (0..STRANGERS).map(|_| places.enter()).collect();
        for guest in &first {
            assert!(!is_shown_out(guest).await);
        }
        let later: Vec<Guest> = (0..STRANGERS).map(|_| places.enter()).collect();
        for guest in &first {
            assert!(is_shown_out(guest).await);
            // Too late.
            guest.is_owner();
            guest.leave();
        }
        for guest in &later {
            assert!(!is_shown_out(guest).await);
        }
        assert!(!is_shown_out(&owner).await);
        assert_eq!(places.lock().owners, 1);
        owner.leave();
        later.iter().for_each(|guest| guest.leave());
        let taken = places.lock();
        assert_eq!((taken.owners, taken.strangers.len()), (0, 0));
    }

    #[tokio::test]
    async fn more_owners_than_there_is_room_for_count_as_strangers() {
        let places = Places::default();
        let all: Vec<Guest> = (0..OWNERS + 10)
            .map(|_| {
                let guest = places.enter();
                guest.is_owner();
                // Told with every request.
                guest.is_owner();
                guest
            })
            .collect();
        let counts = || {
            let taken = places.lock();
            (taken.owners, taken.strangers.len())
        };
        assert_eq!(counts(), (OWNERS, 10));
        all.iter().for_each(|guest| guest.leave());
        assert_eq!(counts(), (0, 0));
    }
}
