use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use super::super::*;
use super::create::{Odd, Says};
use super::*;

/// Long enough that a busy machine renews in time, short enough for a test to wait for its end.
const TERM: Duration = Duration::from_millis(1500);

fn abilities(create: CreateOnly, update_if_match: bool) -> Abilities {
    Abilities { list: true, range: true, delete: true, create, update_if_match, found: Vec::new() }
}

fn no_wait(text: &str) {
    panic!("nobody holds it, and yet: {text}");
}

/// Stores of each kind, with what a probe finds of them.
fn stores(name: &str) -> Vec<(Place, Option<Abilities>)> {
    let at = |kind: &str| format!("{name}-{kind}");
    vec![
        (
            Odd::mounted(&at("right"), Says::Right, false),
            Some(abilities(CreateOnly::IfNoneMatch, true)),
        ),
        (
            Odd::mounted(&at("copies"), Says::Ignores, true),
            Some(abilities(CreateOnly::CopyHeader, false)),
        ),
        (
            Odd::mounted(&at("ignores"), Says::Ignores, false),
            Some(abilities(CreateOnly::UnderLease, false)),
        ),
        (Odd::mounted(&at("unknown"), Says::NotImplemented, false), None),
        (Odd::mounted(&at("unasked"), Says::Ignores, false), None),
    ]
}

/// Does the same at once on a store of each kind.
fn on_each(name: &str, check: impl Fn(Place, Option<Abilities>) + Sync) {
    let check = &check;
    std::thread::scope(|scope| {
        for (place, abilities) in stores(name) {
            scope.spawn(move || check(place, abilities));
        }
    });
}

#[test]
fn one_holds_it_and_the_next_gets_it_when_it_is_released() {
    on_each("lease-one", |place, abilities| {
        let lease = place.lease("first", TERM, abilities.as_ref(), &no_wait).expect("is free");
        lease.check().expect("holds");
        let said = Mutex::new(Vec::new());
        let waiting = |text: &str| said.lock().expect("no panic").push(text.to_owned());
        let error = place.lease("second", TERM, abilities.as_ref(), &waiting).expect_err("is held");
        match &error {
            LeaseError::Held { holder, .. } => assert_eq!(holder, "first", "{place}"),
            other => panic!("{place}: {other}"),
        }
        let said = said.into_inner().expect("no panic");
        assert_eq!(said.len(), 1, "{place}: told once");
        assert!(said[0].contains("first") && said[0].contains("up to 1 s"), "{said:?}");
        lease.check().expect("still holds: it was renewed");
        drop(lease);
        assert_eq!(keys(&place), [""; 0], "{place}: nothing stays");
        place.lease("third", TERM, abilities.as_ref(), &no_wait).expect("is free again");
    });
}

#[test]
fn it_is_renewed_for_as_long_as_it_is_held() {
    on_each("lease-long", |place, abilities| {
        let lease = place.lease("first", TERM, abilities.as_ref(), &no_wait).expect("is free");
        let begun = Instant::now();
        while begun.elapsed() < TERM * 2 {
            lease.check().unwrap_or_else(|error| panic!("{place}: {error}"));
            std::thread::sleep(TERM / 10);
        }
        let content = place.read_all("_lease").expect("is there");
        let content: serde_json::Value = serde_json::from_slice(&content).expect("JSON");
        assert_eq!((&content["holder"], &content["term_ms"]), (&"first".into(), &1500.into()));
        assert!(content["sequence"].as_u64().expect("a number") >= 3, "{place}: {content}");
    });
}

