//! Takes a place; gives its one writer a lease that every store can hold: an object that is renewed while
//! its holder lives. Local folders use the operating system's lock, which dies with its process.
//!
//! A lease on an object store can never stop a write that is already on its way: its holder asks
//! [`Lease::check`] before every step that publishes, which fails well before anyone else may take
//! the lease over. No clock is compared with another machine's: times are the store's own, or this
//! process's monotonic clock.

use std::fs::{File, TryLockError};
use std::path::Path as FsPath;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::{Either, select};
use object_store::path::Path;
use object_store::{
    GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, PutResult,
    UpdateVersion,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::create::{Abilities, CreateOnly, is_passing, not_able, random_name};
use super::error::StorageError;
use super::guard::{Guarded, STOP};
use super::{Place, block_on, runtime};

/// The object that a lease is.
const LEASE_KEY: &str = "_lease";
/// An object written to read the store's clock off it.
const TICKET_KEY: &str = "_lease_ticket";
/// How long a release may take when the process ends.
const RELEASE_MAX: Duration = Duration::from_secs(5);
/// By the store's clock a lease must be over by a third of its term, and by this, which covers stores that
/// tell times in whole seconds.
const STORE_MARGIN_MIN: Duration = Duration::from_secs(2);
/// A lease that claims a longer term than this is broken; nobody waits longer for it.
const TERM_MAX: Duration = Duration::from_secs(3600);
/// The longest time left to other writers to show themselves where the store cannot refuse one.
const SETTLE_MAX: Duration = Duration::from_secs(3);
/// How often a lease may vanish, or a race be too slow to count, before that is an error.
const ATTEMPTS_MAX: usize = 10;
/// How often it is tried to delete a lease that is over.
const RELEASES_MAX: usize = 3;
/// After a write without an answer, which may still be on its way.
const UNANSWERED_PAUSE: Duration = Duration::from_millis(200);

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another writer is alive and holds it (exit 6).
    #[error("{place} is held by another writer ({holder})")]
    Held { place: String, holder: String },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What the lease object says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    /// For people: which process of which host.
    holder: String,
    /// Random; tells two holders of one name apart.
    token: String,
    /// Grows with each renewal, so that the object changes.
    sequence: u64,
    term_ms: u64,
}

/// A lease as it was read.
#[derive(Clone, Debug)]
struct Seen {
    /// None when it cannot be understood.
    content: Option<Content>,
    e_tag: Option<String>,
    last_modified_ms: i64,
    version: Option<String>,
}

impl Seen {
    fn holder(&self) -> String {
        self.content.as_ref().map_or("an unknown one".to_owned(), |c| c.holder.clone())
    }

    fn is_of(&self, token: &str) -> bool {
        self.content.as_ref().is_some_and(|content| content.token == token)
    }

    fn same_as(&self, other: &Seen) -> bool {
        self.content == other.content && self.e_tag == other.e_tag
    }

    fn term(&self, ours: Duration) -> Duration {
        let claimed = self.content.as_ref().map(|c| Duration::from_millis(c.term_ms));
        claimed.unwrap_or(ours).min(TERM_MAX)
    }
}

/// Held by the one writer of a place; released when dropped. See [`Place::lease`].
#[derive(Debug)]
pub struct Lease {
    kind: LeaseKind,
}

