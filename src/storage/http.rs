//! Takes the connector of `object_store`'s HTTP stores; gives one that sees every request, retries
//! included: it counts them, keeps their number in flight within what the store bears, ends those that
//! hang, and puts the store's request id into the text of every refusal. It repeats nothing itself:
//! that is `object_store`'s retry.
//!
//! Which names of options set time limits, in `[source.options]` and `[output.options]`: `timeout` and
//! `connect_timeout` for every store behind HTTP; for S3 also `aws_timeout` and
//! `aws_connect_timeout`, and the variables `AWS_TIMEOUT` and `AWS_CONNECT_TIMEOUT`. The values are like
//! `30s` or `5 minutes`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use http_body::{Body, Frame, SizeHint};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService, ReqwestConnector,
};
use object_store::path::Path;
use tokio::sync::Notify;

use super::create::jitter;
use super::error::{Refusal, scrubbed};
use super::guard::{COUNTS, count};

/// Requests in flight to one bucket. What small objects need: with 20 ms to an answer, 256 at a time are 12,000 a
/// second, more than two cores decode or a store answers below one prefix.
pub(super) const IN_FLIGHT_MAX: u32 = 256;
/// How long nothing may arrive while an answer is awaited. The client's own limit, 30 s for a whole
/// request, would end every download that takes longer, however well it goes: it is off unless named.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long a write may be without an answer, beyond the time its body takes: a store may have to
/// put many parts together first.
const WRITE_ANSWER_MAX: Duration = Duration::from_secs(60);
/// The slowest line that an upload is given time for.
const UPLOAD_BYTES_PER_S: u64 = 64 << 10;
/// The shortest pause of all requests after "slow down"; up to three times this, at random, so that
/// processes that were refused together do not come back together.
const SLOW_DOWN_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause that a store may ask for by `Retry-After`.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(20);
/// Of a refusal's body, this much is read.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// Of a refusal without a code, this much is told.
const REFUSAL_CHARS_MAX: usize = 300;
/// How long a machine's metadata service may take to answer: it is one hop away, or not there at all.
const METADATA_ANSWER_MAX: Duration = Duration::from_secs(2);
/// For how long its silence is remembered.
const METADATA_SILENCE: Duration = Duration::from_secs(30);

/// What is the same for every request to one bucket.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    pub gate: Arc<Gate>,
    /// None when the options name a limit for the whole request.
    pub idle: Option<Duration>,
    /// What to say when there are no credentials.
    pub no_credentials: &'static str,
}

impl Connector {
    pub fn new(gate: Arc<Gate>, scheme: &str, whole_request_limited: bool) -> Connector {
        let no_credentials = match scheme {
            "gs" => {
                "no credentials: set GOOGLE_SERVICE_ACCOUNT (a file), or service_account in the \
                 options (the machine's metadata service, asked last, gave none)"
            }
            "az" | "azure" | "abfs" | "abfss" | "adl" => {
                "no credentials: set AZURE_STORAGE_ACCOUNT_KEY, or account_key in the options (the \
                 machine's metadata service, asked last, gave none)"
            }
            _ => {
                "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or access_key_id \
                 and secret_access_key in the options (the machine's metadata service, asked last, \
                 gave none)"
            }
        };
        let idle = (!whole_request_limited).then_some(IDLE_MAX);
        Connector { gate, idle, no_credentials }
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        let silent_since = Mutex::new(None);
        Ok(HttpClient::new(Watched { inner, connector: self.clone(), silent_since }))
    }
}

/// A client whose requests are watched.
#[derive(Debug)]
struct Watched {
    inner: HttpClient,
    connector: Connector,
    /// When the metadata service last failed to answer.
    silent_since: Mutex<Option<Instant>>,
}

impl HttpService for Watched {
    fn call<'a, 'c>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>
    where
        'a: 'c,
        Self: 'c,
    {
        match asks_metadata(&request) {
            true => self.ask_metadata(request).boxed(),
            false => self.exchange(request).boxed(),
        }
    }
}

