//! A queue of fixed length between one who must never wait and one who may be slow: when it is full, the oldest item makes room,
//! and the reader is told, at the place of the gap, how many are missing.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::Notify;

/// What comes out of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken<T> {
    /// The next item.
    Item(T),
    /// So many items are missing here.
    Missed(u64),
}

#[derive(Debug)]
struct Entry<T> {
    item: T,
    /// It stays as long as there is another that can go.
    kept: bool,
    /// Items dropped right before this one.
    missed: u64,
}

#[derive(Debug)]
struct QueueState<T> {
    entries: VecDeque<Entry<T>>,
    /// Nothing more is put in.
    closed: bool,
    /// Nobody reads any more.
    left: bool,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<QueueState<T>>,
    news: Notify,
    room: usize,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, QueueState<T>> {
        // What is behind it is whole at any time.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The end that items are put in. Dropping it closes the queue; what is in it can still be read.
#[derive(Debug)]
pub struct Inlet<T>(Arc<Shared<T>>);

/// The end that items are read from.
#[derive(Debug)]
pub struct Outlet<T>(Arc<Shared<T>>);

/// A queue that holds `room` items, at least one.
pub fn queue<T>(room: usize) -> (Inlet<T>, Outlet<T>) {
    let state = QueueState { entries: VecDeque::new(), closed: false, left: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), news: Notify::new(), room: room.max(1) });
    (Inlet(Arc::clone(&shared)), Outlet(shared))
}

impl<T> Inlet<T> {
    /// Puts an item in. Never waits but for the moment in which the reader takes one. Returns how many items were dropped for it.
    pub fn push(&self, item: T) -> u64 {
        self.put(item, false)
    }

    /// The same for an item that is dropped only when there is no other to drop: then the oldest goes, and is not counted.
    pub fn push_kept(&self, item: T) -> u64 {
        self.put(item, true)
    }

    /// Whether nobody reads any more.
    pub fn is_left(&self) -> bool {
        self.0.lock().left
    }

    fn put(&self, item: T, kept: bool) -> u64 {
        let mut state = self.0.lock();
        if state.left {
            return 0;
        }
        let entries = &mut state.entries;
        let (mut dropped, mut gap) = (0, None);
        if entries.len() >= self.0.room {
            let oldest = entries.iter().position(|entry| !entry.kept);
            let at = oldest.unwrap_or(0);
            if let Some(entry) = entries.remove(at) {
                dropped = u64::from(!entry.kept);
                gap = Some((at, entry.missed + dropped));
            }
        }
        entries.push_back(Entry { item, kept, missed: 0 });
        // What followed the dropped item, perhaps the new one, has the gap before it now.
        if let Some((at, missed)) = gap
            && let Some(entry) = entries.get_mut(at)
        {
            entry.missed += missed;
        }
        drop(state);
        self.0.news.notify_one();
        dropped
    }
}

impl<T> Drop for Inlet<T> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.news.notify_one();
    }
}

impl<T> Outlet<T> {
    /// Waits for the next item; none once the queue is closed and empty. Safe to cancel: nothing is lost.
    pub async fn next(&mut self) -> Option<Taken<T>> {
        loop {
            if let Some(taken) = self.take() {
                return Some(taken);
            }
            if self.0.lock().closed {
                // Something may have come between the two looks.
                return self.take();
            }
            // What comes between looking and waiting leaves a permit.
            self.0.news.notified().await;
        }
    }

    /// The next item, if there is one now.
    pub fn take(&mut self) -> Option<Taken<T>> {
        let mut state = self.0.lock();
        let front = state.entries.front_mut()?;
        let missed = std::mem::take(&mut front.missed);
        if missed > 0 {
            return Some(Taken::Missed(missed));
        }
        state.entries.pop_front().map(|entry| Taken::Item(entry.item))
    }
}

impl<T> Drop for Outlet<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.left = true;
        let rest = std::mem::take(&mut state.entries);
        drop(state);
        drop(rest);
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
