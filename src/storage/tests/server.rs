//! A server on loopback that says what a test tells it to, down to half an answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::{Limits, Place};
use super::BTreeMap;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub target: String,
    headers: Vec<(String, String)>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// First and last byte of a Range header.
    pub fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().unwrap_or(usize::MAX)))
    }
}

/// How much of the body goes out, and what then.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    Whole,
    /// The connection is closed in order, though bytes are missing.
    EndAfter(usize),
    /// The connection is reset.
    ResetAfter(usize),
    /// Nothing more comes.
    StallAfter(usize),
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub cut: Cut,
}

impl Answer {
    pub fn new(status: &'static str, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status, headers: Vec::new(), body: body.into(), cut: Cut::Whole }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    pub fn cut(self, cut: Cut) -> Answer {
        Answer { cut, ..self }
    }

    /// The part of `bytes` that was asked for, as a store gives it.
    pub fn part(bytes: &[u8], asked: &Asked) -> Answer {
        match asked.range() {
            None => Answer::new("200 OK", bytes),
            Some((first, last)) => {
                let last = last.min(bytes.len() - 1);
                Answer::new("206 Partial Content", &bytes[first..=last])
                    .with("content-range", format!("bytes {first}-{last}/{}", bytes.len()))
            }
        }
    }
}

type Handler = dyn Fn(usize, &Asked) -> Answer + Send + Sync;

pub struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    over: Arc<AtomicBool>,
}

impl Server {
    /// `answer` is given each request with its number, from 0.
    pub fn start(answer: impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let over: Arc<AtomicBool> = Arc::default();
        let answer: Arc<Handler> = Arc::new(answer);
        let (all, ended) = (Arc::clone(&asked), Arc::clone(&over));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(connection) = connection else { continue };
                let (all, answer, ended) =
                    (Arc::clone(&all), Arc::clone(&answer), Arc::clone(&ended));
                std::thread::spawn(move || serve(connection, &all, &*answer, &ended));
            }
        });
        Server { address, asked, over }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The bucket `b` of this server, as S3, with signed requests. `more` are further options.
    pub fn s3(&self, limits: &Limits, more: &[(&str, &str)]) -> Place {
        let url = self.url();
        let mut options = BTreeMap::new();
        for (name, value) in [
            ("endpoint", url.as_str()),
            ("allow_http", "true"),
            ("region", "here"),
            ("access_key_id", "AKIDHIDDEN"),
            ("secret_access_key", "hidden"),
        ]
        .iter()
        .chain(more)
        {
            options.insert((*name).to_owned(), (*value).to_owned());
        }
        // A bucket of its own for each test: they share the bound on requests in flight by it.
        let bucket = format!("s3://b{}/in", self.address.port());
        Place::open_within(&bucket, &options, limits).expect("opens")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut connection: TcpStream, all: &Mutex<Vec<Asked>>, answer: &Handler, over: &AtomicBool) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match connection.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).expect("ASCII");
    let mut lines = head.lines();
    let mut first = lines.next().expect("a request line").split(' ');
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let asked = Asked {
        method: first.next().expect("a method").to_owned(),
        target: first.next().expect("a target").to_owned(),
        headers,
    };
    let length = asked.header("content-length").map_or(0, |length| length.parse().expect("bytes"));
    let mut body = vec![0; length];
    if connection.read_exact(&mut body).is_err() {
        return;
    }
    let number = {
        let mut all = all.lock().expect("no panic");
        all.push(asked.clone());
        all.len() - 1
    };
    let answer = answer(number, &asked);
    let mut text = format!("HTTP/1.1 {}\r\nconnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n", answer.body.len()));
    let mut bytes = text.into_bytes();
    let whole = match asked.method.as_str() {
        "HEAD" => &[],
        _ => answer.body.as_slice(),
    };
    let sent = match answer.cut {
        Cut::Whole => whole.len(),
        Cut::EndAfter(n) | Cut::ResetAfter(n) | Cut::StallAfter(n) => n,
    };
    bytes.extend_from_slice(&whole[..sent]);
    // The client may have gone meanwhile.
    let _ = connection.write_all(&bytes);
    match answer.cut {
        Cut::Whole | Cut::EndAfter(_) => {}
        Cut::ResetAfter(_) => {
            // A socket closed by force while the client still writes answers with a reset; here both
            // directions end at once, and the bytes that are missing never come.
            std::thread::sleep(Duration::from_millis(20));
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
        Cut::StallAfter(_) => {
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
