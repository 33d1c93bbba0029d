//! Takes any store; gives it with what every store of ours has: requests are counted, a stop ends
//! whatever waits, creating goes the way this store can, and a missing bucket is told apart from a
//! missing object. Listings from an offset come in order: the Delta log's reader relies on that, and
//! local folders do not have it.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::{BoxFuture, Either, select};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
};
use tokio::sync::watch;

use super::create::{self, CreateOnly};
use super::error::{Refusal, says_no_bucket};
use super::http::Gate;

/// Objects per page of a listing, as S3, GCS and COS page; used for counting requests of stores that
/// send none.
const LIST_PAGE_OBJECTS: u64 = 1000;
/// How long a write may go on after a stop: a commit that is on its way is better known to be there
/// or not.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Requests made by this process so far, over all places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// Listings, one a page; a local listing is one.
    pub list: u64,
    /// Reads, ranges and look-ups.
    pub get: u64,
    /// Objects and parts written, uploads begun and completed, copies.
    pub put: u64,
    /// Requests that delete; in local folders and memory, objects deleted.
    pub delete: u64,
    /// Of all these, those that the store answered with "slow down" (503 or 429).
    pub throttled: u64,
    /// Of all these, those that got no answer, half an answer or another 5xx.
    pub failed: u64,
    /// Bytes of bodies received, from stores behind HTTP.
    pub bytes_received: u64,
}

/// Requests made by this process so far, each try counted where the store is behind HTTP; subtract two
/// readings for a phase.
pub fn request_counts() -> RequestCounts {
    RequestCounts {
        list: COUNTS.list.load(Ordering::Relaxed),
        get: COUNTS.get.load(Ordering::Relaxed),
        put: COUNTS.put.load(Ordering::Relaxed),
        delete: COUNTS.delete.load(Ordering::Relaxed),
        throttled: COUNTS.throttled.load(Ordering::Relaxed),
        failed: COUNTS.failed.load(Ordering::Relaxed),
        bytes_received: COUNTS.bytes_received.load(Ordering::Relaxed),
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub list: AtomicU64,
    pub get: AtomicU64,
    pub put: AtomicU64,
    pub delete: AtomicU64,
    pub throttled: AtomicU64,
    pub failed: AtomicU64,
    pub bytes_received: AtomicU64,
}

pub(super) static COUNTS: Counters = Counters {
    list: AtomicU64::new(0),
    get: AtomicU64::new(0),
    put: AtomicU64::new(0),
    delete: AtomicU64::new(0),
    throttled: AtomicU64::new(0),
    failed: AtomicU64::new(0),
    bytes_received: AtomicU64::new(0),
};

/// One more of these.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Ends every call that waits for a store, in the whole process: reads, listings and look-ups at once,
/// writes after 5 seconds. They fail with [`StorageError::Stopped`](super::StorageError::Stopped), and
/// so does every later call. To be called when the process is asked to end; once is enough.
pub fn stop() {
    STOP.stop();
}

/// Whether [`stop`] was called.
pub fn stopped() -> bool {
    STOP.stopped()
}

pub(super) static STOP: LazyLock<Arc<Stop>> = LazyLock::new(Arc::default);

/// Whether to stop, and since when.
#[derive(Debug)]
pub(super) struct Stop {
    since: watch::Sender<Option<Instant>>,
    /// How long writes may go on.
    pub grace: Duration,
}

impl Default for Stop {
    fn default() -> Self {
        Stop { since: watch::Sender::new(None), grace: STOP_GRACE }
    }
}

impl Stop {
    pub fn stop(&self) {
        self.since.send_if_modified(|since| match since {
            None => {
                *since = Some(Instant::now());
                true
            }
            Some(_) => false,
        });
    }

    pub fn stopped(&self) -> bool {
        self.since.borrow().is_some()
    }

    async fn signalled(&self, grace: Duration) {
        let mut since = self.since.subscribe();
        // The sender is `self`: it cannot be gone.
        let at = since.wait_for(Option::is_some).await.ok().and_then(|since| *since);
        if let Some(at) = at
            && !grace.is_zero()
        {
            tokio::time::sleep_until((at + grace).into()).await;
        }
    }

    async fn until<T>(
        &self,
        grace: Duration,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        match select(pin!(self.signalled(grace)), pin!(work)).await {
            Either::Left(_) => Err(stopped_error()),
            Either::Right((outcome, _)) => outcome.map_err(named),
        }
    }

    /// Work that ends at once when asked to stop.
    pub async fn read<T>(
        &self,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        self.until(Duration::ZERO, work).await
    }

    /// Work that gets a little time to come to its end.
    pub async fn write<T>(
        &self,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        self.until(self.grace, work).await
    }

    fn stream<T: Send + 'static>(
        self: &Arc<Self>,
        grace: Duration,
        items: BoxStream<'static, object_store::Result<T>>,
    ) -> BoxStream<'static, object_store::Result<T>> {
        let stop = Arc::clone(self);
        stream::unfold(Some(items), move |items| {
            let stop = Arc::clone(&stop);
            async move {
                let mut items = items?;
                let next = async { Ok(items.next().await) };
                match stop.until(grace, next).await {
                    Ok(Some(item)) => Some((item.map_err(named), Some(items))),
                    Ok(None) => None,
                    Err(stopped) => Some((Err(stopped), None)),
                }
            }
        })
        // The Delta log's reader asks once more after the end.
        .fuse()
        .boxed()
    }
}

