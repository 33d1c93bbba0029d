//! Large objects read without their media: on disk and in a store, the tables are those of reading all of them.

use crate::object_store::{data_files, on, pipeline};
use crate::s3::{Fault, Kind, Op, S3Server};
use crate::world::{Object, Ran, Row, SOME_TIME, Table, World, attempt};
use std::collections::BTreeMap;
use std::path::Path;

/// Base64 that repeats itself nowhere near.
fn picture(bytes: usize, seed: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = seed;
    let mut letters = String::with_capacity(bytes + 10);
    while letters.len() < bytes {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        letters.extend((0..10).map(|i| char::from(LETTERS[(state >> (6 * i)) as usize % 64])));
    }
    letters.truncate(bytes);
    letters
}

/// A result of two attempts as the API writes it, with pictures of so many bytes.
fn media(n: i64, bytes: usize) -> String {
    let flag = [Some(true), Some(false), None][(n % 3) as usize];
    let time = 1_733_011_200_000 + n * 3_600_000;
    let attempts = [
        attempt(&format!("seq-{n:04}-a"), time, flag),
        attempt(&format!("seq-{n:04}-b"), time + 1, Some(true)),
    ];
    let details = serde_json::to_string(&attempts).expect("JSON");
    let (front, frame, video) =
        (picture(bytes / 4, 3 * n as u64), picture(bytes / 8, 5), picture(bytes / 2, 7 + n as u64));
    format!(
        r#"{{"Response":{{"Text":{{"ErrCode":0,"LivenessDetail":{details}}},"IdCardData":{{"OcrFront":"{front}","OcrBack":null}},"BestFrame":{{"BestFrame":"{frame}","BestFrames":["{frame}"]}},"VideoData":{{"LivenessVideo":"{video}","LivenessVideos":[]}},"Encryption":{{"Iv":"","TagList":[]}},"IsVerifyIntention":{},"RequestId":"request-{n}"}}}}"#,
        n % 5 == 0
    )
}

/// Eighty proper results of two folders, and a third with objects of every other kind.
fn objects() -> Vec<Object> {
    let mut objects: Vec<Object> = (0..80)
        .map(|n| {
            let key = format!("channel={}/date=2024-12-{:02}/{n}.json", n % 2, 1 + n / 10);
            Object::new(&key, media(n, 300_000 + 1000 * n as usize), SOME_TIME + 1000 * n)
        })
        .collect();
    let one = |n: i64| media(100 + n, 300_000);
    let odd = [
        one(0),
        one(1) + "\n",
        one(2).replace(",\"RequestId\"", ",\"Novel\""),
        one(3)[..280_000].to_owned(),
        one(4)[..one(4).len() - 2].to_owned(),
        format!("\u{feff}{}", one(5)),
        format!("[{},{}]", one(6), one(7)),
        one(8).replace("seq-0108-b", ""),
        one(9).replace("\"ErrCode\":0", "\"ErrCode\":true"),
        one(10),
    ];
    for (n, text) in odd.into_iter().enumerate() {
        objects.push(Object::new(&format!("odd/{n}.json"), text, SOME_TIME));
    }
    objects
}

/// Contents by table and path.
type Files = BTreeMap<(String, String), Vec<u8>>;

/// The files of the two tables that no run leaves its mark on, and the rejects without their run's name.
fn tables(output: &Path) -> (Files, Vec<Row>) {
    let mut files = data_files(output);
    files.retain(|(table, _), _| ["liveness_detail", "daily_charge"].contains(&table.as_str()));
    let mut rejects = Table::open(&output.join("rejects")).rows();
    rejects.iter_mut().for_each(|row| drop(row.remove("run_id")));
    rejects.sort_by_key(|row| format!("{row:?}"));
    assert!(files.len() > 2 && rejects.len() > 3);
    (files, rejects)
}

