//! A thread, and what it is told to do.

use std::{
    io,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

use crate::{audio::READ_TIMEOUT, realtime};

/// Orders that wait at most. Each is waited for, or one of few.
const ORDERS: usize = 32;

/// How long a thread may take to do as it is told: it looks for orders between blocks, and waits for a block no longer than
/// [`READ_TIMEOUT`], or than a device takes to be replaced.
const OBEDIENCE: Duration = Duration::from_secs(5);

/// One direction of sound: what its thread does. Nothing here may allocate, lock or log, unless it says so.
pub(super) trait AudioThread: Send + 'static {
    /// A call's part of it.
    type PerCall: Send;
    /// Where sound comes from or goes.
    type Device: Send;

    /// The thread runs now, at real-time priority or not.
    fn begin(&mut self, realtime: bool);

    /// Takes a call in.
    fn add(&mut self, call: Box<Self::PerCall>);

    /// Lets a call go.
    fn remove(&mut self, key: u64) -> Option<Box<Self::PerCall>>;

    /// Takes a device over, and gives the old one back, if there was one.
    fn replace(&mut self, device: Box<Self::Device>) -> Option<Box<Self::Device>>;

    /// Waits for sound, or for room for sound, and does what is to be done. False if there is nothing to wait for.
    fn step(&mut self) -> bool;

    /// All calls have left. May allocate.
    fn end(&mut self);
}

enum Order<S: AudioThread> {
    CallAudio(Box<S::PerCall>),
    Leave(u64),
    Replace(Box<S::Device>),
    Stop,
}

enum Done<S: AudioThread> {
    Left(u64, Option<Box<S::PerCall>>),
    Replaced(Option<Box<S::Device>>),
}

/// The thread is no more, or does nothing any more.
#[derive(Debug)]
pub(super) struct Gone;

/// A thread that runs a [`AudioThread`]; what it runs is dropped on the thread that ends it.
pub(super) struct Worker<S: AudioThread> {
    orders: Sender<Order<S>>,
    done: Receiver<Done<S>>,
    thread: JoinHandle<Box<S>>,
}

impl<S: AudioThread> Worker<S> {
    /// Starts the thread, with one call in it. `block`: samples between two looks at the clock, for the priority.
    pub(super) fn start(name: &str, side: Box<S>, call: Box<S::PerCall>, rate: u32, block: usize) -> io::Result<Self> {
        let (orders, ordered) = bounded(ORDERS);
        let (tell, done) = bounded(ORDERS);
        // Before the thread runs: no sound passes before its first call is there.
        let _ = orders.send(Order::CallAudio(call));
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut side = side;
            side.begin(realtime::promote(rate, block).is_ok());
            run(side.as_mut(), &ordered, &tell);
            side.end();
            side
        })?;
        Ok(Self { orders, done, thread })
    }

    /// Gives a call its place.
    pub(super) fn add(&self, call: Box<S::PerCall>) -> Result<(), Gone> {
        self.orders.try_send(Order::CallAudio(call)).map_err(|_| Gone)
    }

    /// Takes a call away, and waits for what it was. None if it is not there.
    pub(super) fn remove(&self, key: u64) -> Result<Option<Box<S::PerCall>>, Gone> {
        self.orders.try_send(Order::Leave(key)).map_err(|_| Gone)?;
        self.wait(|done| match done {
            Done::Left(left, call) if left == key => Some(call),
            _ => None,
        })
    }

    /// Replaces the device, and waits for the old one.
    pub(super) fn replace(&self, device: Box<S::Device>) -> Result<Option<Box<S::Device>>, Gone> {
        self.orders.try_send(Order::Replace(device)).map_err(|_| Gone)?;
        self.wait(|done| match done {
            Done::Replaced(device) => Some(device),
            Done::Left(..) => None,
        })
    }

    /// Ends the thread and takes what it ran.
    pub(super) fn stop(self) -> Result<Box<S>, Gone> {
        let _ = self.orders.try_send(Order::Stop);
        self.thread.join().map_err(|_| Gone)
    }

    fn wait<T>(&self, mut wanted: impl FnMut(Done<S>) -> Option<T>) -> Result<T, Gone> {
        let until = Instant::now() + OBEDIENCE;
        loop {
            // What nobody waits for any more is dropped here.
            let done = self.done.recv_deadline(until).map_err(|_| Gone)?;
            if let Some(done) = wanted(done) {
                return Ok(done);
            }
        }
    }
}

fn run<S: AudioThread>(side: &mut S, orders: &Receiver<Order<S>>, done: &Sender<Done<S>>) {
    loop {
        loop {
            match orders.try_recv() {
                Ok(order) => {
                    if !obey(side, order, done) {
                        return;
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
        if !side.step() {
            match orders.recv_timeout(READ_TIMEOUT) {
                Ok(order) => {
                    if !obey(side, order, done) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

/// Does as told. Whether to go on.
fn obey<S: AudioThread>(side: &mut S, order: Order<S>, done: &Sender<Done<S>>) -> bool {
    // There is room: whoever orders waits for each.
    match order {
        Order::CallAudio(call) => side.add(call),
        Order::Leave(key) => drop(done.try_send(Done::Left(key, side.remove(key)))),
        Order::Replace(device) => drop(done.try_send(Done::Replaced(side.replace(device)))),
        Order::Stop => return false,
    }
    true
}