pub(super) fn generic(refusal: Refusal) -> object_store::Error {
    object_store::Error::Generic { store: "store", source: Box::new(refusal) }
}

pub(super) fn stopped_error() -> object_store::Error {
    generic(Refusal::Stopped)
}

/// A store says 404 to a missing bucket too; what follows must not take that for a missing object.
fn named(error: object_store::Error) -> object_store::Error {
    if let object_store::Error::NotFound { source, .. } = &error {
        let text = source.to_string();
        if says_no_bucket(&text) {
            return generic(Refusal::NoSuchBucket(text));
        }
    }
    error
}

/// A store with all that this module gives.
#[derive(Clone, Debug)]
pub(super) struct Guarded {
    pub inner: Arc<dyn ObjectStore>,
    /// Whether requests are counted here; stores behind HTTP count each try themselves.
    pub counted: bool,
    pub create: CreateOnly,
    /// Whether a write with a condition is repeated when it gets no answer.
    pub repeats: bool,
    /// What bounds the requests in flight, of stores behind HTTP.
    pub gate: Option<Arc<Gate>>,
    pub stop: Arc<Stop>,
}

impl Guarded {
    pub fn new(inner: Arc<dyn ObjectStore>, counted: bool) -> Guarded {
        let (create, stop) = (CreateOnly::IfNoneMatch, Arc::clone(&STOP));
        Guarded { inner, counted, create, repeats: true, gate: None, stop }
    }

    fn count(&self, counter: &AtomicU64) {
        if self.counted {
            count(counter);
        }
    }

    /// Counts a listing by its pages as they arrive.
    fn count_pages<T: Send + 'static>(
        &self,
        listed: BoxStream<'static, T>,
    ) -> BoxStream<'static, T> {
        if !self.counted {
            return listed;
        }
        count(&COUNTS.list);
        let mut seen = 0_u64;
        listed
            .inspect(move |_| {
                seen += 1;
                if seen > LIST_PAGE_OBJECTS && seen % LIST_PAGE_OBJECTS == 1 {
                    count(&COUNTS.list);
                }
            })
            .boxed()
    }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

