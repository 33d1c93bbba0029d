//! A store that answers late: enough of S3 to list and read objects, for measuring what a client does while it
//! waits.
//!
//! Takes a folder, or a number of made-up objects, and a bucket's name; answers LIST (version 2, in pages,
//! with and without a delimiter), HEAD and GET (whole or one range) on a port of 127.0.0.1, each after
//! `--latency-ms`, all bodies together at most as fast as `--bandwidth`. It checks no signature and writes
//! nothing. A plain thread for each connection, which sleeps most of the time: a request costs the
//! machine a few system calls, so that what is measured is the client. Nothing but the standard library.
//!
//! It prints its address, and goes on until it is killed or its standard input ends (with `--until-eof`).
//! `GET /_cpu` answers what it has cost and sent so far: `{"cpu_ms":…,"gets":…,"lists":…,"bytes":…}`.
//!
//! `cargo run --release --example slow_store -- --folder results/ --latency-ms 20`

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

const USAGE: &str = "slow_store (--folder DIR | --made-up N [--object-bytes N]) [--bucket NAME] [--port N] \
[--latency-ms N] [--bandwidth BYTES_PER_S] [--until-eof]";

/// Keys to a page, as S3 answers.
const PAGE_KEYS_MAX: usize = 1000;
/// Bytes of a body written at a time, so that bodies share the bandwidth.
const PIECE_BYTES: usize = 64 << 10;
/// When made-up objects were written: 2026-03-01T00:00:00Z.
const MADE_UP_MODIFIED_S: u64 = 1_772_323_200;
/// Days over which made-up objects lie.
const MADE_UP_DAYS: u64 = 3;

struct Args {
    folder: Option<PathBuf>,
    made_up: u64,
    object_bytes: usize,
    bucket: String,
    port: u16,
    latency: Duration,
    bytes_per_s: Option<u64>,
    until_eof: bool,
}

fn args() -> Result<Args, Box<dyn Error>> {
    let mut args = Args {
        folder: None,
        made_up: 0,
        object_bytes: 1200,
        bucket: "bench".to_owned(),
        port: 0,
        latency: Duration::from_millis(20),
        bytes_per_s: None,
        until_eof: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        if name == "--until-eof" {
            args.until_eof = true;
            continue;
        }
        let value = words.next().ok_or(USAGE)?;
        match name.as_str() {
            "--folder" => args.folder = Some(fs::canonicalize(value)?),
            "--made-up" => args.made_up = value.parse()?,
            "--object-bytes" => args.object_bytes = value.parse()?,
            "--bucket" => args.bucket = value,
            "--port" => args.port = value.parse()?,
            "--latency-ms" => args.latency = Duration::from_secs_f64(value.parse::<f64>()? / 1e3),
            "--bandwidth" => args.bytes_per_s = Some(value.parse()?),
            _ => return Err(USAGE.into()),
        }
    }
    match (&args.folder, args.made_up) {
        (Some(_), 0) => Ok(args),
        (None, 1..) => Ok(args),
        _ => Err(USAGE.into()),
    }
}

/// An object as a listing tells it.
struct Entry {
    bytes: u64,
    modified_s: u64,
    etag: String,
}

/// What a made-up object is made of: its number stands in the middle.
struct MadeUp {
    head: String,
    tail: String,
}

