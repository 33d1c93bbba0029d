//! Pieces of an object: their bytes, and that all are of one version.

use super::*;
use std::slice::from_ref;

#[test]
fn pieces_are_the_bytes_that_were_asked_for() {
    let (_folder, places) = places("pieces");
    for place in &places {
        let bytes: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
        place.put("a b.json", Bytes::from(bytes.clone())).expect("writes");
        let mut pieces = place.pieces("a b.json", None);
        assert_eq!(pieces.opened(), None);
        let read = pieces.read(&[0..10, 99_000..100_000, 5..6]).expect("reads");
        assert_eq!(read, [&bytes[..10], &bytes[99_000..], &bytes[5..6]]);
        assert_eq!(pieces.opened(), place.head("a b.json").expect("looks").as_ref());
        // Beyond the end there is nothing.
        let read = pieces.read(from_ref(&(99_990..100_010))).expect("reads");
        assert_eq!(read, [&bytes[99_990..]]);
        let error = place.pieces("none", None).read(from_ref(&(0..10))).expect_err("nothing there");
        assert!(error.is_not_found(), "{error}");
    }
}

#[test]
fn pieces_of_two_versions_are_none() {
    let (_folder, [local, memory]) = places("two-versions");
    for place in [&local, &memory] {
        place.put("k", Bytes::from(vec![b'a'; 100])).expect("writes");
        let mut pieces = place.pieces("k", None);
        assert_eq!(pieces.read(from_ref(&(0..2))).expect("reads"), [b"aa"]);
        place.put("k", Bytes::from(vec![b'b'; 100])).expect("writes");
        match pieces.read(from_ref(&(50..52))) {
            // A file that was renamed over is still open.
            Ok(read) => {
                assert_eq!((read, place.local_folder().is_some()), (vec![b"aa".to_vec()], true))
            }
            Err(error) => assert!(error.is_changed() && place.local_folder().is_none(), "{error}"),
        }
    }
    // A version that was listed, and is no more.
    let listed = memory.head("k").expect("looks").and_then(|info| info.etag);
    memory.put("k", Bytes::from(vec![b'c'; 100])).expect("writes");
    let error = memory.pieces("k", listed.as_deref()).read(&[0..2, 4..6]).expect_err("another");
    assert!(error.is_changed(), "{error}");
}
