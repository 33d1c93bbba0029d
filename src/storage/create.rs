//! Takes a place; finds by racing writers what its store can do, and creates objects that must not be
//! there yet in the way that it can. A claim is worth nothing here: stores exist that answer 200 to
//! every writer of a race, and one winner alone is the proof.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, PutResult,
    UpdateVersion,
};
use serde::{Deserialize, Serialize};

use super::error::{Refusal, StorageError, refusal, status_in};
use super::guard::Guarded;
use super::{Place, block_on};

/// How often a write with a condition is tried.
const TRIES_MAX: u32 = 4;
/// Half of the first pause between the tries; each is twice as long as the one before.
const REPEAT_PAUSE: Duration = Duration::from_millis(50);
/// Writers of one race. Eight in flight at once have exposed every store that only looks before it writes.
const RACERS: usize = 8;
/// Races of each kind; a store that is right now and then must be found out.
const ROUNDS: usize = 5;
/// Races that proved nothing before that is taken for an answer: nobody won (the store refuses while several
/// try), or a racer was not answered, who may have been the winner.
const VOID_ROUNDS_MAX: usize = 3;

/// How an object is made that must not be there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreateOnly {
    /// The store refuses the second writer: `If-None-Match: *`, or what the store has for it.
    IfNoneMatch,
    /// It is written under another name and copied, and the store refuses the second copy.
    CopyHeader,
    /// Looked up, then written. Right only while one writer alone holds the place's lease.
    UnderLease,
}

/// What a store was found to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abilities {
    /// A listing shows what was just written.
    pub list: bool,
    /// A part of an object can be read.
    pub range: bool,
    /// What is deleted is gone.
    pub delete: bool,
    /// The surest way to create.
    pub create: CreateOnly,
    /// An object is replaced only if it is still the version named, races included.
    pub update_if_match: bool,
    /// For people: one sentence for each thing tried.
    pub found: Vec<String>,
}

/// A write to a name of its own, then a copy that the store refuses when the target is there. Listings of
/// a Delta log pass over such names.
pub(super) async fn by_copy(
    store: &Arc<dyn ObjectStore>,
    to: &Path,
    payload: PutPayload,
) -> object_store::Result<PutResult> {
    let name = format!("_commit_{}.json.tmp", random_name());
    let parent = to.as_ref().rsplit_once('/').map_or("", |(parent, _)| parent);
    let staged = Path::parse(super::join_key(parent, &name))?;
    store.put(&staged, payload).await?;
    let options = CopyOptions { mode: CopyMode::Create, ..CopyOptions::default() };
    let copied = store.copy_opts(&staged, to, options).await;
    // What is left behind is litter that nothing reads; the outcome of the copy is what counts.
    let _ = store.delete(&staged).await;
    copied.map(|()| PutResult { e_tag: None, version: None })
}

/// A look, then a plain write: two writers at once would both be let in, so one must hold the lease.
pub(super) async fn by_look(
    store: &Arc<dyn ObjectStore>,
    to: &Path,
    payload: PutPayload,
) -> object_store::Result<PutResult> {
    match store.head(to).await {
        Ok(_) => {
            let source = "it was there before".into();
            Err(object_store::Error::AlreadyExists { path: to.to_string(), source })
        }
        Err(object_store::Error::NotFound { .. }) => store.put(to, payload).await,
        Err(error) => Err(error),
    }
}

/// One try of a write with a condition.
pub(super) async fn once(
    store: &Arc<dyn ObjectStore>,
    create: CreateOnly,
    to: &Path,
    payload: PutPayload,
    options: PutOptions,
) -> object_store::Result<PutResult> {
    match (&options.mode, create) {
        (PutMode::Create, CreateOnly::CopyHeader) => by_copy(store, to, payload).await,
        _ => store.put_opts(to, payload, options).await,
    }
}