impl MadeUp {
    /// A result with one attempt, as long as asked for by a picture of nothing.
    fn of(object_bytes: usize) -> MadeUp {
        let head = r#"{"Response":{"RequestId":"r","IsVerifyIntention":false,"Text":{"ErrCode":0,"Extra":"app","LivenessDetail":[{"ReqTime":"1772330000000","Errcode":0,"IsNeedCharge":true,"CompareLibType":"权威库","Seq":"seq-"#;
        let tail = |picture: &str| format!(r#""}}]}},"BestFrame":{{"BestFrame":"{picture}"}}}}}}"#);
        let short = head.len() + DIGITS + tail("").len();
        let picture = "A".repeat(object_bytes.saturating_sub(short) / 4 * 4);
        MadeUp { head: head.to_owned(), tail: tail(&picture) }
    }

    fn bytes(&self) -> u64 {
        (self.head.len() + DIGITS + self.tail.len()) as u64
    }
}

/// Digits of a made-up object's number.
const DIGITS: usize = 10;

struct Store {
    bucket: String,
    folder: PathBuf,
    made_up: Option<MadeUp>,
    objects: BTreeMap<String, Entry>,
    latency: Duration,
    bytes_per_s: Option<u64>,
    /// Until when the line is taken.
    line: Mutex<Instant>,
    gets: AtomicU64,
    lists: AtomicU64,
    bytes: AtomicU64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = args()?;
    let mut objects = BTreeMap::new();
    let mut made_up = None;
    match &args.folder {
        Some(folder) => walk(folder, "", &mut objects)?,
        None => {
            let content = MadeUp::of(args.object_bytes);
            for number in 0..args.made_up {
                let day = number * MADE_UP_DAYS / args.made_up + 1;
                let key = format!("channel=app/dt=2026-03-0{day}/T{number:0DIGITS$}_1.json");
                let (bytes, modified_s) = (content.bytes(), MADE_UP_MODIFIED_S);
                objects.insert(key, Entry { bytes, modified_s, etag: format!("{number:032x}") });
            }
            made_up = Some(content);
        }
    }
    let store = Arc::new(Store {
        bucket: args.bucket,
        folder: args.folder.unwrap_or_default(),
        made_up,
        objects,
        latency: args.latency,
        bytes_per_s: args.bytes_per_s,
        line: Mutex::new(Instant::now()),
        gets: AtomicU64::new(0),
        lists: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
    });
    let listener = TcpListener::bind(("127.0.0.1", args.port))?;
    let mut out = io::stdout();
    writeln!(out, "http://{}", listener.local_addr()?)?;
    out.flush()?;
    let accept = move || {
        for connection in listener.incoming() {
            let store = Arc::clone(&store);
            // A connection that breaks off is its client's affair.
            thread::spawn(move || connection.and_then(|connection| store.serve(connection)));
        }
    };
    match args.until_eof {
        true => {
            thread::spawn(accept);
            io::copy(&mut io::stdin(), &mut io::sink())?;
        }
        false => accept(),
    }
    Ok(())
}

fn walk(folder: &Path, key: &str, objects: &mut BTreeMap<String, Entry>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let key = if key.is_empty() { name } else { format!("{key}/{name}") };
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            walk(&entry.path(), &key, objects)?;
        } else {
            let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let etag = format!("{:x}-{:x}", modified.as_nanos(), metadata.len());
            let (bytes, modified_s) = (metadata.len(), modified.as_secs());
            objects.insert(key, Entry { bytes, modified_s, etag });
        }
    }
    Ok(())
}

/// What is looked at of a request.
struct Request {
    method: String,
    path: String,
    query: String,
    range: Option<String>,
    if_match: Option<String>,
}

/// The next request of a connection; None at its end.
fn next_request(input: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or("").to_owned();
    let target = words.next().unwrap_or("");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method,
        path: decoded(path, false),
        query: query.to_owned(),
        range: None,
        if_match: None,
    };
    let mut body_bytes = 0;
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let value = value.trim();
        if name.eq_ignore_ascii_case("range") {
            request.range = Some(value.to_owned());
        } else if name.eq_ignore_ascii_case("if-match") {
            request.if_match = Some(value.to_owned());
        } else if name.eq_ignore_ascii_case("content-length") {
            body_bytes = value.parse().unwrap_or(0);
        }
    }
    io::copy(&mut input.take(body_bytes), &mut io::sink())?;
    Ok(Some(request))
}

