//! A real S3 server in the test process, on loopback, for the program and for `Place`.
//!
//! Takes requests as S3 and COS do: signed, path style or virtual hosts, conditional or not. Gives what a
//! store gives on a good day and, where a test asks for it, on a bad one: errors, lost
//! acknowledgements, cut bodies, silence. Every request is remembered. Never listens beyond 127.0.0.1.
//!
//! s3s speaks the protocol and checks the signatures. What lies below it is a map of our own and not
//! s3s-fs, because the latter walks the whole bucket for each page, holds no key much above 150 bytes, and can
//! show the tag of an earlier object for a later one.

use bytes::Bytes;
use futures::future::pending;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto;
use s3s::host::SingleDomain;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Bound;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// The bucket that every server has. It ends like the buckets of COS, with an APPID.
pub const BUCKET: &str = "faceid-1250000000";
/// A bucket that belongs to somebody else: every request to it is answered 403.
pub const DENIED_BUCKET: &str = "theirs-1250000000";
/// S3 and COS take no smaller part but the last.
const PART_BYTES_MIN: usize = 5 << 20;
/// S3 and COS show at most this many keys a page.
const PAGE_KEYS_MAX: usize = 1000;
/// The host below which a bucket of COS stands.
const COS_DOMAIN: &str = "cos.ap-guangzhou.myqcloud.com";
const REGION: &str = "ap-guangzhou";
const ACCESS_KEY: &str = "AKIDtest";
const SECRET_KEY: &str = "test-secret";
/// What is sent at once when bytes per second are bounded.
const PACE_BYTES: usize = 64 << 10;
/// How long a half-sent body is left for the client to take in before its connection ends.
const HALF_SENT: Duration = Duration::from_millis(30);

/// What kind of store it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As S3: `If-None-Match: *` and `If-Match` hold, under any race.
    #[default]
    Conditional,
    /// Takes conditional writes without looking at the condition: everybody wins.
    IgnoresConditions,
    /// As COS with a bucket made after 2024-01-01: the bucket stands in the host, `If-None-Match` on a write
    /// is not looked at, `x-cos-forbid-overwrite: true` is, checksums and chunked uploads are refused.
    Cos,
}

/// How a server starts. What may change later has its setter on [`S3Server`].
#[derive(Clone, Debug)]
pub struct Setup {
    pub mode: Mode,
    /// Whether listings tell ETags. Most stores do; without them an object is known by its size and time
    /// alone, which is the harder case.
    pub listing_etags: bool,
    /// Keys per page of a listing.
    pub page_keys_max: usize,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup { mode: Mode::default(), listing_etags: false, page_keys_max: PAGE_KEYS_MAX }
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    List,
    Get,
    Head,
    Put,
    Copy,
    Delete,
    DeleteMany,
    CreateUpload,
    UploadPart,
    CompleteUpload,
    AbortUpload,
    Other,
}

impl Op {
    /// Whether it changes what the store holds, parts of unfinished uploads included.
    pub fn is_write(self) -> bool {
        !matches!(self, Op::List | Op::Get | Op::Head | Op::Other)
    }
}

/// A request as it arrived and what became of it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Counted from 1, over all requests since the start of the server.
    pub number: usize,
    /// Counted from 1, over the writes since the start of the server.
    pub write_number: Option<usize>,
    pub op: Op,
    pub host: String,
    pub bucket: String,
    /// Decoded; the prefix, for listings.
    pub key: String,
    /// As sent.
    pub query: String,
    pub range: Option<String>,
    pub if_none_match: Option<String>,
    pub if_match: Option<String>,
    /// `x-cos-forbid-overwrite`.
    pub forbid_overwrite: Option<String>,
    /// The `x-amz-request-id` of the answer, whether it was sent or not.
    pub request_id: String,
    pub received_bytes: u64,
    /// None for requests that were not answered, or not yet.
    pub status: Option<u16>,
    /// The length of the answer's body.
    pub sent_bytes: u64,
}

/// How a request goes wrong.
#[derive(Clone, Debug)]
pub enum Kind {
    /// 503 in S3's words; not applied.
    SlowDown503,
    /// 500 in S3's words; not applied.
    Error500,
    /// 404 NoSuchKey, whatever is there.
    NotFound404,
    /// The connection is reset without an answer; not applied.
    ResetBefore,
    /// Applied, then the connection is reset without an answer: a lost acknowledgement.
    ResetAfter,
    /// Applied, but the answer never comes.
    TimeoutAfterPut,
    /// The headers and half of the body, then a reset.
    ResetMidBody,
    /// A Content-Length that promises the whole body; half of it comes and the connection is closed in order.
    ShortBody,
    /// The headers and half of the body, then nothing for so long, then a reset.
    Stall(Duration),
    /// Just before the request is served, its object is overwritten with these bytes.
    ChangedEtag(Bytes),
}

/// What a hook wants of a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// Go on as if nobody had looked.
    Go,
    Fail(Kind),
}

/// Requests that go wrong: those that `when` holds for, from the `nth` of them, `times` of them.
pub struct Fault {
    when: Box<dyn Fn(&Seen) -> bool + Send>,
    nth: usize,
    times: usize,
    met: usize,
    kind: Kind,
}

impl Fault {
    /// The first request that `when` holds for.
    pub fn new(kind: Kind, when: impl Fn(&Seen) -> bool + Send + 'static) -> Fault {
        Fault { when: Box::new(when), nth: 1, times: 1, met: 0, kind }
    }

    /// The first request of this sort.
    pub fn on(op: Op, kind: Kind) -> Fault {
        Fault::new(kind, move |seen| seen.op == op)
    }

    /// Begins with the n-th such request, counted from 1.
    pub fn nth(self, nth: usize) -> Fault {
        Fault { nth, ..self }
    }

    /// Hits so many requests in a row.
    pub fn times(self, times: usize) -> Fault {
        Fault { times, ..self }
    }

    fn hits(&mut self, seen: &Seen) -> bool {
        if !(self.when)(seen) {
            return false;
        }
        self.met += 1;
        self.met >= self.nth && self.met - self.nth < self.times
    }
}

/// The server. Stopped, with all its connections, when dropped.
pub struct S3Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Always there until the drop.
    runtime: Option<tokio::runtime::Runtime>,
}

impl S3Server {
    pub fn start() -> S3Server {
        S3Server::start_with(Setup::default())
    }

    pub fn start_with(setup: Setup) -> S3Server {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("s3-server")
            .enable_all()
            .build()
            .expect("threads for a server");
        let store = Arc::new(Mutex::new(Objects::default()));
        let mut service =
            S3ServiceBuilder::new(Store { objects: store.clone(), setup: setup.clone() });
        service.set_auth(OneKey);
        if setup.mode == Mode::Cos {
            service.set_host(SingleDomain::new(COS_DOMAIN).expect("a domain"));
        }
        let shared = Arc::new(Shared {
            setup,
            objects: store,
            service: service.build(),
            seen: Mutex::default(),
            faults: Mutex::default(),
            on_request: Mutex::default(),
            on_applied: Mutex::default(),
            latency_us: AtomicU64::new(0),
            bytes_per_second: AtomicU64::new(0),
        });
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .expect("a port on loopback");
        let address = listener.local_addr().expect("a port on loopback");
        runtime.spawn(accept(listener, shared.clone()));
        S3Server { shared, address, runtime: Some(runtime) }
    }