/// A write with a condition, again when it gets no answer: the client repeats only what may be done twice. The
/// object tells whether the write had arrived, by its bytes: nobody else writes the same, because
/// entries of a log and leases hold random numbers.
pub(super) async fn repeated(
    store: &Arc<dyn ObjectStore>,
    create: CreateOnly,
    to: &Path,
    payload: PutPayload,
    options: PutOptions,
) -> object_store::Result<PutResult> {
    let mut tries = 1;
    loop {
        let error = match once(store, create, to, payload.clone(), options.clone()).await {
            Err(error) if tries < TRIES_MAX && is_passing(&error) => error,
            outcome => return outcome,
        };
        super::lease::pause(REPEAT_PAUSE * (1 << tries) + jitter(REPEAT_PAUSE)).await?;
        tries += 1;
        let found = async {
            let got = store.get(to).await?;
            let meta = got.meta.clone();
            Ok((meta, got.bytes().await?))
        };
        let source = "it was written meanwhile".into();
        let path = to.to_string();
        match (found.await, &options.mode) {
            (Ok((meta, bytes)), _) if bytes == Bytes::from(payload.clone()) => {
                return Ok(PutResult { e_tag: meta.e_tag, version: meta.version });
            }
            (Ok((meta, _)), PutMode::Update(version)) if meta.e_tag == version.e_tag => {}
            (Ok(_), PutMode::Update(_)) => {
                return Err(object_store::Error::Precondition { path, source });
            }
            (Ok(_), _) => return Err(object_store::Error::AlreadyExists { path, source }),
            (Err(object_store::Error::NotFound { .. }), PutMode::Create) => {}
            // What went wrong first says more.
            (Err::<_, object_store::Error>(_), _) => return Err(error),
        }
    }
}

/// Up to so long, at random: writers that were cut off together do not come back together.
pub(super) fn jitter(longest: Duration) -> Duration {
    let longest_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX - 1);
    Duration::from_millis(random_word() % (longest_ms + 1))
}

/// 128 random bits in hex, from the keys that the standard library seeds its hash maps with.
pub fn random_name() -> String {
    format!("{:016x}{:016x}", random_word(), random_word())
}

fn random_word() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Whether the store does not know what it was asked for, as against refusing or failing.
pub(super) fn not_able(error: &object_store::Error) -> bool {
    use object_store::Error::*;
    matches!(error, NotImplemented { .. } | NotSupported { .. })
        || matches!(refusal(error), Some(Refusal::NotImplemented(_)))
        || matches!(status_in(&error.to_string()), Some(400 | 405 | 501))
}

/// The outcome of one kind of race.
enum Raced {
    Right,
    /// Why it must not be relied on, as the second half of a sentence.
    Wrong(String),
}

/// What one race shows.
enum Judged {
    Shown(Raced),
    /// Nobody won, which proves nothing.
    NobodyWon,
    /// Nor does a race of which an outcome is not known.
    Unanswered(object_store::Error),
}

/// Counts the races of one kind.
#[derive(Default)]
struct Rounds {
    right: usize,
    void: usize,
}

impl Rounds {
    /// The end of the races, if this one ends them.
    async fn add(&mut self, judged: Judged) -> object_store::Result<Option<Raced>> {
        let unanswered = match judged {
            Judged::Shown(Raced::Right) => {
                self.right += 1;
                return Ok((self.right == ROUNDS).then_some(Raced::Right));
            }
            Judged::Shown(wrong) => return Ok(Some(wrong)),
            Judged::NobodyWon => None,
            Judged::Unanswered(error) => Some(error),
        };
        self.void += 1;
        match unanswered {
            None if self.void < VOID_ROUNDS_MAX => {}
            None => {
                let why = format!("nobody won any of {} races", self.void);
                return Ok(Some(Raced::Wrong(why)));
            }
            // A store that does not answer is no store that cannot.
            Some(error) if self.void == VOID_ROUNDS_MAX => return Err(error),
            Some(_) => super::lease::pause(VOID_PAUSE).await?,
        }
        Ok(None)
    }
}

/// After a race without an answer: what broke the connections is mostly over by then.
const VOID_PAUSE: Duration = Duration::from_millis(100);