impl Watched {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let kind = Kind::of(&request);
        let gate = &self.connector.gate;
        let place = gate.enter().await;
        count(match kind {
            Kind::List => &COUNTS.list,
            Kind::Get => &COUNTS.get,
            Kind::Put => &COUNTS.put,
            Kind::Delete => &COUNTS.delete,
        });
        let limit = self.connector.idle.map(|idle| match kind {
            Kind::List | Kind::Get => idle,
            Kind::Put | Kind::Delete => {
                let body = request.body().content_length() as u64;
                idle.max(WRITE_ANSWER_MAX) + Duration::from_secs(body / UPLOAD_BYTES_PER_S)
            }
        });
        let answer = within(limit, self.inner.execute(request)).await;
        // The place is for the request, not for its body: whoever reads one slowly, or holds it while
        // it asks for another, must not keep the others out.
        drop(place);
        let response = answer.inspect_err(|_| count(&COUNTS.failed))?;
        let status = response.status().as_u16();
        match status {
            429 | 503 => {
                count(&COUNTS.throttled);
                gate.slow_down(retry_after(&response));
            }
            500.. => count(&COUNTS.failed),
            _ => gate.went_well(),
        }
        let (parts, body) = response.into_parts();
        let body = HttpResponseBody::new(WatchedBody::new(body, self.connector.idle));
        let response = HttpResponse::from_parts(parts, body);
        match status {
            200..300 if kind == Kind::List => readable(response).await,
            200..300 | 304 => Ok(response),
            // The client follows those with a place to go to; what is left says "elsewhere" and no more.
            300..400 => Err(refused(Refusal::Redirected(told(&response, "")))),
            // The client would repeat this like any other 5xx, for minutes.
            501 => Err(refused(Refusal::NotImplemented(with_text(response).await.1))),
            _ => {
                let (parts, text) = with_text(response).await;
                Ok(HttpResponse::from_parts(parts.into_parts().0, text.into()))
            }
        }
    }

    /// Credentials of last resort. A machine without them has nobody who answers there: that is told
    /// within seconds, not asked for minutes.
    async fn ask_metadata(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let none = || refused(Refusal::NoCredentials(self.connector.no_credentials));
        let silent = || self.silent_since.lock().unwrap_or_else(PoisonError::into_inner);
        if silent().is_some_and(|since| since.elapsed() < METADATA_SILENCE) {
            return Err(none());
        }
        for _ in 0..2 {
            let answer = within(Some(METADATA_ANSWER_MAX), self.inner.execute(request.clone()));
            let Ok(response) = answer.await else { continue };
            match response.status().as_u16() {
                // 403 to the token's PUT means that the older protocol may be tried.
                200..300 | 403 | 429 => return Ok(response),
                500.. => {}
                _ => break,
            }
        }
        *silent() = Some(Instant::now());
        Err(none())
    }
}

fn refused(refusal: Refusal) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, refusal)
}

async fn within<T>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    match limit {
        None => work.await,
        Some(limit) => match tokio::time::timeout(limit, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(HttpError::new(HttpErrorKind::Timeout, Silence(limit))),
        },
    }
}

/// Nothing arrived for too long.
#[derive(Debug, thiserror::Error)]
#[error("nothing arrived for {0:?}")]
struct Silence(Duration);