    /// `s3://bucket/…`.
    pub fn url(&self, below: &str) -> String {
        format!("s3://{BUCKET}/{below}")
    }

    /// `http://127.0.0.1:port`: the endpoint of path-style requests, and for COS the proxy behind which
    /// its host names are found.
    pub fn http(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Options for `Place::open`, `[source.options]` and `[output.options]`.
    pub fn options(&self) -> BTreeMap<String, String> {
        let mut options = BTreeMap::from([
            ("aws_endpoint", self.http()),
            ("aws_allow_http", "true".to_owned()),
            ("aws_region", REGION.to_owned()),
            ("aws_access_key_id", ACCESS_KEY.to_owned()),
            ("aws_secret_access_key", SECRET_KEY.to_owned()),
        ]);
        if self.shared.setup.mode == Mode::Cos {
            // Names below a public domain mean this server only to who asks it as a proxy.
            options.insert("aws_endpoint", format!("http://{BUCKET}.{COS_DOMAIN}"));
            options.insert("aws_virtual_hosted_style_request", "true".to_owned());
            options.insert("aws_proxy_url", self.http());
        }
        options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The same as environment variables of the program.
    pub fn env(&self) -> Vec<(String, String)> {
        let options = self.options().into_iter();
        options.map(|(name, value)| (name.to_ascii_uppercase(), value)).collect()
    }

    /// Puts an object there as if another program had, now.
    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        self.objects().put(key, bytes.into(), None);
    }

    /// Last modified then, in milliseconds since the epoch. S3 and COS tell whole seconds: so does this.
    pub fn put_at(&self, key: &str, bytes: impl Into<Bytes>, modified_ms: i64) {
        self.objects().put(key, bytes.into(), Some(modified_ms));
    }

    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.objects().objects.get(key).map(|object| object.bytes.clone())
    }

    /// Whether it was there.
    pub fn delete(&self, key: &str) -> bool {
        self.objects().objects.remove(key).is_some()
    }

    /// The keys that begin so, sorted.
    pub fn list(&self, prefix: &str) -> Vec<String> {
        self.objects().below(prefix, None).map(|(key, _)| key.clone()).collect()
    }

    /// Uploads in parts that were neither completed nor aborted.
    pub fn uploads_open(&self) -> usize {
        self.objects().uploads.len()
    }

    /// Writes what lies below `prefix` (a folder) into a local folder, to be read as any other.
    pub fn download(&self, prefix: &str, folder: &Path) {
        let prefix = format!("{}/", prefix.trim_end_matches('/'));
        for (key, object) in self.objects().below(&prefix, None) {
            let path = folder.join(&key[prefix.len()..]);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, &object.bytes).expect("a file");
        }
    }

    /// Every request so far, in the order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        held(&self.shared.seen).clone()
    }

    pub fn seen_of(&self, op: Op) -> Vec<Seen> {
        held(&self.shared.seen).iter().filter(|seen| seen.op == op).cloned().collect()
    }

    pub fn inject(&self, fault: Fault) {
        held(&self.shared.faults).push(fault);
    }

    /// Takes away the faults and the hooks.
    pub fn calm(&self) {
        held(&self.shared.faults).clear();
        *held(&self.shared.on_request) = None;
        *held(&self.shared.on_applied) = None;
    }

    /// Asks for each request that has arrived whole, before it is applied. The hook may take its time: other
    /// requests go on, and ask it too. It comes before the faults.
    pub fn on_request(&self, hook: impl Fn(&Seen) -> Action + Send + Sync + 'static) {
        *held(&self.shared.on_request) = Some(Arc::new(hook));
    }

    /// Asks for each request that was applied, before it is answered; `status` is what it would say.
    pub fn on_applied(&self, hook: impl Fn(&Seen) -> Action + Send + Sync + 'static) {
        *held(&self.shared.on_applied) = Some(Arc::new(hook));
    }

    /// Every request waits so long before it is looked at.
    pub fn set_latency(&self, latency: Duration) {
        let latency_us = u64::try_from(latency.as_micros()).expect("less than an age");
        self.shared.latency_us.store(latency_us, Ordering::Relaxed);
    }

    /// Bounds the body of each answer by itself; None is unbounded.
    pub fn set_bytes_per_second(&self, bytes: Option<u64>) {
        self.shared.bytes_per_second.store(bytes.unwrap_or(0), Ordering::Relaxed);
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        held(&self.shared.objects)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not waiting for answers that are meant never to come.
            runtime.shutdown_background();
        }
    }
}

type Hook = Mutex<Option<Arc<dyn Fn(&Seen) -> Action + Send + Sync>>>;

struct Shared {
    setup: Setup,
    objects: Arc<Mutex<Objects>>,
    service: S3Service,
    seen: Mutex<Vec<Seen>>,
    faults: Mutex<Vec<Fault>>,
    on_request: Hook,
    on_applied: Hook,
    latency_us: AtomicU64,
    /// 0 is unbounded.
    bytes_per_second: AtomicU64,
}

/// A test that panicked with the lock in hand says so itself; the others need not.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Fails when this process is out of files: then the tests fail with it.
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let shared = shared.clone();
        let reset = Arc::new(AtomicBool::new(false));
        let wire = Wire { stream, reset: reset.clone() };
        let service = hyper::service::service_fn(move |request| {
            let (shared, reset) = (shared.clone(), reset.clone());
            async move { shared.answer(request, reset).await }
        });
        tokio::spawn(async move {
            let served = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(wire), service)
                .await;
            // Clients hang up and faults break connections: what is wrong with that, the test sees.
            drop(served);
        });
    }
}

/// A connection that ends with a reset, and not in order, once it is told so.
struct Wire {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.reset.load(Ordering::Relaxed) {
            // An orderly end first would make the reset look like one.
            true => Poll::Ready(Ok(())),
            false => Pin::new(&mut self.stream).poll_shutdown(context),
        }
    }
}

type AnswerBody = StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>;

