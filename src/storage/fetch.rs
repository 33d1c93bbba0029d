//! Takes what is to be read of a remote place, in order; gives each when it is asked for. Many requests are
//! in flight on the runtime's threads while those who ask work on what has arrived.
//!
//! Who reads says what it wants, in the order in which it will take it ([`Fetch::begin`], on a thread of its
//! own), and takes every want once, by its number ([`Fetch::take`]). Two bounds hold back what is not begun:
//! requests in flight, which follow the bucket's [`Gate`] down and up again, and bytes that were asked for and
//! not yet dropped. As wants begin in order, that cannot lock up for those who take them in order: of
//! several takers, the one furthest behind always finds its own begun, or nothing that is held at all.
//!
//! **Reading in part.** A want may be any range ([`Want::range`]), so a reader that knows where to look begins
//! there, and after it has looked it [asks](Fetch::ask) for a further range of the same object under the same
//! number. Such a request goes ahead of all that has not begun and waits for neither bound: there is one at most
//! for each number somebody is working on. It need not be waited for at once: who has asked for
//! the next range of one object goes on to the next object, and takes the first again later. So a worker
//! should take the first ranges of some objects, ask for what else each of them needs, and then take
//! those: one wait for all of them. [`Want::etag`] holds all ranges of an object to one version.

use std::collections::HashMap;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

use tokio::task::AbortHandle;

use super::http::{Gate, IN_FLIGHT_MAX};
use super::{ObjectInfo, Place, StorageError, runtime};

/// Bytes asked for and not yet dropped: seven pieces of a large object, or some ten thousand small ones.
const HELD_BYTES_MAX: u64 = 128 << 20;
/// What an object costs at least, whatever its size: its key, its place in the books, its request.
const HELD_BYTES_MIN: u64 = 4 << 10;
/// A larger object is not held in memory: it is to be read as a stream.
pub const WHOLE_BYTES_MAX: u64 = 32 << 20;

/// What to read of an object.
#[derive(Clone, Debug)]
pub struct Want {
    pub key: String,
    /// All of it for None.
    pub range: Option<Range<u64>>,
    /// The version it must be; any for None.
    pub etag: Option<String>,
    /// As listed: how much it may be.
    pub size: u64,
}

impl Want {
    fn bytes(&self) -> u64 {
        match &self.range {
            Some(range) => range.end.min(self.size).saturating_sub(range.start),
            None => self.size,
        }
    }
}

/// What was read.
pub struct Fetched {
    /// Of the version that was read.
    pub info: ObjectInfo,
    pub body: Body,
}

/// The bytes of an object or a range of it, counted as held until they are dropped.
pub struct Body {
    bytes: Vec<u8>,
    at: usize,
    /// For what its drop does.
    _held: Held,
}

impl Body {
    /// What is left to be read.
    pub fn left(&self) -> &[u8] {
        &self.bytes[self.at..]
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.left().read(buffer)?;
        self.at += n;
        Ok(n)
    }
}

/// Why a want was not read.
#[derive(Debug)]
pub enum FetchError {
    /// The request failed.
    Open(StorageError),
    /// Its answer broke off, and could not be taken up again.
    Read(StorageError),
    /// It is larger by now than what is held in memory: read it as a stream.
    Grown,
}

type Outcome = Result<Fetched, FetchError>;

/// Requests for a place, in flight or answered and not yet taken. Dropping it ends them.
pub struct Fetch {
    place: Arc<Place>,
    gate: Option<Arc<Gate>>,
    pub(super) held_bytes_max: u64,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Told when what is not begun may begin.
    room: Condvar,
}

#[derive(Default)]
struct State {
    slots: HashMap<usize, Slot>,
    in_flight: usize,
    held_bytes: u64,
    /// What must be so before somebody who waits for room is woken: fewer in flight, and fewer bytes.
    wakes_at: Option<(usize, u64)>,
    closed: bool,
}

#[derive(Default)]
struct Slot {
    request: Option<AbortHandle>,
    outcome: Option<Outcome>,
    waiter: Option<Thread>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, state: &mut State) {
        if state.wakes_at.is_some_and(|(n, b)| state.in_flight <= n && state.held_bytes <= b) {
            state.wakes_at = None;
            self.room.notify_all();
        }
    }
}

/// Bytes counted as held.
struct Held {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Held {
    /// Counts what there is where something else was expected.
    fn corrected(mut self, bytes: u64) -> Held {
        let mut state = self.shared.state();
        state.held_bytes = state.held_bytes - self.bytes + bytes;
        drop(state);
        self.bytes = bytes;
        self
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.held_bytes -= self.bytes;
        self.shared.wake(&mut state);
    }
}

/// A request in flight, until it is dropped.
struct InFlight {
    shared: Arc<Shared>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.in_flight -= 1;
        self.shared.wake(&mut state);
    }
}