// Written without the `async_trait` macro, which would be one more dependency for a few methods.
impl ObjectStore for Guarded {
    fn put_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> BoxFuture<'c, object_store::Result<PutResult>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.count(&COUNTS.put);
        let put = match (&options.mode, self.create) {
            (PutMode::Create, CreateOnly::UnderLease) => {
                create::by_look(&self.inner, location, payload).boxed()
            }
            (PutMode::Create | PutMode::Update(_), _) if self.repeats => {
                create::repeated(&self.inner, self.create, location, payload, options).boxed()
            }
            _ => create::once(&self.inner, self.create, location, payload, options).boxed(),
        };
        self.stop.write(put).boxed()
    }

    fn put_multipart_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        options: PutMultipartOptions,
    ) -> BoxFuture<'c, object_store::Result<Box<dyn MultipartUpload>>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.count(&COUNTS.put);
        let begun = self.stop.write(self.inner.put_multipart_opts(location, options));
        begun
            .map_ok(|upload| {
                let (counted, stop) = (self.counted, Arc::clone(&self.stop));
                Box::new(GuardedUpload { upload, counted, stop }) as Box<dyn MultipartUpload>
            })
            .boxed()
    }

    fn get_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        options: GetOptions,
    ) -> BoxFuture<'c, object_store::Result<GetResult>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.count(&COUNTS.get);
        let got = self.stop.read(self.inner.get_opts(location, options));
        got.map_ok(|mut result| {
            let bytes = result.range.end - result.range.start;
            result.payload = match result.payload {
                GetResultPayload::Stream(chunks) => {
                    let chunks = self.stop.stream::<Bytes>(Duration::ZERO, chunks);
                    GetResultPayload::Stream(whole(chunks, bytes))
                }
                file => file,
            };
            result
        })
        .boxed()
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let counted = self.counted;
        let locations = locations.inspect(move |_| {
            if counted {
                count(&COUNTS.delete);
            }
        });
        self.stop.stream(self.stop.grace, self.inner.delete_stream(locations.boxed()))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.stop.stream(Duration::ZERO, self.count_pages(self.inner.list(prefix)))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let listed = self.count_pages(self.inner.list_with_offset(prefix, offset));
        self.stop
            .stream(Duration::ZERO, listed)
            .try_collect::<Vec<_>>()
            .map_ok(|mut metas| {
                metas.sort_unstable_by(|a, b| a.location.cmp(&b.location));
                stream::iter(metas.into_iter().map(Ok))
            })
            .try_flatten_stream()
            .boxed()
    }

    fn list_with_delimiter<'a, 'b, 'c>(
        &'a self,
        prefix: Option<&'b Path>,
    ) -> BoxFuture<'c, object_store::Result<ListResult>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.count(&COUNTS.list);
        self.stop.read(self.inner.list_with_delimiter(prefix)).boxed()
    }

    fn copy_opts<'a, 'b, 'd, 'c>(
        &'a self,
        from: &'b Path,
        to: &'d Path,
        options: CopyOptions,
    ) -> BoxFuture<'c, object_store::Result<()>>
    where
        'a: 'c,
        'b: 'c,
        'd: 'c,
        Self: 'c,
    {
        self.count(&COUNTS.put);
        self.stop.write(self.inner.copy_opts(from, to, options)).boxed()
    }

    fn rename_opts<'a, 'b, 'd, 'c>(
        &'a self,
        from: &'b Path,
        to: &'d Path,
        options: RenameOptions,
    ) -> BoxFuture<'c, object_store::Result<()>>
    where
        'a: 'c,
        'b: 'c,
        'd: 'c,
        Self: 'c,
    {
        self.count(&COUNTS.put);
        self.stop.write(self.inner.rename_opts(from, to, options)).boxed()
    }
}

/// A body that fails if it ends before all of its bytes have come: half an entry of a log may read like a
/// whole one.
fn whole(
    chunks: BoxStream<'static, object_store::Result<Bytes>>,
    bytes: u64,
) -> BoxStream<'static, object_store::Result<Bytes>> {
    stream::unfold((chunks, bytes), |(mut chunks, left)| async move {
        match chunks.next().await {
            Some(Ok(chunk)) => {
                let left = left.saturating_sub(chunk.len() as u64);
                Some((Ok(chunk), (chunks, left)))
            }
            Some(Err(error)) => Some((Err(error), (chunks, 0))),
            None if left > 0 => {
                let cause = format!("the answer ended {left} bytes too soon");
                let source = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, cause);
                let source = Box::new(source);
                Some((Err(object_store::Error::Generic { store: "store", source }), (chunks, 0)))
            }
            None => None,
        }
    })
    .fuse()
    .boxed()
}

/// Counts the parts of an upload and its completion, and lets a stop end them.
#[derive(Debug)]
struct GuardedUpload {
    upload: Box<dyn MultipartUpload>,
    counted: bool,
    stop: Arc<Stop>,
}

impl MultipartUpload for GuardedUpload {
    fn put_part(&mut self, data: PutPayload) -> object_store::UploadPart {
        if self.counted {
            count(&COUNTS.put);
        }
        let part = self.upload.put_part(data);
        let stop = Arc::clone(&self.stop);
        async move { stop.write(part).await }.boxed()
    }

    fn complete<'a, 'c>(&'a mut self) -> BoxFuture<'c, object_store::Result<PutResult>>
    where
        'a: 'c,
        Self: 'c,
    {
        if self.counted {
            count(&COUNTS.put);
        }
        let stop = Arc::clone(&self.stop);
        async move { stop.write(self.upload.complete()).await }.boxed()
    }

    fn abort<'a, 'c>(&'a mut self) -> BoxFuture<'c, object_store::Result<()>>
    where
        'a: 'c,
        Self: 'c,
    {
        let stop = Arc::clone(&self.stop);
        async move { stop.write(self.upload.abort()).await }.boxed()
    }
}