impl Shared {
    /// One request, from its last byte in to the last byte out. An error ends the connection.
    async fn answer(
        &self,
        request: Request<Incoming>,
        reset: Arc<AtomicBool>,
    ) -> io::Result<Response<AnswerBody>> {
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let mut seen = self.note(&parts, &body);
        let broken = |after: &str| {
            reset.store(true, Ordering::Relaxed);
            io::Error::other(format!("a fault: reset {after}"))
        };

        let latency = Duration::from_micros(self.latency_us.load(Ordering::Relaxed));
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let mut wanted = ask(&self.on_request, &seen);
        if matches!(wanted, Action::Go) {
            let mut faults = held(&self.faults);
            // Each fault counts what it is asked for, also when another one hits.
            for fault in faults.iter_mut() {
                if fault.hits(&seen) && matches!(wanted, Action::Go) {
                    wanted = Action::Fail(fault.kind.clone());
                }
            }
        }

        let refused = match &wanted {
            Action::Fail(Kind::ResetBefore) => return Err(broken("before it was applied")),
            Action::Fail(Kind::SlowDown503) => {
                Some((503, "SlowDown", "Please reduce your request rate."))
            }
            Action::Fail(Kind::Error500) => {
                Some((500, "InternalError", "We encountered an internal error. Please try again."))
            }
            Action::Fail(Kind::NotFound404) => {
                Some((404, "NoSuchKey", "The specified key does not exist."))
            }
            Action::Fail(Kind::ChangedEtag(bytes)) => {
                held(&self.objects).put(&seen.key, bytes.clone(), None);
                None
            }
            _ => None,
        };
        let refused = refused.or_else(|| match self.setup.mode {
            Mode::Cos => refused_by_cos(&seen, &parts.headers),
            _ => None,
        });
        let (mut answer, body) = match refused {
            Some((status, code, message)) => said(status, code, message),
            None => {
                // A client that takes us for a proxy names the host twice; s3s wants it in the header only.
                if let Some(path) = parts.uri.path_and_query() {
                    parts.uri = path.clone().into();
                }
                let answer = self.service.call(Request::from_parts(parts, s3s::Body::from(body)));
                let (parts, body) = answer.await.map_err(io::Error::other)?.into_parts();
                (parts, BodyExt::collect(body).await.map_err(io::Error::other)?.to_bytes())
            }
        };
        let body = with_request_id(body, answer.status, &seen.request_id);
        let id = HeaderValue::from_str(&seen.request_id).expect("letters and digits");
        answer.headers.insert(HeaderName::from_static("x-amz-request-id"), id);
        if !body.is_empty() {
            answer.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }

        seen.status = Some(answer.status.as_u16());
        seen.sent_bytes = body.len() as u64;
        if let Action::Fail(kind) = ask(&self.on_applied, &seen) {
            wanted = Action::Fail(kind);
        }
        match &wanted {
            Action::Fail(Kind::ResetAfter | Kind::ResetBefore) => {
                return Err(broken("after it was applied"));
            }
            Action::Fail(Kind::TimeoutAfterPut) => return pending().await,
            _ => {}
        }
        {
            let mut all = held(&self.seen);
            let noted = &mut all[seen.number - 1];
            (noted.status, noted.sent_bytes) = (seen.status, seen.sent_bytes);
        }
        let half = body.slice(..body.len() / 2);
        let frames = match wanted {
            Action::Fail(Kind::ResetMidBody) => halved(half, HALF_SENT, Some(reset)),
            Action::Fail(Kind::Stall(stall)) => halved(half, stall, Some(reset)),
            Action::Fail(Kind::ShortBody) => halved(half, HALF_SENT, None),
            _ => match self.bytes_per_second.load(Ordering::Relaxed) {
                0 => stream::iter((!body.is_empty()).then(|| Ok(Frame::data(body)))).boxed(),
                bytes_per_second => paced(body, bytes_per_second),
            },
        };
        Ok(Response::from_parts(answer, StreamBody::new(frames)))
    }

    fn note(&self, parts: &Parts, body: &Bytes) -> Seen {
        let header = |name: &str| {
            let value = parts.headers.get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let host = header(HOST.as_str())
            .or_else(|| Some(parts.uri.authority()?.to_string()))
            .unwrap_or_default();
        let path = parts.uri.path().trim_start_matches('/');
        let (bucket, key) = match host.strip_suffix(COS_DOMAIN).and_then(|h| h.strip_suffix('.')) {
            Some(bucket) => (bucket, path),
            None => path.split_once('/').unwrap_or((path, "")),
        };
        let query = parts.uri.query().unwrap_or("");
        let pairs: BTreeMap<String, String> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let has = |name| pairs.contains_key(name);
        let op = match (&parts.method, key.is_empty()) {
            (&Method::GET, true) if has("list-type") => Op::List,
            (&Method::GET, false) if query.is_empty() => Op::Get,
            (&Method::HEAD, false) => Op::Head,
            (&Method::PUT, false) if has("partNumber") => Op::UploadPart,
            (&Method::PUT, false) if parts.headers.contains_key("x-amz-copy-source") => Op::Copy,
            (&Method::PUT, false) => Op::Put,
            (&Method::POST, false) if has("uploads") => Op::CreateUpload,
            (&Method::POST, false) if has("uploadId") => Op::CompleteUpload,
            (&Method::POST, true) if has("delete") => Op::DeleteMany,
            (&Method::DELETE, false) if has("uploadId") => Op::AbortUpload,
            (&Method::DELETE, false) => Op::Delete,
            _ => Op::Other,
        };
        let key = match op {
            Op::List => pairs.get("prefix").cloned().unwrap_or_default(),
            _ => percent_decoded(key),
        };
        let bucket = bucket.to_owned();
        let mut all = held(&self.seen);
        let number = all.len() + 1;
        let writes_before = all.iter().rev().find_map(|seen| seen.write_number).unwrap_or(0);
        let seen = Seen {
            number,
            write_number: op.is_write().then_some(writes_before + 1),
            op,
            host,
            bucket,
            key,
            query: query.to_owned(),
            range: header("range"),
            if_none_match: header("if-none-match"),
            if_match: header("if-match"),
            forbid_overwrite: header("x-cos-forbid-overwrite"),
            request_id: format!("TESTREQ{number:09}"),
            received_bytes: body.len() as u64,
            status: None,
            sent_bytes: 0,
        };
        all.push(seen.clone());
        seen
    }
}

/// The hook runs where it may block: it may wait for another request, or for a process to end.
fn ask(hook: &Hook, seen: &Seen) -> Action {
    let hook = held(hook).clone();
    hook.map_or(Action::Go, |hook| tokio::task::block_in_place(|| hook(seen)))
}

/// Half of a body; later a reset, or an orderly end.
fn halved(
    half: Bytes,
    wait: Duration,
    reset: Option<Arc<AtomicBool>>,
) -> BoxStream<'static, io::Result<Frame<Bytes>>> {
    let first = stream::iter((!half.is_empty()).then(|| Ok(Frame::data(half))));
    let end = stream::once(async move {
        tokio::time::sleep(wait).await;
        let reset = reset?;
        reset.store(true, Ordering::Relaxed);
        Some(Err(io::Error::other("a fault: reset in the middle of a body")))
    });
    first.chain(end.filter_map(async |end| end)).boxed()
}

/// A body that comes no faster than this, measured from its first byte.
fn paced(body: Bytes, bytes_per_second: u64) -> BoxStream<'static, io::Result<Frame<Bytes>>> {
    let started = tokio::time::Instant::now();
    stream::unfold((body, 0), move |(mut rest, sent_bytes)| async move {
        if rest.is_empty() {
            return None;
        }
        let piece = rest.split_to(rest.len().min(PACE_BYTES));
        let sent_bytes = sent_bytes + piece.len() as u64;
        let due_us = sent_bytes.saturating_mul(1_000_000) / bytes_per_second;
        tokio::time::sleep_until(started + Duration::from_micros(due_us)).await;
        Some((Ok(Frame::data(piece)), (rest, sent_bytes)))
    })
    .boxed()
}

/// An error in the words of S3.
fn said(status: u16, code: &str, message: &str) -> (hyper::http::response::Parts, Bytes) {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let status = StatusCode::from_u16(status).expect("a status");
    let answer = Response::builder().status(status).header(CONTENT_TYPE, "application/xml");
    (answer.body(()).expect("an answer").into_parts().0, Bytes::from(body))
}