/// The addresses at which clouds answer a machine's question who it is. No request to a store has such a
/// host; one to a path of that kind is told by having no signature.
fn asks_metadata(request: &HttpRequest) -> bool {
    let uri = request.uri();
    let host = uri.host().unwrap_or("").trim_matches(['[', ']']);
    let unsigned = !request.headers().contains_key("authorization");
    matches!(host, "169.254.169.254" | "metadata.google.internal" | "metadata" | "fd00:ec2::254")
        || unsigned
            && (uri.path() == "/latest/api/token"
                || uri.path().starts_with("/latest/meta-data/iam/security-credentials"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    List,
    Get,
    Put,
    Delete,
}

impl Kind {
    fn of(request: &HttpRequest) -> Kind {
        let query = request.uri().query().unwrap_or("");
        let asks = |word: &str| query.split('&').any(|pair| pair == word);
        match request.method().as_str() {
            "GET" if asks("list-type=2") || asks("comp=list") => Kind::List,
            "PROPFIND" => Kind::List,
            "GET" | "HEAD" => Kind::Get,
            "DELETE" => Kind::Delete,
            "POST" if asks("delete") || asks("delete=") || asks("comp=batch") => Kind::Delete,
            _ => Kind::Put,
        }
    }
}

fn retry_after(response: &HttpResponse) -> Duration {
    let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let seconds = header.and_then(|value| value.trim().parse().ok()).unwrap_or(0);
    Duration::from_secs(seconds).min(RETRY_AFTER_MAX)
}

/// How many requests may be in flight, found as TCP finds its window: one more after a whole round
/// without a refusal, half as many after one.
#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<GateState>,
    changed: Notify,
}

#[derive(Debug)]
struct GateState {
    in_flight: u32,
    bound: u32,
    /// Answers since the bound was last changed.
    went_well: u32,
    paused_until: Option<Instant>,
}

impl Default for Gate {
    fn default() -> Gate {
        let state =
            GateState { in_flight: 0, bound: IN_FLIGHT_MAX, went_well: 0, paused_until: None };
        Gate { state: Mutex::new(state), changed: Notify::new() }
    }
}

impl Gate {
    fn state(&self) -> std::sync::MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place among the requests in flight.
    pub async fn enter(&self) -> InFlight<'_> {
        // Who is woken and gives up, in a pause say, has taken the wake-up of another one: nobody else may be there to wake it.
        let woken = HandsOn(self);
        loop {
            // Registered before the look, so that a place freed in between is not missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let pause = {
                let mut state = self.state();
                let now = Instant::now();
                match state.paused_until.filter(|until| *until > now) {
                    Some(until) => Some(until),
                    None if state.in_flight < state.bound => {
                        state.in_flight += 1;
                        std::mem::forget(woken);
                        return InFlight(self);
                    }
                    None => None,
                }
            };
            match pause {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => changed.await,
            }
        }
    }

    pub fn slow_down(&self, asked: Duration) {
        let pause = SLOW_DOWN_PAUSE + jitter(2 * SLOW_DOWN_PAUSE);
        let mut state = self.state();
        let now = Instant::now();
        // The refusals of one burst count once: they were all on their way before the first arrived.
        if state.paused_until.is_none_or(|until| until <= now) {
            state.bound = (state.bound / 2).max(1);
            state.went_well = 0;
        }
        let until = now + pause.max(asked);
        state.paused_until = Some(state.paused_until.map_or(until, |before| before.max(until)));
    }

    pub fn went_well(&self) {
        let mut state = self.state();
        state.went_well += 1;
        if state.went_well >= state.bound && state.bound < IN_FLIGHT_MAX {
            state.bound += 1;
            state.went_well = 0;
            self.changed.notify_one();
        }
    }

    /// How many requests may be in flight by now.
    pub fn bound(&self) -> u32 {
        self.state().bound
    }
}

/// Wakes the next one, unless it is forgotten.
struct HandsOn<'g>(&'g Gate);

impl Drop for HandsOn<'_> {
    fn drop(&mut self) {
        self.0.changed.notify_one();
    }
}

/// A place among the requests in flight, freed by dropping it.
pub(super) struct InFlight<'g>(&'g Gate);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.state().in_flight -= 1;
        self.0.changed.notify_one();
    }
}