#[track_caller]
fn number(ran: &Ran, name: &str) -> u64 {
    ran.json()[name].as_u64().unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn parts_of_objects_make_the_tables_that_all_of_them_make() {
    let objects = objects();
    let stored: u64 = objects.iter().map(|object| object.bytes.len() as u64).sum();
    let full = World::new(&pipeline("source/", "out/"));
    full.put_all(&objects);
    let ran = full.run(&["--set", "source.read=full"]);
    assert_eq!((number(&ran, "bytes_stored"), number(&ran, "bytes_read")), (stored, stored));
    assert_eq!(number(&ran, "objects_read_in_part") + number(&ran, "objects_read_whole"), 0);
    let (expected, tally) = (tables(&full.path("out")), ran.json()["tally"].clone());
    // Two of each proper result, and of the odd: all of six, of two in the array, one.
    assert_eq!(ran.tally("details_new"), 160 + 2 * 3 + 2 * 2 + 1 + 2);

    let local = World::new(&pipeline("source/", "out/"));
    local.put_all(&objects);
    let ran = local.run(&[]);
    let counts = |ran: &Ran| {
        ["objects_read_in_part", "objects_read_as_samples", "objects_read_whole"]
            .map(|name| number(ran, name))
    };
    let [in_part, samples, whole] = counts(&ran);
    assert_eq!(in_part + samples + whole, 90);
    assert!(in_part >= 70, "{in_part} in part, {samples} samples, {whole} whole");
    assert!(number(&ran, "bytes_read") * 4 < stored, "{}", number(&ran, "bytes_read"));
    assert_eq!(ran.json()["tally"], tally);
    assert!(tables(&local.path("out")) == expected, "the same names hold other bytes");
    local.verify();
    let said = local.faceledger(&["run", "pipeline.toml", "--full-refresh"]).exits(0).stderr;
    assert!(said.contains(" without their media, "), "{said}");

    let server = S3Server::start();
    for object in &objects {
        server.put_at(&format!("in/{}", object.key), object.bytes.clone(), object.modified);
    }
    let world = World::new(&pipeline(&server.url("in/"), "out/"));
    let ran = on(&server, &world.path(""), &["run", "pipeline.toml", "--json"]).exits(0);
    assert_eq!(ran.json()["tally"], tally);
    assert!(tables(&world.path("out")) == expected, "from the store: other bytes");
    let [in_part, samples, whole] = counts(&ran);
    assert_eq!(in_part + samples + whole, 90);
    let sent = |folder: &str| -> u64 {
        let seen = server.seen_of(Op::Get).into_iter();
        seen.filter(|seen| seen.key.starts_with(folder)).map(|seen| seen.sent_bytes).sum()
    };
    assert_eq!(sent("in/"), number(&ran, "bytes_read"));
    // The folders whose objects are as the API makes them.
    let proper: u64 = objects[..80].iter().map(|object| object.bytes.len() as u64).sum();
    assert!(sent("in/channel") * 2 < proper, "{} of {proper}", sent("in/channel"));
}

/// Head and tail are of one version, whichever request it is that meets another.
#[test]
fn ends_of_two_versions_make_no_row() {
    let (old, new) = (media(1, 400_000), media(2, 400_000));
    assert_ne!(old, new);
    for nth in 1..=3 {
        let server = S3Server::start();
        server.put_at("in/a.json", media(0, 300_000), SOME_TIME);
        server.put_at("in/b.json", old.clone(), SOME_TIME);
        let of_b = Fault::new(Kind::ChangedEtag(new.clone().into()), |seen| {
            seen.op == Op::Get && seen.key == "in/b.json"
        });
        server.inject(of_b.nth(nth));
        let world = World::new(&pipeline(&server.url("in/"), "out/"));
        let args = ["run", "pipeline.toml", "--json", "--set", "limits.threads=1"];
        on(&server, &world.path(""), &args).exits(0);
        let rows = world.table("liveness_detail").rows();
        let of = |seq: &str, request: &str| {
            rows.iter()
                .filter(|r| r["seq"].as_str().expect("a Seq").starts_with(seq))
                .all(|r| r["request_id"] == request)
        };
        assert_eq!(rows.len(), 4);
        assert!(of("seq-0001", "request-1") && of("seq-0002", "request-2"), "GET {nth}: {rows:?}");
    }
}

/// Files that hold several results, and end like one: as soon as one of their folder is read whole, all are.
#[test]
fn a_folder_of_several_results_an_object_is_read_whole() {
    let two = |n: i64| format!("{}\n{}", media(2 * n, 200_000), media(2 * n + 1, 100_000));
    let world = World::new(&pipeline("source/", "out/"));
    world.put(&Object::new("00.json", media(1000, 200_000), SOME_TIME));
    for n in 1..40 {
        let end = if n == 30 { "\n" } else { "" };
        world.put(&Object::new(&format!("{n:02}.json"), two(n) + end, SOME_TIME));
    }
    let ran = world.run(&["--set", "limits.threads=1"]);
    assert_eq!(ran.tally("details_new"), 2 + 39 * 4);
    assert_eq!(number(&ran, "objects_in_doubt"), 0);
    world.verify();
}