/// S3 repeats the request id in the body of an error; s3s leaves it out.
fn with_request_id(body: Bytes, status: StatusCode, id: &str) -> Bytes {
    if status.is_success() || body.is_empty() {
        return body;
    }
    let text = String::from_utf8(body.to_vec()).expect("errors are XML");
    assert!(!text.contains("<RequestId>"), "s3s has learnt to name requests: {text}");
    Bytes::from(text.replace("</Error>", &format!("<RequestId>{id}</RequestId></Error>")))
}

/// What COS refuses although S3 takes it.
fn refused_by_cos(seen: &Seen, headers: &HeaderMap) -> Option<(u16, &'static str, &'static str)> {
    if !seen.host.ends_with(&format!(".{COS_DOMAIN}")) {
        let message = "The bucket you are attempting to access must be addressed using COS \
                       virtual-styled domain.";
        return Some((403, "PathStyleDomainForbidden", message));
    }
    if seen.op == Op::DeleteMany {
        // Its checksum is not looked at, but the older header must be there.
        return match headers.contains_key("content-md5") {
            true => None,
            false => Some((400, "InvalidRequest", "Missing required header: Content-MD5")),
        };
    }
    let chunked = [("content-encoding", "aws-chunked"), ("x-amz-content-sha256", "STREAMING-")]
        .iter()
        .any(|(name, value)| {
            let sent = headers.get(*name).map(|sent| sent.as_bytes().to_vec());
            sent.is_some_and(|sent| String::from_utf8_lossy(&sent).contains(value))
        });
    let checksum = headers.keys().any(|name| name.as_str().starts_with("x-amz-checksum-"));
    (chunked || checksum).then_some((400, "InvalidArgument", "Checksums of this kind are unknown."))
}

fn percent_decoded(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match code.filter(|_| *first == b'%').map(|hex| u8::from_str_radix(hex, 16)) {
            Some(Ok(byte)) => {
                decoded.push(byte);
                rest = &after[2..];
            }
            _ => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Knows one key pair, and tells other keys as S3 does.
struct OneKey;

#[async_trait::async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match access_key {
            ACCESS_KEY => Ok(SECRET_KEY.into()),
            _ => Err(s3_error!(InvalidAccessKeyId, "The access key id is not in our records.")),
        }
    }
}

struct Object {
    bytes: Bytes,
    etag: String,
    modified: SystemTime,
}

#[derive(Default)]
struct Upload {
    key: String,
    /// Bytes and tag, by number.
    parts: BTreeMap<i32, (Bytes, String)>,
}

/// What the bucket holds.
#[derive(Default)]
struct Objects {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    uploads_made: usize,
}

impl Objects {
    fn put(&mut self, key: &str, bytes: Bytes, modified_ms: Option<i64>) -> String {
        let etag = etag(&bytes);
        self.put_tagged(key, bytes, etag, modified_ms)
    }

    fn put_tagged(
        &mut self,
        key: &str,
        bytes: Bytes,
        etag: String,
        modified_ms: Option<i64>,
    ) -> String {
        let since = match modified_ms {
            Some(ms) => Duration::from_millis(u64::try_from(ms).expect("after 1970")),
            None => SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970"),
        };
        let modified = UNIX_EPOCH + Duration::from_secs(since.as_secs());
        self.objects.insert(key.to_owned(), Object { bytes, etag: etag.clone(), modified });
        etag
    }

    /// What begins so and comes after `after`, in the order of listings.
    fn below<'o>(
        &'o self,
        prefix: &'o str,
        after: Option<&'o str>,
    ) -> impl Iterator<Item = (&'o String, &'o Object)> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let objects = self.objects.range::<str, _>((from, Bound::Unbounded));
        objects.take_while(move |(key, _)| key.starts_with(prefix))
    }
}

/// As long as S3's MD5 and as opaque; this digest is at hand and fast in test builds.
fn etag(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The store below s3s. Whatever looks and then writes does both under one lock.
struct Store {
    objects: Arc<Mutex<Objects>>,
    setup: Setup,
}

impl Store {
    fn bucket(&self, name: &str) -> S3Result<MutexGuard<'_, Objects>> {
        match name {
            BUCKET => Ok(held(&self.objects)),
            DENIED_BUCKET => Err(s3_error!(AccessDenied, "Access Denied.")),
            _ => Err(s3_error!(NoSuchBucket, "The specified bucket does not exist.")),
        }
    }

    /// Whether a write may go on.
    fn may_write(
        &self,
        there: Option<&Object>,
        headers: &HeaderMap,
        if_none_match: Option<&dto::ETagCondition>,
        if_match: Option<&dto::ETagCondition>,
    ) -> S3Result<()> {
        match self.setup.mode {
            Mode::IgnoresConditions => Ok(()),
            Mode::Cos => {
                let forbid = headers.get("x-cos-forbid-overwrite");
                if forbid.is_some_and(|value| value == "true") && there.is_some() {
                    let code = S3ErrorCode::Custom("FileAlreadyExists".into());
                    let message =
                        "The object you specified already exists and can not be overwritten.";
                    let mut error = S3Error::with_message(code, message);
                    error.set_status_code(StatusCode::CONFLICT);
                    return Err(error);
                }
                Ok(())
            }
            Mode::Conditional => may_read(there, if_match, None).and_then(|()| match if_none_match
                .is_some_and(|tag| matches(there, tag))
            {
                true => Err(failed_precondition()),
                false => Ok(()),
            }),
        }
    }
}

fn matches(there: Option<&Object>, condition: &dto::ETagCondition) -> bool {
    there.is_some_and(|object| match condition {
        dto::ETagCondition::Any => true,
        dto::ETagCondition::ETag(etag) => etag.value() == object.etag,
    })
}

fn failed_precondition() -> S3Error {
    s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
}

/// Conditions of a read, which every store looks at.
fn may_read(
    there: Option<&Object>,
    if_match: Option<&dto::ETagCondition>,
    if_none_match: Option<&dto::ETagCondition>,
) -> S3Result<()> {
    if if_match.is_some_and(|tag| !matches(there, tag)) {
        return Err(failed_precondition());
    }
    if if_none_match.is_some_and(|tag| matches(there, tag)) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}

fn no_such_key() -> S3Error {
    s3_error!(NoSuchKey, "The specified key does not exist.")
}

async fn whole(body: Option<dto::StreamingBlob>) -> S3Result<Bytes> {
    let Some(body) = body else { return Ok(Bytes::new()) };
    let pieces: Vec<Bytes> = body
        .try_collect()
        .await
        .map_err(|error| S3Error::with_source(S3ErrorCode::IncompleteBody, error))?;
    Ok(match <[Bytes; 1]>::try_from(pieces) {
        Ok([one]) => one,
        Err(pieces) => Bytes::from(pieces.concat()),
    })
}

fn length(bytes: &Bytes) -> Option<i64> {
    Some(i64::try_from(bytes.len()).expect("less than all memory"))
}