impl Place {
    /// Many requests to this place, which must be remote.
    pub fn fetch(&self) -> Fetch {
        Fetch {
            place: Arc::new(self.clone()),
            gate: self.root.gate.clone(),
            held_bytes_max: HELD_BYTES_MAX,
            shared: Arc::default(),
        }
    }
}

impl Fetch {
    /// Begins wants in order, as there is room for them; returns when the last is begun, or after
    /// [`close`](Fetch::close). Numbers are the caller's, each its own.
    pub fn begin(&self, wants: impl IntoIterator<Item = (usize, Want)>) {
        for (number, want) in wants {
            let bytes = want.bytes().max(HELD_BYTES_MIN);
            let mut state = self.shared.state();
            loop {
                if state.closed {
                    return;
                }
                let in_flight_max = self.in_flight_max();
                // What is larger than the bound goes alone.
                let fits = state.held_bytes + bytes <= self.held_bytes_max || state.held_bytes == 0;
                if fits && state.in_flight < in_flight_max {
                    break;
                }
                // Not for every single answer: a thread that is woken for each would cost more than the request.
                let few = in_flight_max - in_flight_max.div_ceil(16);
                state.wakes_at = Some((few, self.held_bytes_max.saturating_sub(bytes)));
                state = self.shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            self.request(&mut state, number, want, bytes);
        }
    }

    /// Asks for more of the object of a number that was taken, ahead of all that has not begun; to be
    /// taken like the first.
    pub fn ask(&self, number: usize, want: Want) {
        let mut state = self.shared.state();
        if !state.closed {
            let bytes = want.bytes().max(HELD_BYTES_MIN);
            self.request(&mut state, number, want, bytes);
        }
    }

    /// Waits for a want and takes it. None after [`close`](Fetch::close): who closed it knows why.
    pub fn take(&self, number: usize) -> Option<Outcome> {
        let mut state = self.shared.state();
        loop {
            if state.closed {
                return None;
            }
            let slot = state.slots.entry(number).or_default();
            if let Some(outcome) = slot.outcome.take() {
                state.slots.remove(&number);
                return Some(outcome);
            }
            slot.waiter = Some(thread::current());
            drop(state);
            thread::park();
            state = self.shared.state();
        }
    }

    /// Ends everything that was begun, and whoever waits for it; whether it was not closed before.
    pub fn close(&self) -> bool {
        let mut state = self.shared.state();
        let first = !std::mem::replace(&mut state.closed, true);
        let slots = std::mem::take(&mut state.slots);
        self.shared.room.notify_all();
        // What a slot holds is dropped outside of the lock, which its drop takes.
        drop(state);
        for slot in slots.into_values() {
            if let Some(request) = &slot.request {
                request.abort();
            }
            if let Some(waiter) = &slot.waiter {
                waiter.unpark();
            }
        }
        first
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> u64 {
        self.shared.state().held_bytes
    }

    /// How many are in flight.
    #[cfg(test)]
    pub(super) fn begun(&self) -> usize {
        self.shared.state().in_flight
    }

    /// Some room is left for those that go ahead.
    fn in_flight_max(&self) -> usize {
        let bound = self.gate.as_ref().map_or(IN_FLIGHT_MAX, |gate| gate.bound());
        (bound - bound / 16).max(1) as usize
    }

    fn request(&self, state: &mut State, number: usize, want: Want, bytes: u64) {
        state.in_flight += 1;
        state.held_bytes += bytes;
        let in_flight = InFlight { shared: Arc::clone(&self.shared) };
        let held = Held { shared: Arc::clone(&self.shared), bytes };
        let (place, shared) = (Arc::clone(&self.place), Arc::clone(&self.shared));
        let request = runtime().spawn(async move {
            let outcome = get(&place, &want, held).await;
            drop(in_flight);
            let mut state = shared.state();
            let Some(slot) = state.slots.get_mut(&number) else {
                drop(state);
                // Closed meanwhile. The outcome is dropped outside of the lock.
                return;
            };
            slot.request = None;
            slot.outcome = Some(outcome);
            if let Some(waiter) = slot.waiter.take() {
                waiter.unpark();
            }
        });
        state.slots.entry(number).or_default().request = Some(request.abort_handle());
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.close();
    }
}

async fn get(place: &Place, want: &Want, held: Held) -> Outcome {
    let (from, to) = match &want.range {
        Some(range) => (range.start, Some(range.end)),
        None => (0, None),
    };
    let opened = place.open_remote_from(&want.key, from, to, want.etag.as_deref()).await;
    let (info, reader) = opened.map_err(FetchError::Open)?;
    let mut bytes = Vec::new();
    if let Some(reader) = reader {
        if reader.bytes_left() > WHOLE_BYTES_MAX.max(want.bytes()) {
            return Err(FetchError::Grown);
        }
        bytes = reader.rest().await.map_err(FetchError::Read)?;
    }
    let held = match (bytes.len() as u64).max(HELD_BYTES_MIN) {
        expected if expected == held.bytes => held,
        other => held.corrected(other),
    };
    Ok(Fetched { info, body: Body { bytes, at: 0, _held: held } })
}