#[derive(Debug)]
enum LeaseKind {
    Local(#[allow(dead_code, reason = "held for what its drop does")] File),
    Remote(Remote),
}

#[derive(Debug)]
struct Remote {
    shared: Arc<Shared>,
    /// Set to true to end the renewal.
    over: watch::Sender<bool>,
    renewal: Option<tokio::task::JoinHandle<()>>,
}

/// What the holder and the renewal share.
#[derive(Debug)]
struct Shared {
    store: Arc<Guarded>,
    path: Path,
    shown: String,
    term: Duration,
    /// Whether the store replaces an object only if it is still the version named.
    update: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    content: Content,
    version: UpdateVersion,
    /// When the last renewal that succeeded was begun.
    renewed_at: Instant,
    lost: Option<String>,
}

/// Keeps every other process of this host from locking the same folder until the file is closed, or this
/// process ends, however it ends. None when another holds it.
fn lock(folder: &FsPath, place: &Place) -> Result<Option<File>, StorageError> {
    let failed = |error: std::io::Error| StorageError::other("lock", place, error.to_string());
    std::fs::create_dir_all(folder).map_err(failed)?;
    let file = File::create(folder.join("_lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

impl Place {
    /// Whether a writer holds this place, as far as an object tells it: a local folder's lock shows only to who
    /// tries to take it.
    pub fn is_leased(&self) -> Result<bool, StorageError> {
        Ok(self.local_folder().is_none() && self.head(LEASE_KEY)?.is_some())
    }

    /// Makes this process the one writer of this place, until the lease is dropped or lost. `holder` tells
    /// other writers who we are, and `term` how long we may be silent before they take over.
    ///
    /// Without `abilities` nothing is taken on trust: whoever writes the lease waits a little and
    /// reads it back. A lease that is there is waited for, at most one whole term; `waiting` is told
    /// why, once. Waits on the runtime: for plain threads.
    pub fn lease(
        &self,
        holder: &str,
        term: Duration,
        abilities: Option<&Abilities>,
        waiting: &dyn Fn(&str),
    ) -> Result<Lease, LeaseError> {
        if let Some(folder) = self.local_folder() {
            return match lock(folder, self)? {
                Some(lock) => Ok(Lease { kind: LeaseKind::Local(lock) }),
                None => Err(LeaseError::Held {
                    place: self.to_string(),
                    holder: "another process of this machine".to_owned(),
                }),
            };
        }
        let path = self.path("lease", LEASE_KEY)?;
        let token = random_name();
        let content = Content {
            holder: holder.to_owned(),
            token,
            sequence: 1,
            term_ms: u64::try_from(term.as_millis()).unwrap_or(u64::MAX),
        };
        let taker = Taker {
            store: Arc::clone(&self.root),
            path,
            ticket: self.path("lease", &format!("{TICKET_KEY}-{}", random_name()))?,
            shown: self.to_string(),
            content,
            term,
            create: abilities.map(|abilities| abilities.create),
            update: abilities.is_some_and(|abilities| abilities.update_if_match),
            waiting,
        };
        let shared = Arc::new(block_on(taker.take())?);
        let (over, ending) = watch::channel(false);
        let renewal = runtime().spawn(renew(Arc::clone(&shared), ending));
        Ok(Lease { kind: LeaseKind::Remote(Remote { shared, over, renewal: Some(renewal) }) })
    }
}

impl Lease {
    /// Whether the lease still holds, with a third of its term to spare for what is done next. To be
    /// called before every step that publishes. Asks no store.
    pub fn check(&self) -> Result<(), StorageError> {
        match &self.kind {
            LeaseKind::Local(_) => Ok(()),
            LeaseKind::Remote(remote) => remote.shared.check(),
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.over.send_replace(true);
        let renewal = self.renewal.take();
        block_on(async {
            let released = async {
                // A renewal on its way would put the lease back after it was deleted.
                if let Some(renewal) = renewal {
                    let _ = renewal.await;
                }
                self.shared.release().await;
            };
            // What cannot be released ends with its term.
            let _ = tokio::time::timeout(RELEASE_MAX, released).await;
        });
    }
}

/// The body of every lease object.
fn payload(content: &Content) -> PutPayload {
    serde_json::to_vec(content).expect("plain text and numbers are JSON").into()
}

/// None when there is no lease.
async fn look(store: &dyn ObjectStore, path: &Path) -> object_store::Result<Option<Seen>> {
    let got = match store.get_opts(path, GetOptions::default()).await {
        Ok(got) => got,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let meta = got.meta.clone();
    let bytes = got.bytes().await?;
    Ok(Some(Seen {
        content: serde_json::from_slice(&bytes).ok(),
        e_tag: meta.e_tag,
        last_modified_ms: meta.last_modified.timestamp_millis(),
        version: meta.version,
    }))
}

/// Whether by the store's clock a lease last written at `lease_ms` is over for good at `now_ms`.
fn over_by_store(lease_ms: i64, now_ms: i64, term: Duration) -> bool {
    let margin = (term / 3).max(STORE_MARGIN_MIN);
    let needed_ms = i64::try_from((term + margin).as_millis()).unwrap_or(i64::MAX);
    // Stores that give no time give 1970.
    lease_ms > 0 && now_ms.saturating_sub(lease_ms) > needed_ms
}

/// Long enough for another writer, who also found no lease, to have written one.
fn settle_time(term: Duration) -> Duration {
    (term / 6).min(SETTLE_MAX)
}

/// A pause that a stop ends.
pub(super) async fn pause(length: Duration) -> object_store::Result<()> {
    STOP.read(async {
        tokio::time::sleep(length).await;
        Ok(())
    })
    .await
}

/// How another writer's lease ended.
enum Watched {
    Alive(String),
    Gone,
    Silent,
}

struct Taker<'w> {
    store: Arc<Guarded>,
    path: Path,
    ticket: Path,
    shown: String,
    content: Content,
    term: Duration,
    create: Option<CreateOnly>,
    update: bool,
    waiting: &'w dyn Fn(&str),
}

impl Taker<'_> {
    async fn take(self) -> Result<Shared, LeaseError> {
        let (store, path) = (Arc::clone(&self.store), self.path.clone());
        let (token, create) = (self.content.token.clone(), self.create);
        let taken = self.try_to_take().await;
        // It may have been written, and what failed came after. Where the store cannot refuse a writer it
        // stays: another may have looked before it was there.
        if taken.is_err() && create == Some(CreateOnly::IfNoneMatch) {
            let gone = give_back(&*store.inner, &path, &token);
            let _ = tokio::time::timeout(RELEASE_MAX, gone).await;
        }
        taken
    }

    async fn try_to_take(self) -> Result<Shared, LeaseError> {
        for attempt in 0..ATTEMPTS_MAX {
            // Everything that is trusted below was read after this.
            let begun = Instant::now();
            let seen = look(&*self.store, &self.path).await;
            let taken = match seen.map_err(|error| self.failed(&error))? {
                None => self.create(begun).await,
                Some(seen) => {
                    // Asked before each wait, and free: a lease that was left yesterday costs no wait.
                    let over = attempt == 0 && self.over_by_ticket(&seen).await;
                    let watched = match over {
                        true => Watched::Silent,
                        false => self.watch(&seen).await.map_err(|error| self.failed(&error))?,
                    };
                    match watched {
                        Watched::Alive(holder) => return Err(self.held(holder)),
                        Watched::Gone => continue,
                        Watched::Silent => self.take_over(&seen).await,
                    }
                }
            };
            match taken.map_err(|error| self.failed(&error))? {
                Taken::Ours(state) => {
                    return Ok(Shared {
                        store: self.store,
                        path: self.path,
                        shown: self.shown,
                        term: self.term,
                        update: self.update,
                        state: Mutex::new(*state),
                    });
                }
                Taken::Others(holder) => return Err(self.held(holder)),
                Taken::Again => {}
            }
        }
        let cause = format!("nobody could be made its holder in {ATTEMPTS_MAX} attempts");
        Err(StorageError::other("lease", &self.shown, cause).into())
    }

    fn failed(&self, error: &object_store::Error) -> LeaseError {
        StorageError::from_error("lease", &self.shown, error).into()
    }

    fn held(&self, holder: String) -> LeaseError {
        LeaseError::Held { place: self.shown.clone(), holder }
    }

    /// There is no lease: makes one.
    async fn create(&self, begun: Instant) -> object_store::Result<Taken> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let written = match self.create {
            // Looked up a moment ago.
            Some(CreateOnly::UnderLease) => self.overwrite().await,
            create => {
                let create = create.unwrap_or(CreateOnly::IfNoneMatch);
                let store = Guarded { create, ..(*self.store).clone() };
                let created = store.put_opts(&self.path, payload(&self.content), options).await;
                match created {
                    Err(error) if not_able(&error) => self.overwrite().await,
                    created => created,
                }
            }
        };
        match written {
            Ok(_) if self.create == Some(CreateOnly::IfNoneMatch) => self.mine(begun).await,
            Ok(_) => self.settle(begun).await,
            // An acknowledgement that was lost looks like this too: the object tells.
            Err(object_store::Error::AlreadyExists { .. }) => self.mine(begun).await,
            Err(error) if is_passing(&error) => self.unanswered(begun, error).await,
            Err(error) => Err(error),
        }
    }

    /// A write without an answer, which nobody repeats for us where it has a condition. If it did arrive, the
    /// object tells; if not, it is tried again, by one who looks first.
    async fn unanswered(
        &self,
        begun: Instant,
        error: object_store::Error,
    ) -> object_store::Result<Taken> {
        // Not `settle`: where nothing refuses a writer, one who cannot know when its own write arrived
        // cannot know whether others saw it.
        if self.create != Some(CreateOnly::IfNoneMatch) {
            return Err(error);
        }
        pause(UNANSWERED_PAUSE).await?;
        self.mine(begun).await
    }

    /// The lease's holder is silent: takes it, if it is still the one that was watched.
    async fn take_over(&self, seen: &Seen) -> object_store::Result<Taken> {
        let begun = Instant::now();
        if self.update && seen.e_tag.is_some() {
            let version =
                UpdateVersion { e_tag: seen.e_tag.clone(), version: seen.version.clone() };
            let options = PutOptions { mode: PutMode::Update(version), ..PutOptions::default() };
            let updated = self.store.put_opts(&self.path, payload(&self.content), options).await;
            return match updated {
                Ok(_) | Err(object_store::Error::Precondition { .. }) => self.mine(begun).await,
                Err(error) if is_passing(&error) => self.unanswered(begun, error).await,
                Err(error) => Err(error),
            };
        }
        match look(&*self.store, &self.path).await? {
            None => return Ok(Taken::Again),
            Some(now) if !now.same_as(seen) => return Ok(Taken::Others(now.holder())),
            Some(_) => {}
        }
        self.overwrite().await?;
        self.settle(begun).await
    }

    async fn overwrite(&self) -> object_store::Result<PutResult> {
        self.store.put(&self.path, payload(&self.content)).await
    }

    /// After a write that no store refuses: of all who wrote, the last one holds the lease. Whoever was too
    /// slow to be sure that the others saw it stands back.
    async fn settle(&self, begun: Instant) -> object_store::Result<Taken> {
        let settle = settle_time(self.term);
        if begun.elapsed() > settle {
            // What was written stays: it may have replaced a lease that somebody relies on, and whoever
            // takes it for one waits until that holder has noticed.
            return Ok(Taken::Again);
        }
        pause(settle * 2).await?;
        self.mine(begun).await
    }

    /// Reads the lease back: ours, or whose.
    async fn mine(&self, begun: Instant) -> object_store::Result<Taken> {
        match look(&*self.store, &self.path).await? {
            None => Ok(Taken::Again),
            Some(seen) if seen.is_of(&self.content.token) => Ok(Taken::Ours(Box::new(State {
                content: self.content.clone(),
                version: UpdateVersion { e_tag: seen.e_tag, version: seen.version },
                renewed_at: begun,
                lost: None,
            }))),
            Some(seen) => Ok(Taken::Others(seen.holder())),
        }
    }

    /// Asks the store's clock by writing an object of our own. A store that cannot be asked is watched
    /// instead.
    async fn over_by_ticket(&self, seen: &Seen) -> bool {
        let now_ms = async {
            self.store.put(&self.ticket, PutPayload::new()).await?;
            let ticket = self.store.head(&self.ticket).await;
            self.store.delete(&self.ticket).await?;
            Ok::<i64, object_store::Error>(ticket?.last_modified.timestamp_millis())
        };
        let now_ms = now_ms.await;
        now_ms.is_ok_and(|now| over_by_store(seen.last_modified_ms, now, seen.term(self.term)))
    }

    async fn watch(&self, seen: &Seen) -> object_store::Result<Watched> {
        let term = seen.term(self.term);
        let begun = Instant::now();
        (self.waiting)(&format!(
            "{} is held by another writer ({}): waiting up to {} s to see whether it is alive",
            self.shown,
            seen.holder(),
            term.as_secs().max(1)
        ));
        loop {
            // Six looks a term: a holder renews three times in it.
            pause((term / 6).max(Duration::from_millis(5))).await?;
            match look(&*self.store, &self.path).await? {
                None => return Ok(Watched::Gone),
                Some(now) if !now.same_as(seen) => return Ok(Watched::Alive(now.holder())),
                Some(_) if begun.elapsed() > term => return Ok(Watched::Silent),
                Some(_) => {}
            }
        }
    }
}

/// Terms for which a renewal that is late is waited for.
const LATE_TERMS_MAX: u32 = 3;

/// The outcome of one attempt.
enum Taken {
    Ours(Box<State>),
    Others(String),
    /// Nobody's as yet.
    Again,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A renewal that is late (a busy host, a store that stumbles) is waited for: once it is done, nobody can
    /// have come between.
    fn check(&self) -> Result<(), StorageError> {
        let begun = Instant::now();
        loop {
            let silent = {
                let state = self.state();
                if let Some(cause) = &state.lost {
                    let (place, cause) = (self.shown.clone(), cause.clone());
                    return Err(StorageError::LeaseLost { place, cause });
                }
                state.renewed_at.elapsed()
            };
            if silent <= self.term / 3 * 2 {
                return Ok(());
            }
            if super::stopped() {
                return Err(StorageError::Stopped);
            }
            if begun.elapsed() > self.term * LATE_TERMS_MAX {
                return Err(StorageError::Transient {
                    operation: "renew the lease on",
                    place: self.shown.clone(),
                    cause: format!("no answer for {} s", silent.as_secs()),
                });
            }
            std::thread::sleep(self.term / 50);
        }
    }

    /// Writes the lease once more. `Ok(false)` when it is lost for good.
    async fn renew_once(&self) -> object_store::Result<bool> {
        let (content, version) = {
            let state = self.state();
            let mut content = state.content.clone();
            content.sequence += 1;
            (content, state.version.clone())
        };
        let begun = Instant::now();
        let written = match self.update && version.e_tag.is_some() {
            true => {
                let mode = PutMode::Update(version);
                let options = PutOptions { mode, ..PutOptions::default() };
                match self.store.put_opts(&self.path, payload(&content), options).await {
                    Ok(written) => written,
                    // A renewal whose acknowledgement was lost looks like another's: the object tells.
                    Err(object_store::Error::Precondition { .. }) => {
                        return self.reread(begun).await;
                    }
                    Err(error) => return Err(error),
                }
            }
            false => {
                match look(&*self.store, &self.path).await? {
                    Some(seen) if seen.is_of(&content.token) => {}
                    other => return Ok(self.lose(other)),
                }
                self.store.put(&self.path, payload(&content)).await?
            }
        };
        let mut state = self.state();
        state.content = content;
        state.version = UpdateVersion { e_tag: written.e_tag, version: written.version };
        state.renewed_at = begun;
        Ok(true)
    }

    async fn reread(&self, begun: Instant) -> object_store::Result<bool> {
        let seen = look(&*self.store, &self.path).await?;
        let mut state = self.state();
        match seen {
            Some(Seen { content: Some(content), e_tag, version, .. })
                if content.token == state.content.token =>
            {
                state.content = content;
                state.version = UpdateVersion { e_tag, version };
                state.renewed_at = begun;
                Ok(true)
            }
            other => {
                drop(state);
                Ok(self.lose(other))
            }
        }
    }

    fn lose(&self, seen: Option<Seen>) -> bool {
        let cause = match seen {
            None => "it was deleted".to_owned(),
            Some(seen) => format!("another writer has it ({})", seen.holder()),
        };
        self.state().lost = Some(cause);
        false
    }

    async fn release(&self) {
        let (token, lost) = {
            let state = self.state();
            (state.content.token.clone(), state.lost.is_some())
        };
        if !lost {
            give_back(&*self.store.inner, &self.path, &token).await;
        }
    }
}

/// Deletes the lease if it is the token's. Asks a few times: what stays behind costs the next run the
/// wait for its end. Not through the guard: a stop must not keep it from that.
async fn give_back(store: &dyn ObjectStore, path: &Path, token: &str) {
    for _ in 0..RELEASES_MAX {
        let released = async {
            match look(store, path).await? {
                Some(seen) if seen.is_of(token) => store.delete(path).await,
                _ => Ok(()),
            }
        };
        if released.await.is_ok() {
            return;
        }
    }
}

/// Renews the lease until told to end, or until it is lost.
async fn renew(shared: Arc<Shared>, mut ending: watch::Receiver<bool>) {
    // Taking it may have needed a pause, during which nothing was renewed.
    let mut rest = (shared.term / 3).saturating_sub(shared.state().renewed_at.elapsed());
    loop {
        let ended = ending.wait_for(|over| *over);
        let sleep = tokio::time::sleep(rest);
        if let Either::Left(_) = select(std::pin::pin!(ended), std::pin::pin!(sleep)).await {
            return;
        }
        // One that takes longer may still arrive: the next one reads first, or names the version.
        let renewed = tokio::time::timeout(shared.term / 3, shared.renew_once()).await;
        rest = match renewed {
            Ok(Ok(true)) => shared.term / 3,
            Ok(Ok(false)) => return,
            Ok(Err(_)) | Err(_) => shared.term / 12,
        };
    }
}