#[async_trait::async_trait]
impl S3 for Store {
    async fn list_objects_v2(
        &self,
        request: S3Request<dto::ListObjectsV2Input>,
    ) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
        let input = request.input;
        let objects = self.bucket(&input.bucket)?;
        let asked = input.max_keys.and_then(|keys| usize::try_from(keys).ok());
        let keys_max = asked.unwrap_or(PAGE_KEYS_MAX).min(self.setup.page_keys_max);
        let prefix = input.prefix.as_deref().unwrap_or("");
        let token = input.continuation_token.as_deref();
        let after = token.max(input.start_after.as_deref());
        let mut contents = Vec::new();
        let mut common = BTreeSet::new();
        // The last key or common prefix of the page: where the next one goes on.
        let mut last = None;
        let mut truncated = false;
        for (key, object) in objects.below(prefix, after) {
            let delimiter = input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
            let folder = delimiter.and_then(|delimiter| {
                let at = key[prefix.len()..].find(delimiter)?;
                Some(key[..prefix.len() + at + delimiter.len()].to_owned())
            });
            if let Some(folder) = &folder
                && (common.contains(folder) || after.is_some_and(|after| after.starts_with(folder)))
            {
                continue;
            }
            if contents.len() + common.len() == keys_max {
                truncated = true;
                break;
            }
            last = Some(folder.clone().unwrap_or_else(|| key.clone()));
            match folder {
                Some(folder) => _ = common.insert(folder),
                None => contents.push(dto::Object {
                    key: Some(key.clone()),
                    size: length(&object.bytes),
                    last_modified: Some(object.modified.into()),
                    e_tag: self.setup.listing_etags.then(|| dto::ETag::Strong(object.etag.clone())),
                    ..Default::default()
                }),
            }
        }
        let count = i32::try_from(contents.len() + common.len()).expect("a page is small");
        let common = common.into_iter().map(|prefix| dto::CommonPrefix { prefix: Some(prefix) });
        Ok(S3Response::new(dto::ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            max_keys: i32::try_from(keys_max).ok(),
            key_count: Some(count),
            is_truncated: Some(truncated),
            next_continuation_token: last.filter(|_| truncated),
            continuation_token: input.continuation_token,
            start_after: input.start_after,
            contents: Some(contents),
            common_prefixes: Some(common.collect()),
            ..Default::default()
        }))
    }

    async fn get_object(
        &self,
        request: S3Request<dto::GetObjectInput>,
    ) -> S3Result<S3Response<dto::GetObjectOutput>> {
        let input = request.input;
        let objects = self.bucket(&input.bucket)?;
        let object = objects.objects.get(&input.key).ok_or_else(no_such_key)?;
        may_read(Some(object), input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let (bytes, range) = match input.range {
            None => (object.bytes.clone(), None),
            Some(range) => {
                let size = object.bytes.len();
                let range = range.check(size as u64)?;
                let shown = format!("bytes {}-{}/{size}", range.start, range.end - 1);
                let whole = "a range of what is in memory";
                let start = usize::try_from(range.start).expect(whole);
                let end = usize::try_from(range.end).expect(whole);
                (object.bytes.slice(start..end), Some(shown))
            }
        };
        Ok(S3Response::new(dto::GetObjectOutput {
            content_length: length(&bytes),
            content_range: range,
            body: Some(s3s::Body::from(bytes).into()),
            last_modified: Some(object.modified.into()),
            e_tag: Some(dto::ETag::Strong(object.etag.clone())),
            ..Default::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<dto::HeadObjectInput>,
    ) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        let input = request.input;
        let objects = self.bucket(&input.bucket)?;
        let object = objects.objects.get(&input.key).ok_or_else(no_such_key)?;
        may_read(Some(object), input.if_match.as_ref(), input.if_none_match.as_ref())?;
        Ok(S3Response::new(dto::HeadObjectOutput {
            content_length: length(&object.bytes),
            last_modified: Some(object.modified.into()),
            e_tag: Some(dto::ETag::Strong(object.etag.clone())),
            ..Default::default()
        }))
    }

    async fn put_object(
        &self,
        request: S3Request<dto::PutObjectInput>,
    ) -> S3Result<S3Response<dto::PutObjectOutput>> {
        let input = request.input;
        let bytes = whole(input.body).await?;
        let mut objects = self.bucket(&input.bucket)?;
        let there = objects.objects.get(&input.key);
        let (if_none, if_match) = (input.if_none_match.as_ref(), input.if_match.as_ref());
        self.may_write(there, &request.headers, if_none, if_match)?;
        let etag = objects.put(&input.key, bytes, None);
        let e_tag = Some(dto::ETag::Strong(etag));
        Ok(S3Response::new(dto::PutObjectOutput { e_tag, ..Default::default() }))
    }

    async fn copy_object(
        &self,
        request: S3Request<dto::CopyObjectInput>,
    ) -> S3Result<S3Response<dto::CopyObjectOutput>> {
        let input = request.input;
        let dto::CopySource::Bucket { bucket, key, .. } = &input.copy_source else {
            return Err(s3_error!(NotImplemented));
        };
        drop(self.bucket(bucket)?);
        let mut objects = self.bucket(&input.bucket)?;
        let source = objects.objects.get(&**key).ok_or_else(no_such_key)?;
        let (bytes, etag) = (source.bytes.clone(), source.etag.clone());
        self.may_write(objects.objects.get(&input.key), &request.headers, None, None)?;
        let etag = objects.put_tagged(&input.key, bytes, etag, None);
        let result = dto::CopyObjectResult {
            e_tag: Some(dto::ETag::Strong(etag)),
            last_modified: objects.objects.get(&input.key).map(|object| object.modified.into()),
            ..Default::default()
        };
        let copy_object_result = Some(result);
        Ok(S3Response::new(dto::CopyObjectOutput { copy_object_result, ..Default::default() }))
    }

    async fn delete_object(
        &self,
        request: S3Request<dto::DeleteObjectInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
        self.bucket(&request.input.bucket)?.objects.remove(&request.input.key);
        Ok(S3Response::new(dto::DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<dto::DeleteObjectsInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
        let mut objects = self.bucket(&request.input.bucket)?;
        let deleted = request.input.delete.objects.into_iter().map(|object| {
            objects.objects.remove(&object.key);
            dto::DeletedObject { key: Some(object.key), ..Default::default() }
        });
        let deleted = Some(deleted.collect());
        Ok(S3Response::new(dto::DeleteObjectsOutput { deleted, ..Default::default() }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<dto::CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
        let input = request.input;
        let mut objects = self.bucket(&input.bucket)?;
        self.may_write(objects.objects.get(&input.key), &request.headers, None, None)?;
        objects.uploads_made += 1;
        let id = format!("upload-{}", objects.uploads_made);
        let upload = Upload { key: input.key.clone(), ..Default::default() };
        objects.uploads.insert(id.clone(), upload);
        Ok(S3Response::new(dto::CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            ..Default::default()
        }))
    }

    async fn upload_part(
        &self,
        request: S3Request<dto::UploadPartInput>,
    ) -> S3Result<S3Response<dto::UploadPartOutput>> {
        let input = request.input;
        let bytes = whole(input.body).await?;
        let etag = etag(&bytes);
        let mut objects = self.bucket(&input.bucket)?;
        let upload = objects.uploads.get_mut(&input.upload_id);
        let upload = upload.filter(|upload| upload.key == input.key);
        let upload = upload.ok_or_else(|| s3_error!(NoSuchUpload))?;
        upload.parts.insert(input.part_number, (bytes, etag.clone()));
        let e_tag = Some(dto::ETag::Strong(etag));
        Ok(S3Response::new(dto::UploadPartOutput { e_tag, ..Default::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<dto::CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
        let input = request.input;
        let mut objects = self.bucket(&input.bucket)?;
        let upload = objects.uploads.get(&input.upload_id);
        let upload = upload.filter(|upload| upload.key == input.key);
        let upload = upload.ok_or_else(|| s3_error!(NoSuchUpload))?;
        let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let mut pieces = Vec::new();
        let mut before = 0;
        for (at, part) in named.iter().enumerate() {
            let number = part.part_number.unwrap_or(0);
            if number <= before {
                return Err(s3_error!(InvalidPartOrder));
            }
            before = number;
            let stored = upload.parts.get(&number).ok_or_else(|| s3_error!(InvalidPart))?;
            if part.e_tag.as_ref().is_some_and(|etag| etag.value() != stored.1) {
                return Err(s3_error!(InvalidPart));
            }
            if at + 1 < named.len() && stored.0.len() < PART_BYTES_MIN {
                return Err(s3_error!(EntityTooSmall));
            }
            pieces.push(stored.0.clone());
        }
        if pieces.is_empty() {
            return Err(s3_error!(MalformedXML));
        }
        let there = objects.objects.get(&input.key);
        let (if_none, if_match) = (input.if_none_match.as_ref(), input.if_match.as_ref());
        self.may_write(there, &request.headers, if_none, if_match)?;
        objects.uploads.remove(&input.upload_id);
        let bytes = Bytes::from(pieces.concat());
        let tag = format!("{}-{}", etag(&bytes), pieces.len());
        let etag = objects.put_tagged(&input.key, bytes, tag, None);
        Ok(S3Response::new(dto::CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(dto::ETag::Strong(etag)),
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<dto::AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::AbortMultipartUploadOutput>> {
        let mut objects = self.bucket(&request.input.bucket)?;
        match objects.uploads.remove(&request.input.upload_id) {
            Some(_) => Ok(S3Response::new(dto::AbortMultipartUploadOutput::default())),
            None => Err(s3_error!(NoSuchUpload)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faceledger::storage::block_on;
    use object_store::aws::{AmazonS3, AmazonS3Builder};
    use object_store::path::Path as Key;
    use object_store::{
        ClientOptions, Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode,
        PutOptions, PutResult, RetryConfig,
    };
    use std::sync::Barrier;
    use std::sync::mpsc;
    use std::time::Instant;

    /// A client that tells every failure and hides none by trying again.
    fn builder_of(bucket: &str, options: &BTreeMap<String, String>) -> AmazonS3Builder {
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() });
        for (name, value) in options {
            builder = builder.with_config(name.parse().expect("an option"), value);
        }
        builder
    }

    fn client_of(bucket: &str, options: &BTreeMap<String, String>) -> AmazonS3 {
        builder_of(bucket, options).build().expect("a client")
    }

    fn client(server: &S3Server) -> AmazonS3 {
        client_of(BUCKET, &server.options())
    }

    /// `Key::from` would percent-encode what it thinks odd.
    fn key_of(key: &str) -> Key {
        Key::parse(key).expect("a key")
    }

    fn read(store: &AmazonS3, key: &str) -> Result<Bytes, Error> {
        block_on(async { store.get(&key_of(key)).await?.bytes().await })
    }

    fn write(store: &AmazonS3, key: &str, bytes: &[u8]) -> Result<PutResult, Error> {
        block_on(store.put(&key_of(key), Bytes::copy_from_slice(bytes).into()))
    }

    fn create(store: &AmazonS3, key: &str, bytes: &[u8]) -> Result<PutResult, Error> {
        let bytes = Bytes::copy_from_slice(bytes).into();
        let options = PutOptions::from(PutMode::Create);
        block_on(store.put_opts(&key_of(key), bytes, options))
    }

    #[test]
    fn what_is_put_is_there() {
        let server = S3Server::start();
        let store = client(&server);
        let etag = write(&store, "a/b.json", b"0123456789").expect("writes").e_tag;
        assert_eq!(server.get("a/b.json").as_deref(), Some(&b"0123456789"[..]));
        assert_eq!(read(&store, "a/b.json").expect("reads"), "0123456789");
        let key = key_of("a/b.json");
        let range = |range| {
            let options = GetOptions { range: Some(range), ..GetOptions::default() };
            block_on(async { store.get_opts(&key, options).await?.bytes().await })
        };
        assert_eq!(range(GetRange::Bounded(2..5)).expect("reads"), "234");
        assert_eq!(range(GetRange::Offset(8)).expect("reads"), "89");
        assert_eq!(range(GetRange::Suffix(3)).expect("reads"), "789");
        assert!(range(GetRange::Offset(10)).is_err(), "416");
        let gets = server.seen_of(Op::Get);
        let asked: Vec<_> = gets.iter().map(|get| get.range.as_deref()).collect();
        let ranges = [None, Some("bytes=2-4"), Some("bytes=8-"), Some("bytes=-3")];
        assert_eq!(asked, [&ranges[..], &[Some("bytes=10-")]].concat());
        let sent: Vec<_> = gets[..4].iter().map(|get| (get.status, get.sent_bytes)).collect();
        assert_eq!(sent, [(Some(200), 10), (Some(206), 3), (Some(206), 2), (Some(206), 3)]);
        let head = block_on(store.head(&key)).expect("looks up");
        assert_eq!((head.size, head.e_tag), (10, etag.clone()));

        // Reads of one version only.
        let pinned = |etag: Option<String>| {
            let options = GetOptions { if_match: etag, ..GetOptions::default() };
            block_on(store.get_opts(&key, options))
        };
        pinned(etag.clone()).expect("the same version");
        server.put("a/b.json", "another");
        assert!(matches!(pinned(etag), Err(Error::Precondition { .. })));

        block_on(store.copy(&key, &key_of("c"))).expect("copies");
        assert_eq!(server.get("c").as_deref(), Some(&b"another"[..]));
        block_on(store.delete(&key)).expect("deletes");
        assert_eq!(server.list(""), ["c"]);
        assert!(matches!(read(&store, "a/b.json"), Err(Error::NotFound { .. })));
        assert!(server.delete("c") && !server.delete("c"));

        let folder = tempfile::tempdir().expect("a folder");
        server.put("out/t/x=1/f", "1");
        server.put("outer", "no");
        server.download("out", folder.path());
        assert_eq!(std::fs::read(folder.path().join("t/x=1/f")).expect("a file"), b"1");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn listings_come_in_pages_and_folders() {
        for listing_etags in [false, true] {
            let server =
                S3Server::start_with(Setup { listing_etags, page_keys_max: 2, ..Setup::default() });
            for key in ["a/1", "a/2", "a/b/3", "a/b/4", "a/c/5", "a/d", "b"] {
                server.put_at(key, "x", 1_700_000_000_999);
            }
            let store = client(&server);
            let below: Vec<_> =
                block_on(store.list(Some(&key_of("a"))).try_collect()).expect("lists");
            let keys: Vec<&str> = below.iter().map(|meta| meta.location.as_ref()).collect();
            assert_eq!(keys, ["a/1", "a/2", "a/b/3", "a/b/4", "a/c/5", "a/d"]);
            assert!(below.iter().all(|meta| meta.e_tag.is_some() == listing_etags));
            let seconds = |meta: &object_store::ObjectMeta| meta.last_modified.timestamp_millis();
            assert!(below.iter().all(|meta| seconds(meta) == 1_700_000_000_000));
            assert_eq!(server.seen_of(Op::List).len(), 3);
            let folders = block_on(store.list_with_delimiter(Some(&key_of("a")))).expect("lists");
            let prefixes: Vec<&str> = folders.common_prefixes.iter().map(Key::as_ref).collect();
            assert_eq!(prefixes, ["a/b", "a/c"]);
            assert_eq!(folders.objects.len(), 3);
            // a/1 a/2 | a/b a/c | a/d
            assert_eq!(server.seen_of(Op::List).len(), 6);
        }
    }

    #[test]
    fn parts_make_an_object_when_completed() {
        let server = S3Server::start();
        let store = client(&server);
        let part = Bytes::from(vec![7; PART_BYTES_MIN]);
        let key = key_of("big");
        block_on(async {
            let mut upload = store.put_multipart(&key).await.expect("begins");
            for part in [part.clone(), part.clone(), Bytes::from_static(b"end")] {
                upload.put_part(part.into()).await.expect("a part");
            }
            assert_eq!(server.get("big"), None);
            assert_eq!(server.uploads_open(), 1);
            upload.complete().await.expect("completes");
            let mut upload = store.put_multipart(&key).await.expect("begins");
            upload.put_part(Bytes::from_static(b"lost").into()).await.expect("a part");
            upload.abort().await.expect("aborts");
            let mut upload = store.put_multipart(&key).await.expect("begins");
            for _ in 0..2 {
                upload.put_part(Bytes::from_static(b"small").into()).await.expect("a part");
            }
            let error = upload.complete().await.expect_err("is too small").to_string();
            assert!(error.contains("EntityTooSmall"), "{error}");
        });
        assert_eq!(server.uploads_open(), 1);
        let whole = server.get("big").expect("is there");
        assert_eq!(whole.len(), 2 * PART_BYTES_MIN + 3);
        assert!(whole.ends_with(b"\x07end"));
        let parts = server.seen_of(Op::UploadPart);
        let sent: Vec<_> = parts.iter().map(|part| part.received_bytes).collect();
        assert_eq!(sent, [PART_BYTES_MIN as u64, PART_BYTES_MIN as u64, 3, 4, 5, 5]);
        assert!(parts[1].query.contains("partNumber=2"), "{}", parts[1].query);
    }

    #[test]
    fn of_racing_writers_one_wins() {
        for mode in [Mode::Conditional, Mode::IgnoresConditions] {
            let server = S3Server::start_with(Setup { mode, ..Setup::default() });
            let writers: Vec<AmazonS3> = (0..8).map(|_| client(&server)).collect();
            for round in 0..20 {
                let key = format!("_log/{round}");
                let start = Barrier::new(writers.len());
                let won: usize = std::thread::scope(|scope| {
                    let racing: Vec<_> = writers
                        .iter()
                        .enumerate()
                        .map(|(writer, store)| {
                            let (key, start) = (&key, &start);
                            scope.spawn(move || {
                                start.wait();
                                match create(store, key, writer.to_string().as_bytes()) {
                                    Ok(_) => 1,
                                    Err(Error::AlreadyExists { .. }) => 0,
                                    Err(error) => panic!("{error}"),
                                }
                            })
                        })
                        .collect();
                    racing.into_iter().map(|writer| writer.join().expect("ends")).sum()
                });
                let expected = if mode == Mode::Conditional { 1 } else { writers.len() };
                assert_eq!(won, expected, "{mode:?}, round {round}");
            }
            assert!(
                server.seen_of(Op::Put).iter().all(|put| put.if_none_match.as_deref() == Some("*"))
            );
        }
    }

    #[test]
    fn an_update_needs_the_version_it_saw() {
        let server = S3Server::start();
        let store = client(&server);
        let first = write(&store, "k", b"1").expect("writes");
        let update = |version: PutResult| {
            let options = PutOptions::from(PutMode::Update(version.into()));
            block_on(store.put_opts(&key_of("k"), Bytes::from_static(b"2").into(), options))
        };
        update(first.clone()).expect("nobody came between");
        assert!(matches!(update(first), Err(Error::Precondition { .. })));
        assert!(server.seen_of(Op::Put)[1].if_match.is_some());
    }

    #[test]
    fn who_may_not_is_told_with_a_request_id() {
        let server = S3Server::start();
        let mut options = server.options();
        let denied = |bucket: &str, options: &BTreeMap<String, String>| {
            write(&client_of(bucket, options), "k", b"1").expect_err("is refused").to_string()
        };
        let error = denied(DENIED_BUCKET, &options);
        assert!(error.contains("403") && error.contains("AccessDenied"), "{error}");
        assert!(error.contains("<RequestId>TESTREQ000000001</RequestId>"), "{error}");
        let error = denied("nobodys-1250000000", &options);
        assert!(error.contains("NoSuchBucket"), "{error}");
        options.insert("aws_secret_access_key".to_owned(), "wrong".to_owned());
        let error = denied(BUCKET, &options);
        assert!(error.contains("403") && error.contains("SignatureDoesNotMatch"), "{error}");
        options.insert("aws_access_key_id".to_owned(), "wrong".to_owned());
        let error = denied(BUCKET, &options);
        assert!(error.contains("403") && error.contains("InvalidAccessKeyId"), "{error}");
        let statuses: Vec<_> = server.seen().iter().map(|seen| seen.status).collect();
        assert_eq!(statuses, [Some(403), Some(404), Some(403), Some(403)]);
        assert_eq!(server.list(""), [""; 0]);
    }

    #[test]
    fn cos_wants_its_own_ways() {
        let server = S3Server::start_with(Setup { mode: Mode::Cos, ..Setup::default() });
        let mut options = server.options();
        let store = client_of(BUCKET, &options);
        write(&store, "年 1/x=1", b"1").expect("writes");
        assert_eq!(read(&store, "年 1/x=1").expect("reads"), "1");
        assert_eq!(server.list(""), ["年 1/x=1"]);
        assert_eq!(server.seen()[0].host, format!("{BUCKET}.{COS_DOMAIN}"));
        assert_eq!((&*server.seen()[0].bucket, &*server.seen()[0].key), (BUCKET, "年 1/x=1"));
        // If-None-Match is not looked at.
        create(&store, "年 1/x=1", b"2").expect("overwrites");
        assert_eq!(server.get("年 1/x=1").as_deref(), Some(&b"2"[..]));
        let all = block_on(store.list(None).try_collect::<Vec<_>>()).expect("lists");
        assert_eq!(all.len(), 1);
        let deleted = store.delete_stream(stream::iter([Ok(key_of("年 1/x=1"))]).boxed());
        block_on(deleted.try_collect::<Vec<_>>()).expect("deletes");
        assert_eq!(server.list(""), [""; 0]);

        // What forbids overwriting is COS's own header, here by way of a copy.
        options.insert(
            "aws_copy_if_not_exists".to_owned(),
            "header-with-status: x-cos-forbid-overwrite: true: 409".to_owned(),
        );
        let store = client_of(BUCKET, &options);
        server.put("from", "new");
        let copy = || block_on(store.copy_if_not_exists(&key_of("from"), &key_of("to")));
        copy().expect("is not there yet");
        assert_eq!(server.seen_of(Op::Copy)[0].forbid_overwrite.as_deref(), Some("true"));
        assert!(matches!(copy(), Err(Error::AlreadyExists { .. })));

        // And on a plain PUT, whose client sends it with everything.
        let value = HeaderValue::from_static("true");
        let name = HeaderName::from_static("x-cos-forbid-overwrite");
        let client_options = ClientOptions::new()
            .with_allow_http(true)
            .with_proxy_url(server.http())
            .with_default_headers(HeaderMap::from_iter([(name, value)]));
        let store = builder_of(BUCKET, &options).with_client_options(client_options);
        let store = store.build().expect("a client");
        write(&store, "once", b"1").expect("is not there yet");
        assert!(matches!(write(&store, "once", b"2"), Err(Error::AlreadyExists { .. })));
        assert_eq!(server.get("once").as_deref(), Some(&b"1"[..]));

        options.insert("aws_checksum_algorithm".to_owned(), "sha256".to_owned());
        let error = write(&client_of(BUCKET, &options), "k", b"1").expect_err("is refused");
        assert!(error.to_string().contains("InvalidArgument"), "{error}");
        options.remove("aws_checksum_algorithm");
        options.insert("aws_virtual_hosted_style_request".to_owned(), "false".to_owned());
        options.insert("aws_endpoint".to_owned(), format!("http://{COS_DOMAIN}"));
        let error = write(&client_of(BUCKET, &options), "k", b"1").expect_err("is refused");
        assert!(error.to_string().contains("PathStyleDomainForbidden"), "{error}");
        options.insert("aws_endpoint".to_owned(), server.http());
        options.remove("aws_proxy_url");
        let error = write(&client_of(BUCKET, &options), "k", b"1").expect_err("is refused");
        assert!(error.to_string().contains("PathStyleDomainForbidden"), "{error}");
    }

    #[test]
    fn faults_of_writes_do_what_they_say() {
        let cases: [(Kind, bool, Option<u16>); 6] = [
            (Kind::SlowDown503, false, Some(503)),
            (Kind::Error500, false, Some(500)),
            (Kind::NotFound404, false, Some(404)),
            (Kind::ResetBefore, false, None),
            (Kind::ResetAfter, true, None),
            (Kind::TimeoutAfterPut, true, None),
        ];
        for (kind, applied, status) in cases {
            let server = S3Server::start();
            let mut options = server.options();
            options.insert("timeout".to_owned(), "2s".to_owned());
            let store = client_of(BUCKET, &options);
            server.inject(Fault::on(Op::Put, kind.clone()).nth(2));
            write(&store, "1", b"x").expect("is the first");
            let error = write(&store, "2", b"x").expect_err("is the second");
            assert_eq!(server.get("2").is_some(), applied, "{kind:?}: {error:?}");
            write(&store, "3", b"x").expect("is the third");
            let statuses: Vec<_> = server.seen().iter().map(|seen| seen.status).collect();
            assert_eq!(statuses, [Some(200), status, Some(200)], "{kind:?}");
            if status.is_some() {
                let error = error.to_string();
                assert!(error.contains("TESTREQ000000002"), "{kind:?}: {error}");
            }
        }
    }

    #[test]
    fn faults_of_reads_do_what_they_say() {
        let kinds = [Kind::ResetMidBody, Kind::ShortBody, Kind::Stall(Duration::from_secs(600))];
        for kind in kinds {
            let server = S3Server::start();
            let whole = vec![b'x'; 100_000];
            server.put("k", whole.clone());
            let mut options = server.options();
            options.insert("timeout".to_owned(), "2s".to_owned());
            let store = client_of(BUCKET, &options);
            server.inject(Fault::on(Op::Get, kind.clone()).times(1));
            let got = block_on(async {
                let answer = store.get(&key_of("k")).await.expect("headers came");
                assert_eq!(answer.meta.size, 100_000, "{kind:?}");
                // The client would hide it: it asks again for what is missing.
                server.inject(Fault::on(Op::Get, Kind::Error500).times(100));
                let mut got = 0;
                let mut chunks = answer.into_stream();
                loop {
                    match chunks.next().await {
                        Some(Ok(chunk)) => got += chunk.len(),
                        Some(Err(_)) => return got,
                        None => panic!("{kind:?} looks like the end after {got}"),
                    }
                }
            });
            assert_eq!(got, 50_000, "{kind:?}");
            server.calm();
            assert_eq!(read(&store, "k").expect("reads").len(), 100_000);
        }
        let server = S3Server::start();
        server.put("k", "before");
        let store = client(&server);
        server.inject(Fault::on(Op::Get, Kind::ChangedEtag(Bytes::from_static(b"after"))));
        let head = block_on(store.head(&key_of("k"))).expect("looks up");
        let got = block_on(store.get(&key_of("k"))).expect("reads");
        assert_ne!(got.meta.e_tag, head.e_tag);
        assert_eq!(block_on(got.bytes()).expect("reads"), "after");
    }

    #[test]
    fn hooks_see_a_write_before_and_after_it_is_there() {
        let server = Arc::new(S3Server::start());
        let store = client(&server);
        let (arrived, arrivals) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let gone = Mutex::new(gone);
        server.on_request(move |seen| {
            if seen.write_number == Some(2) {
                arrived.send(seen.clone()).expect("is waited for");
                let _ = held(&gone).recv();
            }
            Action::Go
        });
        write(&store, "1", b"x").expect("writes");
        std::thread::scope(|scope| {
            let second = scope.spawn(|| write(&store, "2", b"x"));
            let seen = arrivals.recv().expect("arrives");
            assert_eq!((seen.op, &*seen.key, seen.number), (Op::Put, "2", 2));
            assert_eq!(server.list(""), ["1"]);
            // Meanwhile the server serves others.
            assert_eq!(read(&store, "1").expect("reads"), "x");
            go.send(()).expect("is waited for");
            second.join().expect("ends").expect("writes");
        });
        server.on_request(|seen| match &*seen.key {
            "3" => Action::Fail(Kind::ResetBefore),
            _ => Action::Go,
        });
        server.on_applied(|seen| match (&*seen.key, seen.status) {
            ("4", Some(200)) => Action::Fail(Kind::ResetAfter),
            _ => Action::Go,
        });
        assert!(write(&store, "3", b"x").is_err() && write(&store, "4", b"x").is_err());
        assert_eq!(server.list(""), ["1", "2", "4"]);
        let numbers: Vec<_> = server.seen_of(Op::Put).iter().map(|put| put.write_number).collect();
        assert_eq!(numbers, [Some(1), Some(2), Some(3), Some(4)]);
    }

    #[test]
    fn slow_is_no_faster_than_asked() {
        let server = S3Server::start();
        server.put("k", vec![b'x'; 300_000]);
        let store = client(&server);
        server.set_latency(Duration::from_millis(50));
        server.set_bytes_per_second(Some(1_000_000));
        let started = Instant::now();
        assert_eq!(read(&store, "k").expect("reads").len(), 300_000);
        assert!(started.elapsed() >= Duration::from_millis(350), "{:?}", started.elapsed());
        server.set_latency(Duration::ZERO);
        server.set_bytes_per_second(None);
        assert_eq!(read(&store, "k").expect("reads").len(), 300_000);
    }
}