/// A body that is counted, and that fails when nothing arrives for too long while somebody waits.
struct WatchedBody {
    body: HttpResponseBody,
    idle: Option<Duration>,
    waiting: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl WatchedBody {
    fn new(body: HttpResponseBody, idle: Option<Duration>) -> WatchedBody {
        WatchedBody { body, idle, waiting: None }
    }
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                self.waiting = None;
                match &frame {
                    Some(Ok(frame)) => {
                        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                        COUNTS.bytes_received.fetch_add(bytes, Ordering::Relaxed);
                    }
                    Some(Err(_)) => count(&COUNTS.failed),
                    None => {}
                }
                Poll::Ready(frame)
            }
            Poll::Pending => {
                let Some(idle) = self.idle else { return Poll::Pending };
                let waiting =
                    self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
                match waiting.as_mut().poll(context) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(()) => {
                        count(&COUNTS.failed);
                        let silence = HttpError::new(HttpErrorKind::Timeout, Silence(idle));
                        Poll::Ready(Some(Err(silence)))
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A refusal with its body read and told in our words.
async fn with_text(response: HttpResponse) -> (HttpResponse, String) {
    let (parts, body) = response.into_parts();
    let mut bytes = Vec::new();
    let mut chunks = body.bytes_stream();
    // A body that breaks off still leaves the status and what has come of it.
    while let Some(Ok(chunk)) = chunks.next().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > REFUSAL_BYTES_MAX {
            break;
        }
    }
    let response = HttpResponse::from_parts(parts, Bytes::new().into());
    let text = told(&response, &String::from_utf8_lossy(&bytes));
    (response, text)
}

/// The refusal's code and message with the request's id. The rest of S3's XML repeats the request, the
/// key id and what was signed.
fn told(response: &HttpResponse, body: &str) -> String {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let code = inside(body, "Code").or(header("x-ms-error-code").map(str::to_owned));
    let message = inside(body, "Message");
    let mut text = match (code, message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code,
        (None, Some(message)) => message,
        (None, None) => body.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    text = scrubbed(&text).chars().take(REFUSAL_CHARS_MAX).collect();
    if text.is_empty() {
        // 3xx and answers to HEAD hold nothing else.
        text = response.status().to_string();
    }
    const IDS: [&str; 5] = [
        "x-amz-request-id",
        "x-cos-request-id",
        "x-ms-request-id",
        "x-guploader-uploadid",
        "x-goog-request-id",
    ];
    if let Some(id) = IDS.iter().find_map(|name| header(name)) {
        text.push_str(&format!(" (request id {id})"));
    }
    text
}

/// The text of the first XML element of this name.
fn inside(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.trim();
    (!text.is_empty()).then(|| unescaped(text))
}

fn unescaped(text: &str) -> String {
    let mut text = text.to_owned();
    // Characters by number: a control character in a key is written so.
    let mut at = 0;
    while let Some(begin) = text[at..].find("&#").map(|found| at + found) {
        at = begin + 2;
        let Some(end) = text[at..].find(';').map(|found| at + found) else { break };
        let number = match text[at..end].strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => text[at..end].parse().ok(),
        };
        // A `&` by number must not begin another reference.
        if let Some(character) = number.and_then(char::from_u32).filter(|c| *c != '&') {
            text.replace_range(begin..=end, character.encode_utf8(&mut [0; 4]));
            at = begin + character.len_utf8();
        }
    }
    // `&amp;` last, so that what it uncovers is not taken for another.
    for (written, meant) in
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")]
    {
        text = text.replace(written, meant);
    }
    text
}

tokio::task_local! {
    /// What a listing leaves out, for who asked for it: the answer itself has no place to say it.
    pub(super) static UNREADABLE: RefCell<BTreeSet<String>>;
}

/// A page of a listing without the markers of empty folders that consoles write: objects of no bytes whose
/// key ends with `/`. `object_store` would show them without the `/`, as objects that are not there. And
/// without keys that it would show as another's, or that would end the whole listing: those are
/// told by [`UNREADABLE`].
async fn readable(response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (parts, body) = response.into_parts();
    let page = body.bytes().await?;
    let page = match std::str::from_utf8(&page) {
        Ok(text) => {
            let (text, unreadable) = readable_page(text);
            if !unreadable.is_empty() {
                // Whoever lists without asking for them looks for names of our own making only.
                let _ = UNREADABLE.try_with(|told| told.borrow_mut().extend(unreadable));
            }
            text.map_or(page, Bytes::from)
        }
        // The client says what is wrong with it.
        Err(_) => page,
    };
    Ok(HttpResponse::from_parts(parts, page.into()))
}

/// The page as it is passed on, None when all of it is, and the keys left out of it.
pub(super) fn readable_page(page: &str) -> (Option<String>, Vec<String>) {
    // An entry, its name and, for objects, its size: S3 and GCS, then Azure.
    const ENTRIES: [(&str, &str, &str, Option<&str>); 4] = [
        ("<Contents>", "</Contents>", "Key", Some("Size")),
        ("<CommonPrefixes>", "</CommonPrefixes>", "Prefix", None),
        ("<Blob>", "</Blob>", "Name", Some("Content-Length")),
        ("<BlobPrefix>", "</BlobPrefix>", "Name", None),
    ];
    let mut changed: Option<String> = None;
    let mut unreadable = Vec::new();
    for (open, close, name, size) in ENTRIES {
        let page = changed.as_deref().unwrap_or(page);
        let mut kept = String::new();
        // Up to here the page is in `kept`.
        let mut taken = 0;
        let mut at = 0;
        while let Some(begin) = page[at..].find(open).map(|found| at + found) {
            let Some(end) = page[begin..].find(close).map(|found| begin + found + close.len())
            else {
                break;
            };
            at = end;
            let entry = &page[begin..end];
            let key = entry
                .split_once(&format!("<{name}>"))
                .and_then(|(_, rest)| rest.split_once('<'))
                .map_or(String::new(), |(key, _)| unescaped(key));
            let marker = key.ends_with('/')
                && size.is_some_and(|size| inside(entry, size).as_deref() == Some("0"));
            // The name of a folder ends with `/`.
            let bare = if size.is_none() { key.strip_suffix('/') } else { None };
            let bare = bare.unwrap_or(&key);
            if !marker && Path::parse(bare).is_ok_and(|path| path.as_ref() == bare) {
                continue;
            }
            kept.push_str(&page[taken..begin]);
            taken = end;
            if !marker {
                unreadable.push(key);
            }
        }
        if taken > 0 {
            kept.push_str(&page[taken..]);
            changed = Some(kept);
        }
    }
    (changed, unreadable)
}
