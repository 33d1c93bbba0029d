//! Many requests in flight: what is asked for is what is given, within the bounds, and all of it can be ended.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::super::fetch::{FetchError, Fetched, WHOLE_BYTES_MAX, Want};
use super::super::http::IN_FLIGHT_MAX;
use super::server::{Answer, Cut, Server};
use super::stop::{Mute, stoppable};
use super::*;

fn want(key: &str, size: u64) -> Want {
    Want { key: key.to_owned(), range: None, etag: None, size }
}

fn read(fetched: Fetched) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut body = fetched.body;
    body.read_to_end(&mut bytes).expect("it is in memory");
    bytes
}

/// Some objects of other sizes each.
fn content(number: usize) -> Vec<u8> {
    (0..number * 37 % 9001).map(|byte| (number + byte / 7) as u8).collect()
}

#[test]
fn takers_that_go_in_order_get_everything_within_the_bound() {
    const N: usize = 600;
    let place = open("memory://fetch-order");
    for number in 0..N {
        place.put(&format!("{number:04}"), content(number).into()).expect("writes");
    }
    let mut fetch = place.fetch();
    // Ten or so at a time.
    fetch.held_bytes_max = 50 << 10;
    let most = AtomicUsize::new(0);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let wants = (0..N).map(|n| (n, want(&format!("{n:04}"), content(n).len() as u64)));
            fetch.begin(wants);
        });
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    // Runs of many, as shards are.
                    let first = next.fetch_add(40, Ordering::SeqCst);
                    for number in first..(first + 40).min(N) {
                        let fetched = fetch.take(number).expect("open").expect("reads");
                        most.fetch_max(fetch.held_bytes() as usize, Ordering::SeqCst);
                        assert_eq!(fetched.info.key, format!("{number:04}"));
                        assert_eq!(fetched.info.size, content(number).len() as u64);
                        assert_eq!(read(fetched), content(number));
                    }
                    if first >= N {
                        return;
                    }
                }
            });
        }
    });
    let most = most.into_inner();
    assert!(most > 9001 && most <= 50 << 10, "{most}");
    assert_eq!(fetch.held_bytes(), 0);
}

#[test]
fn ranges_of_one_version_and_more_of_it_ahead_of_all_others() {
    let place = open("memory://fetch-ranges");
    let bytes: Vec<u8> = (0..100_000_u32).map(|byte| (byte / 256) as u8).collect();
    place.put("a", bytes.clone().into()).expect("writes");
    place.put("b", Bytes::from_static(b"b")).expect("writes");
    let listed = place.head("a").expect("looks up").expect("is there");
    let mut fetch = place.fetch();
    fetch.held_bytes_max = 30_000;
    let part = |range: Range<u64>, etag: Option<String>| Want {
        range: Some(range),
        etag,
        ..want("a", listed.size)
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            fetch.begin([(7, part(1000..26_000, listed.etag.clone())), (8, want("b", 10_000))]);
        });
        let first = fetch.take(7).expect("open").expect("reads");
        assert_eq!(first.body.left(), &bytes[1000..26_000]);
        // As long as the first is held, no other begins; what goes ahead does.
        fetch.ask(7, part(90_000..200_000, first.info.etag.clone()));
        let more = fetch.take(7).expect("open").expect("reads");
        assert_eq!(more.body.left(), &bytes[90_000..]);
        fetch.ask(7, part(100_000..200_000, None));
        let nothing = fetch.take(7).expect("open").expect("the end of it");
        assert_eq!(nothing.body.left(), b"");
        assert_eq!(fetch.begun(), 0, "b waits for room");
        drop((first, more, nothing));
        assert_eq!(fetch.take(8).expect("open").expect("reads").body.left(), b"b");

        place.put("a", Bytes::from_static(b"another version")).expect("writes");
        fetch.ask(7, part(5..10, listed.etag.clone()));
        let Err(FetchError::Open(error)) = fetch.take(7).expect("open") else { panic!("a change") };
        assert!(error.is_changed(), "{error}");
    });
}