fn decoded(text: &str, plus_is_space: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let hex = rest.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (byte, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &rest[2..];
            }
            (b'+', _) if plus_is_space => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An answer: its status, headers beside the length, and a body.
struct Answer {
    status: &'static str,
    headers: String,
    body: Vec<u8>,
    /// The length of the body that a HEAD does not get.
    bytes_told: Option<u64>,
}

impl Answer {
    fn xml(status: &'static str, body: String) -> Answer {
        let headers = "content-type: application/xml\r\n".to_owned();
        Answer { status, headers, body: body.into_bytes(), bytes_told: None }
    }

    fn refusal(status: &'static str, code: &str) -> Answer {
        Answer::xml(status, format!("<Error><Code>{code}</Code></Error>"))
    }
}

impl Store {
    fn serve(&self, connection: TcpStream) -> io::Result<()> {
        connection.set_nodelay(true)?;
        let mut output = connection.try_clone()?;
        let mut input = BufReader::with_capacity(8 << 10, connection);
        while let Some(request) = next_request(&mut input)? {
            let came = Instant::now();
            let answer = self.answer(&request)?;
            if request.path != "/_cpu" {
                thread::sleep((came + self.latency).saturating_duration_since(Instant::now()));
            }
            self.send(&mut output, answer)?;
        }
        Ok(())
    }

    fn send(&self, output: &mut TcpStream, answer: Answer) -> io::Result<()> {
        let Answer { status, headers, body, bytes_told } = answer;
        let length = bytes_told.unwrap_or(body.len() as u64);
        let mut head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n");
        let mut first = std::mem::take(&mut head).into_bytes();
        // Head and first piece in one system call.
        let begin = body.len().min(PIECE_BYTES);
        first.extend_from_slice(&body[..begin]);
        self.wait_for_line(first.len());
        output.write_all(&first)?;
        for piece in body[begin..].chunks(PIECE_BYTES) {
            self.wait_for_line(piece.len());
            output.write_all(piece)?;
        }
        self.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the line for so many bytes, and waits until they are through.
    fn wait_for_line(&self, bytes: usize) {
        let Some(bytes_per_s) = self.bytes_per_s else { return };
        let until = {
            let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
            let takes = Duration::from_secs_f64(bytes as f64 / bytes_per_s as f64);
            *line = (*line).max(Instant::now()) + takes;
            *line
        };
        thread::sleep(until.saturating_duration_since(Instant::now()));
    }

    fn answer(&self, request: &Request) -> io::Result<Answer> {
        if request.path == "/_cpu" {
            return Ok(self.costs());
        }
        let within = request.path.strip_prefix('/').and_then(|p| p.strip_prefix(&*self.bucket));
        let Some(key) = within else {
            return Ok(Answer::refusal("404 Not Found", "NoSuchBucket"));
        };
        match (request.method.as_str(), key.strip_prefix('/').unwrap_or("")) {
            ("GET", "") => {
                self.lists.fetch_add(1, Ordering::Relaxed);
                Ok(self.list(&request.query))
            }
            ("GET" | "HEAD", key) => {
                self.gets.fetch_add(1, Ordering::Relaxed);
                self.object(request, key)
            }
            _ => Ok(Answer::refusal("405 Method Not Allowed", "MethodNotAllowed")),
        }
    }

    fn object(&self, request: &Request, key: &str) -> io::Result<Answer> {
        let Some(entry) = self.objects.get(key) else {
            return Ok(Answer::refusal("404 Not Found", "NoSuchKey"));
        };
        let is_it = |etag: &str| etag.trim_matches('"') == entry.etag || etag == "*";
        if !request.if_match.as_deref().is_none_or(is_it) {
            return Ok(Answer::refusal("412 Precondition Failed", "PreconditionFailed"));
        }
        let (from, to) = match request.range.as_deref().map(|range| ends(range, entry.bytes)) {
            None => (0, entry.bytes),
            Some(Some((from, to))) if from < to => (from, to),
            Some(_) => return Ok(Answer::refusal("416 Range Not Satisfiable", "InvalidRange")),
        };
        let mut headers = format!(
            "etag: \"{}\"\r\nlast-modified: {}\r\naccept-ranges: bytes\r\n",
            entry.etag,
            http_date(entry.modified_s),
        );
        let mut status = "200 OK";
        if request.range.is_some() {
            status = "206 Partial Content";
            let last = to - 1;
            let _ = write!(headers, "content-range: bytes {from}-{last}/{}\r\n", entry.bytes);
        }
        let head = request.method == "HEAD";
        let body = if head { Vec::new() } else { self.read(key, from, to)? };
        Ok(Answer { status, headers, body, bytes_told: head.then_some(to - from) })
    }

    fn read(&self, key: &str, from: u64, to: u64) -> io::Result<Vec<u8>> {
        if let Some(content) = &self.made_up {
            let number = key.rsplit('T').next().and_then(|rest| rest.get(..DIGITS)).unwrap_or("");
            let whole = format!("{}{number}{}", content.head, content.tail).into_bytes();
            return Ok(whole[from as usize..to as usize].to_vec());
        }
        let mut body = vec![0; (to - from) as usize];
        File::open(self.folder.join(key))?.read_exact_at(&mut body, from)?;
        Ok(body)
    }

    fn list(&self, query: &str) -> Answer {
        let mut asked: BTreeMap<String, String> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), decoded(value, true)))
            .collect();
        let mut take = |name: &str| asked.remove(name).unwrap_or_default();
        let (prefix, delimiter) = (take("prefix"), take("delimiter"));
        let after = match take("continuation-token") {
            token if token.is_empty() => take("start-after"),
            token => token,
        };
        let keys_max = take("max-keys").parse().unwrap_or(PAGE_KEYS_MAX).min(PAGE_KEYS_MAX);
        let mut page = String::new();
        let (mut found, mut last) = (0, String::new());
        let mut at = match after > prefix {
            true => Bound::Excluded(after),
            false => Bound::Included(prefix.clone()),
        };
        let mut more = false;
        while let Some((key, entry)) = self.objects.range((at, Bound::Unbounded)).next() {
            let Some(rest) = key.strip_prefix(&prefix) else { break };
            if found == keys_max {
                more = true;
                break;
            }
            found += 1;
            let folder = match delimiter.is_empty() {
                true => None,
                false => rest.find(&delimiter).map(|end| &key[..prefix.len() + end + 1]),
            };
            last = match folder {
                Some(folder) => {
                    let name = escaped(folder);
                    let _ =
                        write!(page, "<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>");
                    // Beyond all that lies in it.
                    format!("{folder}\u{10ffff}")
                }
                None => {
                    let _ = write!(
                        page,
                        "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>&quot;{}&quot;</ETag><Size>{}</Size></Contents>",
                        escaped(key),
                        iso_date(entry.modified_s),
                        entry.etag,
                        entry.bytes,
                    );
                    key.clone()
                }
            };
            at = Bound::Excluded(last.clone());
        }
        let token = match more {
            true => format!("<NextContinuationToken>{}</NextContinuationToken>", escaped(&last)),
            false => String::new(),
        };
        let (name, prefix) = (&self.bucket, escaped(&prefix));
        Answer::xml(
            "200 OK",
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult><Name>{name}</Name><Prefix>{prefix}</Prefix><KeyCount>{found}</KeyCount><MaxKeys>{keys_max}</MaxKeys><IsTruncated>{more}</IsTruncated>{token}{page}</ListBucketResult>"
            ),
        )
    }

    fn costs(&self) -> Answer {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let body = format!(
            "{{\"cpu_ms\":{},\"gets\":{},\"lists\":{},\"bytes\":{}}}",
            cpu_ms(),
            read(&self.gets),
            read(&self.lists),
            read(&self.bytes),
        );
        Answer { status: "200 OK", headers: String::new(), body: body.into(), bytes_told: None }
    }
}