/// One racer's outcome: whether it won, or that the store does not know the request.
fn won(outcome: object_store::Result<PutResult>) -> object_store::Result<Option<bool>> {
    use object_store::Error::*;
    match outcome {
        Ok(_) => Ok(Some(true)),
        Err(AlreadyExists { .. } | Precondition { .. } | NotModified { .. }) => Ok(Some(false)),
        Err(error) if not_able(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a request may have failed by the way and not by the store's answer.
pub(super) fn is_passing(error: &object_store::Error) -> bool {
    StorageError::from_error("check", "", error).is_transient()
}

/// The racers' bytes differ, so that the object tells whose it is.
fn racer_bytes(racer: usize) -> Bytes {
    Bytes::from(format!("faceledger probe {racer}"))
}

impl Place {
    /// From now on what must not be there yet is created this way: the Delta log's commits above all, which
    /// go through the store that this place gives them.
    pub fn with_create(mut self, create: CreateOnly) -> Place {
        self.root = Arc::new(Guarded { create, ..(*self.root).clone() });
        self
    }

    /// Finds out what the store of this place can do, by doing it: small objects are written, raced for,
    /// read and deleted again. A store that does not know a condition is a finding; one that
    /// denies a write is an error. A few hundred requests at most.
    pub fn probe_create(&self) -> Result<Abilities, StorageError> {
        let made = self.local.as_deref().map(super::local::missing_folders).unwrap_or_default();
        let folder = format!("{}{}", super::PROBE_PREFIX, random_name());
        let prefix = self.path("check", &folder)?;
        let written = Mutex::default();
        // What a repetition would mend must show here.
        let store = Arc::new(Guarded { repeats: false, ..(*self.root).clone() });
        let probe = Probe { store, prefix, written };
        let found = block_on(async {
            let found = probe.run().await;
            // Whatever happened: nothing of ours stays. Its own failure would say no more.
            probe.clear().await;
            found
        });
        if let Some(local) = &self.local {
            let _ = std::fs::remove_dir(local.join(&folder));
        }
        super::local::remove_made(made);
        found.map_err(|error| StorageError::from_error("check", self, &error))
    }
}

struct Probe {
    store: Arc<Guarded>,
    prefix: Path,
    /// What was written, for a store whose listings do not show it.
    written: Mutex<Vec<Path>>,
}

impl Probe {
    fn key(&self, name: String) -> Path {
        let key = self.prefix.clone().join(name);
        self.written.lock().unwrap_or_else(PoisonError::into_inner).push(key.clone());
        key
    }

    async fn run(&self) -> object_store::Result<Abilities> {
        let mut found = Vec::new();
        let mut say = |what: &str, able: bool, why: String| {
            let answer = if able { "yes" } else { "no" };
            found.push(format!("{what}: {answer}, {why}."));
            able
        };

        let key = self.key("object".to_owned());
        let bytes = Bytes::from_static(b"0123456789");
        self.store.put(&key, bytes.clone().into()).await?;
        let listed = answered(self.store.list(Some(&self.prefix)).try_collect::<Vec<_>>().await)?;
        let list = listed.is_some_and(|metas| metas.iter().any(|meta| meta.location == key));
        let list = say("list", list, "an object just written was looked for".to_owned());
        let part = answered(self.store.get_range(&key, 2..5).await)?;
        let range = say(
            "range",
            part.as_deref() == Some(b"234".as_slice()),
            "3 bytes of 10 were asked for".to_owned(),
        );
        let deleted = answered(self.store.delete(&key).await)?.is_some();
        let gone = match self.store.head(&key).await {
            Err(object_store::Error::NotFound { .. }) => deleted,
            Ok(_) => false,
            Err(error) => return Err(error),
        };
        let delete = say("delete", gone, "the object was looked up afterwards".to_owned());

        let raced = format!("{ROUNDS} races of {RACERS} writers");
        let right = |won: &Raced| matches!(won, Raced::Right);
        let why = |won: &Raced| match won {
            Raced::Right => format!("exactly one won each of {raced}"),
            Raced::Wrong(why) => why.clone(),
        };
        let plain = self.race_create(CreateOnly::IfNoneMatch).await?;
        say("create by If-None-Match", right(&plain), why(&plain));
        let create = if right(&plain) {
            CreateOnly::IfNoneMatch
        } else {
            let copied = self.race_create(CreateOnly::CopyHeader).await?;
            match say("create by a copy that overwrites nothing", right(&copied), why(&copied)) {
                true => CreateOnly::CopyHeader,
                false => CreateOnly::UnderLease,
            }
        };
        let updated = self.race_update().await?;
        let update_if_match = say("update by If-Match", right(&updated), why(&updated));
        Ok(Abilities { list, range, delete, create, update_if_match, found })
    }

    async fn race_create(&self, create: CreateOnly) -> object_store::Result<Raced> {
        let store = Guarded { create, ..(*self.store).clone() };
        let mut rounds = Rounds::default();
        loop {
            let key = self.key(format!("create-{}", random_name()));
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let racers = (0..RACERS)
                .map(|racer| store.put_opts(&key, racer_bytes(racer).into(), options.clone()));
            let judged = self.judge(&key, join_all(racers).await).await?;
            if let Some(end) = rounds.add(judged).await? {
                return Ok(end);
            }
        }
    }

    async fn race_update(&self) -> object_store::Result<Raced> {
        let mut rounds = Rounds::default();
        loop {
            let key = self.key(format!("update-{}", random_name()));
            let written = self.store.put(&key, Bytes::from_static(b"before").into()).await?;
            let e_tag = match written.e_tag {
                Some(e_tag) => Some(e_tag),
                None => self.store.head(&key).await?.e_tag,
            };
            let Some(e_tag) = e_tag else {
                return Ok(Raced::Wrong("the store gives no ETag".to_owned()));
            };
            let version = UpdateVersion { e_tag: Some(e_tag), version: written.version };
            let options = PutOptions { mode: PutMode::Update(version), ..PutOptions::default() };
            let racers = (0..RACERS)
                .map(|racer| self.store.put_opts(&key, racer_bytes(racer).into(), options.clone()));
            let judged = self.judge(&key, join_all(racers).await).await?;
            if let Some(end) = rounds.add(judged).await? {
                return Ok(end);
            }
        }
    }

    async fn judge(
        &self,
        key: &Path,
        outcomes: Vec<object_store::Result<PutResult>>,
    ) -> object_store::Result<Judged> {
        let wrong = |why: String| Ok(Judged::Shown(Raced::Wrong(why)));
        let mut winners = Vec::new();
        let mut unanswered = None;
        for (racer, outcome) in outcomes.into_iter().enumerate() {
            match won(outcome) {
                Ok(Some(true)) => winners.push(racer),
                Ok(Some(false)) => {}
                Ok(None) => return wrong("the store does not know such a request".to_owned()),
                Err(error) if is_passing(&error) => unanswered = Some(error),
                Err(error) => return Err(error),
            }
        }
        // More than one winner is proof, whatever became of the others.
        let winner = match (&winners[..], unanswered) {
            ([_, _, ..], _) => {
                return wrong(format!("{} of {RACERS} writers were let in at once", winners.len()));
            }
            (_, Some(error)) => return Ok(Judged::Unanswered(error)),
            ([], None) => return Ok(Judged::NobodyWon),
            ([winner], None) => *winner,
        };
        let bytes = self.store.get(key).await?.bytes().await?;
        match bytes == racer_bytes(winner) {
            true => Ok(Judged::Shown(Raced::Right)),
            false => wrong("the object was not the winner's".to_owned()),
        }
    }

    async fn clear(&self) {
        let listed: Vec<Path> = self
            .store
            .list(Some(&self.prefix))
            .filter_map(async |meta| meta.ok().map(|meta| meta.location))
            .collect()
            .await;
        let mut written =
            std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner));
        written.extend(listed);
        written.sort_unstable();
        written.dedup();
        let paths = stream::iter(written.into_iter().map(Ok));
        let _ = self.store.delete_stream(paths.boxed()).collect::<Vec<_>>().await;
    }
}

/// None when the store does not know the request.
fn answered<T>(outcome: object_store::Result<T>) -> object_store::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if not_able(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
