//! What storage finds out about a real S3 server, and that one writer at a time holds a lease on each kind.

use std::time::Duration;

use faceledger::storage::{CreateOnly, LeaseError, Place, StorageError};

use crate::s3::{Fault, Kind, Mode, Op, S3Server, Setup};

fn place(server: &S3Server, more: &[(&str, &str)]) -> Place {
    let mut options = server.options();
    for (name, value) in more {
        options.insert((*name).to_owned(), (*value).to_owned());
    }
    Place::open(&server.url("out"), &options).expect("opens")
}

const FORBID: (&str, &str) =
    ("aws_copy_if_not_exists", "header-with-status: x-cos-forbid-overwrite: true: 409");

#[test]
fn what_each_kind_of_server_can_do_is_found_by_races() {
    for (mode, more, create, update) in [
        (Mode::Conditional, &[][..], CreateOnly::IfNoneMatch, true),
        (Mode::IgnoresConditions, &[][..], CreateOnly::UnderLease, false),
        (Mode::Cos, &[][..], CreateOnly::UnderLease, false),
        (Mode::Cos, &[FORBID][..], CreateOnly::CopyHeader, false),
    ] {
        let server = S3Server::start_with(Setup { mode, ..Setup::default() });
        let found = place(&server, more).probe_create().expect("probes");
        assert!(found.list && found.range && found.delete, "{mode:?}: {found:?}");
        assert_eq!(found.create, create, "{mode:?}: {found:?}");
        if mode != Mode::Cos {
            assert_eq!(found.update_if_match, update, "{mode:?}: {found:?}");
        }
        assert_eq!(server.list(""), [""; 0], "{mode:?}: nothing stays");
    }
}

#[test]
fn a_lease_is_one_writers_on_each_kind_of_server() {
    let term = Duration::from_secs(3);
    for (mode, more) in [
        (Mode::Conditional, &[][..]),
        (Mode::IgnoresConditions, &[][..]),
        (Mode::Cos, &[FORBID][..]),
    ] {
        let server = S3Server::start_with(Setup { mode, ..Setup::default() });
        let place = place(&server, more);
        let found = place.probe_create().expect("probes");
        let lease = place.lease("first", term, Some(&found), &|_| {}).expect("is free");
        let error = place.lease("second", term, Some(&found), &|_| {}).expect_err("is held");
        assert!(
            matches!(&error, LeaseError::Held { holder, .. } if holder == "first"),
            "{mode:?}: {error}"
        );
        lease.check().expect("holds");
        drop(lease);
        assert_eq!(server.list(""), [""; 0], "{mode:?}: nothing stays");
    }
}

#[test]
fn an_object_that_is_overwritten_just_before_it_is_read_is_told() {
    let server = S3Server::start_with(Setup { listing_etags: true, ..Setup::default() });
    let place = place(&server, &[]);
    server.put("out/k", "before");
    let listed = place.list(None).expect("lists").remove(0);
    assert!(listed.etag.is_some());
    server.inject(Fault::on(Op::Get, Kind::ChangedEtag("after".into())));
    let error = place.open_object("k", 0, listed.etag.as_deref()).err().expect("is another");
    assert!(matches!(error, StorageError::Changed { .. }), "{error}");
    let (info, _) = place.open_object("k", 0, None).expect("whatever it is");
    assert_eq!(info.size, 5);
}

#[test]
fn one_level_of_a_bucket_is_listed_by_its_delimiter() {
    let server = S3Server::start();
    let place = place(&server, &[]);
    for key in ["out/", "out/a/", "out/a/x.json", "out/b=1/y.json", "out/top.json"] {
        server.put(key, if key.ends_with('/') { "" } else { "{}" });
    }
    let level = place.list_level(None).expect("lists");
    assert_eq!(level.folders, ["a", "b=1"]);
    assert_eq!(level.objects.len(), 1);
    assert_eq!(level.objects[0].key, "top.json");
    let keys: Vec<String> =
        place.list(None).expect("lists").into_iter().map(|object| object.key).collect();
    assert_eq!(keys, ["a/x.json", "b=1/y.json", "top.json"]);
}