#[test]
fn a_silent_holder_is_waited_for_and_then_replaced() {
    on_each("lease-silent", |place, abilities| {
        // Of a process that was killed.
        let left = r#"{"holder":"dead","token":"t","sequence":7,"term_ms":600}"#;
        place.put("_lease", Bytes::from_static(left.as_bytes())).expect("writes");
        let told = AtomicUsize::new(0);
        let waiting = |_: &str| _ = told.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let lease = place.lease("next", TERM, abilities.as_ref(), &waiting).expect("is silent");
        assert!(begun.elapsed() > Duration::from_millis(600), "a whole term of theirs");
        assert_eq!(told.load(Ordering::Relaxed), 1);
        lease.check().expect("holds");
        let content = place.read_all("_lease").expect("is there");
        assert!(content.starts_with(br#"{"holder":"next""#), "{content:?}");
        assert_eq!(keys(&place), ["_lease"], "{place}: no ticket stays");
    });
}

#[test]
fn a_lease_that_another_took_is_lost() {
    on_each("lease-lost", |place, abilities| {
        let lease = place.lease("first", TERM, abilities.as_ref(), &no_wait).expect("is free");
        let theirs = r#"{"holder":"thief","token":"t","sequence":1,"term_ms":1500}"#;
        place.put("_lease", Bytes::from_static(theirs.as_bytes())).expect("writes");
        let begun = Instant::now();
        let error = loop {
            match lease.check() {
                Err(error) => break error,
                Ok(()) => assert!(begun.elapsed() < TERM * 20, "{place}: never noticed"),
            }
            std::thread::sleep(TERM / 50);
        };
        assert!(matches!(error, StorageError::LeaseLost { .. }), "{error}");
        assert!(error.to_string().contains("lease on"), "{error}");
        std::thread::sleep(TERM / 2);
        let error = lease.check().expect_err("for good").to_string();
        assert!(error.contains("another writer has it (thief)"), "{place}: {error}");
        drop(lease);
        assert_eq!(place.read_all("_lease").expect("stays"), theirs, "not ours to delete");
    });
}

#[test]
fn of_many_who_want_it_at_once_one_gets_it() {
    on_each("lease-race", |place, abilities| {
        let held = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..6)
                .map(|taker| {
                    let (place, abilities) = (place.clone(), abilities.clone());
                    scope.spawn(move || {
                        place.lease(&format!("taker {taker}"), TERM, abilities.as_ref(), &|_| {})
                    })
                })
                .collect();
            let outcomes: Vec<_> =
                takers.into_iter().map(|taker| taker.join().expect("no panic")).collect();
            for outcome in &outcomes {
                if let Err(error) = outcome {
                    assert!(matches!(error, LeaseError::Held { .. }), "{place}: {error}");
                }
            }
            // Kept to here, so that none is free again while others still ask.
            outcomes.iter().filter(|outcome| outcome.is_ok()).count()
        });
        assert_eq!(held, 1, "{place}");
    });
}

#[test]
fn a_lease_nobody_understands_is_a_lease() {
    let place = Odd::mounted("lease-garbled", Says::Right, false);
    place.put("_lease", Bytes::from_static(b"{\"holder\":")).expect("writes");
    let told = AtomicUsize::new(0);
    let waiting = |_: &str| _ = told.fetch_add(1, Ordering::Relaxed);
    let right = abilities(CreateOnly::IfNoneMatch, true);
    let term = Duration::from_millis(300);
    place.lease("next", term, Some(&right), &waiting).expect("is silent for a term of ours");
    assert_eq!(told.load(Ordering::Relaxed), 1);
}

#[test]
fn a_lease_left_long_ago_costs_no_wait() {
    let place = Odd::mounted("lease-old", Says::Right, false);
    let left = r#"{"holder":"dead","token":"t","sequence":7,"term_ms":60}"#;
    place.put("_lease", Bytes::from_static(left.as_bytes())).expect("writes");
    // Its term and the margin for stores that tell whole seconds.
    std::thread::sleep(Duration::from_millis(2300));
    place.lease("next", TERM, None, &no_wait).expect("is over by the store's clock");
}

#[test]
fn a_folder_is_locked_by_the_system() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = open(folder.path().to_str().expect("UTF-8"));
    let lease = place.lease("first", TERM, None, &no_wait).expect("is free");
    lease.check().expect("holds");
    let error = place.lease("second", TERM, None, &no_wait).expect_err("is held");
    assert!(matches!(error, LeaseError::Held { .. }), "{error}");
    drop(lease);
    place.lease("third", TERM, None, &no_wait).expect("is free again");
}