#[test]
fn what_cannot_be_read_is_told_to_who_takes_it() {
    let server = Server::start(|_, asked| {
        let whole = vec![b'x'; 2000];
        match asked.target.rsplit('/').next() {
            Some("gone") => Answer::new("404 Not Found", "<Error><Code>NoSuchKey</Code></Error>"),
            // Breaks off in the middle, every time, without an etag by which to go on.
            Some("cut") => Answer::part(&whole, asked).cut(Cut::EndAfter(1000)),
            // Breaks off once; the rest is of the same version.
            Some("mended") => {
                let cut = if asked.range().is_none() { Cut::EndAfter(1000) } else { Cut::Whole };
                Answer::part(&whole, asked).with("etag", "\"v\"").cut(cut)
            }
            _ => Answer::part(&whole, asked),
        }
    });
    let limits = Limits { retry_for: Duration::from_millis(200), idle: None };
    let fetch = server.s3(&limits, &[]).fetch();
    fetch.begin((0..).zip(["gone", "cut", "mended", "whole"].map(|key| want(key, 2000))));
    let taken = |number| fetch.take(number).expect("open");
    let Err(FetchError::Open(gone)) = taken(0) else { panic!("it is gone") };
    assert!(gone.is_not_found(), "{gone}");
    let Err(FetchError::Read(cut)) = taken(1) else { panic!("it breaks off") };
    assert!(cut.is_transient(), "{cut}");
    assert_eq!(read(taken(2).expect("mends")), vec![b'x'; 2000]);
    assert_eq!(read(taken(3).expect("reads")), vec![b'x'; 2000]);

    let place = open("memory://fetch-grown");
    place.put("k", vec![0; WHOLE_BYTES_MAX as usize + 1].into()).expect("writes");
    let fetch = place.fetch();
    fetch.begin([(0, want("k", 5))]);
    assert!(matches!(fetch.take(0), Some(Err(FetchError::Grown))));
    assert_eq!(fetch.held_bytes(), 0);
}

#[test]
fn requests_follow_the_gate() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (flying, highest) = (Arc::clone(&now), Arc::clone(&most));
    let server = Server::start(move |_, asked| {
        highest.fetch_max(flying.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        flying.fetch_sub(1, Ordering::SeqCst);
        Answer::part(b"small", asked).with("etag", "\"e\"")
    });
    let place = server.s3(&Limits::of_process(), &[]);
    gate_of(place.url()).slow_down(Duration::ZERO);
    let fetch = place.fetch();
    let n = 3 * IN_FLIGHT_MAX as usize;
    fetch.begin((0..n).map(|number| (number, want("k", 5))));
    for number in 0..n {
        assert_eq!(read(fetch.take(number).expect("open").expect("reads")), b"small");
    }
    let most = most.load(Ordering::SeqCst) as u32;
    // Half of it since the gate was lowered, and a few more as answers go well.
    assert!(most > IN_FLIGHT_MAX / 8 && most <= IN_FLIGHT_MAX / 2 + 8, "{most}");
}

#[test]
fn closing_ends_those_who_wait_and_what_they_wait_for() {
    mount("fetch-mute", Arc::new(Mute));
    let place = open("memory://fetch-mute");
    let mut fetch = place.fetch();
    fetch.held_bytes_max = 3 * (4 << 10);
    std::thread::scope(|scope| {
        let beginner = scope.spawn(|| fetch.begin((0..10).map(|n| (n, want("k", 1)))));
        let takers = [0, 1, 9].map(|n| {
            let fetch = &fetch;
            scope.spawn(move || fetch.take(n).is_none())
        });
        while fetch.begun() < 3 {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!beginner.is_finished() && !takers.iter().any(|taker| taker.is_finished()));
        assert!(fetch.close(), "the first to close it");
        assert!(!fetch.close());
        assert!(takers.into_iter().all(|taker| taker.join().expect("no panic")));
    });
    assert!(fetch.take(2).is_none());
    // What is aborted ends when the runtime comes to it.
    while fetch.begun() > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    fetch.ask(2, want("k", 1));
    assert_eq!(fetch.begun(), 0, "nothing begins any more");
}

#[test]
fn a_stop_ends_what_is_in_flight_and_what_follows() {
    mount("fetch-stopped", Arc::new(Mute));
    let (place, stop) = stoppable("memory://fetch-stopped", Duration::ZERO);
    let fetch = place.fetch();
    let stopped = |number| match fetch.take(number) {
        Some(Err(FetchError::Open(error))) => error.is_stopped(),
        _ => false,
    };
    fetch.begin([(0, want("k", 1))]);
    std::thread::scope(|scope| {
        let taker = scope.spawn(|| stopped(0));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!taker.is_finished());
        stop.stop();
        assert!(taker.join().expect("no panic"));
    });
    fetch.begin([(1, want("k", 1))]);
    assert!(stopped(1));
}