/// User and system time of this process, where the system tells it in Linux's way (in hundredths of a second).
fn cpu_ms() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which stands in parentheses and may hold anything.
    let fields = stat.rsplit(") ").next().unwrap_or("");
    let ticks = |place: usize| fields.split(' ').nth(place).and_then(|t| t.parse::<u64>().ok());
    (ticks(11).unwrap_or(0) + ticks(12).unwrap_or(0)) * 10
}

/// The ends of `bytes=a-b`, `bytes=a-` or `bytes=-n` in an object of so many bytes.
fn ends(range: &str, bytes: u64) -> Option<(u64, u64)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    match (from, to) {
        ("", last) => Some((bytes.saturating_sub(last.parse().ok()?), bytes)),
        (from, "") => Some((from.parse().ok()?, bytes)),
        (from, to) => {
            Some((from.parse().ok()?, to.parse::<u64>().ok()?.checked_add(1)?.min(bytes)))
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Year, month, day of days since 1970, by the calendar's cycle of 400 years that begins in March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

fn iso_date(s: u64) -> String {
    let ((year, month, day), s) = (civil(s / 86_400), s % 86_400);
    format!("{year}-{month:02}-{day:02}T{:02}:{:02}:{:02}.000Z", s / 3600, s / 60 % 60, s % 60)
}

fn http_date(s: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, (year, month, day), s) = (s / 86_400, civil(s / 86_400), s % 86_400);
    let (weekday, month) = (DAYS[(days % 7) as usize], MONTHS[month as usize - 1]);
    format!(
        "{weekday}, {day:02} {month} {year} {:02}:{:02}:{:02} GMT",
        s / 3600,
        s / 60 % 60,
        s % 60
    )
}
