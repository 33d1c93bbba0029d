mod create;
mod fetch;
mod http;
mod lease;
mod level;
mod pieces;
mod server;
mod stop;

use std::collections::BTreeSet;

use object_store::client::{HttpError, HttpErrorKind};

use super::error::{StorageError, scrubbed};
use super::*;

/// Names that some layer would like to encode, decode or hide.
const ODD_KEYS: [&str; 16] = [
    ".hidden/y.json",
    "100%.json",
    "A/same prefix.json",
    "AB/same prefix.json",
    "_log/x.json",
    "back\\slash.json",
    "d=2024-11-01/c d.json",
    "h#1.json",
    "half#12",
    "p+q%41&r.json",
    "q?a=b.json",
    "x",
    "~t[1]{x}^`'\".json",
    "é.json",
    "中文/文件 1.json",
    "😀.json",
];

fn no_options() -> BTreeMap<String, String> {
    BTreeMap::new()
}

fn open(url: &str) -> Place {
    Place::open(url, &no_options()).expect("the place opens")
}

fn keys(place: &Place) -> Vec<String> {
    let objects = place.list(None).expect("lists");
    objects.into_iter().map(|object| object.key).collect()
}

fn contents(key: &str) -> Bytes {
    Bytes::from(format!("the object {key}"))
}

/// A local folder with an odd name of its own, and a place in memory.
fn places(name: &str) -> (tempfile::TempDir, [Place; 2]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let local = folder.path().join("源 100% #1 a+b%41");
    let local = open(local.to_str().expect("UTF-8"));
    (folder, [local, open(&format!("memory://{name}/in/a%20b"))])
}

#[test]
fn every_key_comes_back_as_written() {
    let (_folder, places) = places("storage-keys");
    for place in places {
        assert_eq!(keys(&place), [""; 0], "a folder that is not there is empty");
        for key in ODD_KEYS {
            place.put(key, contents(key)).expect("writes");
        }
        assert_eq!(keys(&place), ODD_KEYS, "{place}");
        for object in place.list(None).expect("lists") {
            let whole = contents(&object.key);
            assert_eq!(object.size, whole.len() as u64);
            assert_eq!(place.read_all(&object.key).expect("reads"), whole);
            assert_eq!(place.read_range(&object.key, 4..10).expect("reads"), whole[4..10]);
            let mut rest = Vec::new();
            let mut reader = place.reader(&object.key, 4).expect("opens");
            reader.read_to_end(&mut rest).expect("reads");
            assert_eq!(rest, whole[4..]);
            assert_eq!(place.head(&object.key).expect("looks up"), Some(object));
        }
        let in_a: Vec<ObjectInfo> = place.list(Some("A")).expect("lists");
        assert_eq!(in_a.len(), 1, "a prefix is a whole folder");
        assert_eq!(in_a[0].key, "A/same prefix.json");
        assert_eq!(keys(&place.at("中文")), ["文件 1.json"]);
        assert_eq!(
            place.at("中文").read_all("文件 1.json").expect("reads"),
            contents("中文/文件 1.json")
        );

        let some = ["100%.json".to_owned(), "never was.json".to_owned()];
        place.delete(&some).expect("what is not there is fine");
        assert_eq!(keys(&place).len(), ODD_KEYS.len() - 1);
        assert_eq!(place.head("100%.json").expect("looks up"), None);
    }
}

#[cfg(unix)]
#[test]
fn keys_written_by_others_are_listed_as_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for key in ODD_KEYS {
        let path = folder.path().join(key);
        fs::create_dir_all(path.parent().expect("has one")).expect("creates");
        fs::write(path, contents(key)).expect("writes");
    }
    let place = open(folder.path().to_str().expect("UTF-8"));
    assert_eq!(keys(&place), ODD_KEYS);

    // object_store hides names that end in # and digits; what it shows must be the same.
    let shown = block_on(place.store().list(None).try_collect::<Vec<_>>()).expect("lists");
    let mut theirs: Vec<ObjectInfo> = shown
        .into_iter()
        .map(|meta| ObjectInfo {
            key: meta.location.to_string(),
            size: meta.size,
            etag: meta.e_tag,
            last_modified_ms: meta.last_modified.timestamp_millis(),
        })
        .collect();
    theirs.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let mut ours = place.list(None).expect("lists");
    ours.retain(|object| object.key != "half#12");
    assert_eq!(ours, theirs);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_loops_are_told() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("real")).expect("creates");
    fs::write(at("real/a.json"), "[]").expect("writes");
    symlink("real/a.json", at("b.json")).expect("links");
    symlink("real", at("linked")).expect("links");
    symlink("nowhere", at("broken.json")).expect("links");
    let place = open(folder.path().to_str().expect("UTF-8"));
    assert_eq!(keys(&place), ["b.json", "linked/a.json", "real/a.json"]);
    assert_eq!(place.read_all("b.json").expect("reads"), "[]");
    assert_eq!(place.head("b.json").expect("looks up").expect("is there").size, 2);
    // The place itself may be a link.
    assert_eq!(keys(&open(at("linked").to_str().expect("UTF-8"))), ["a.json"]);

    symlink("..", at("real/up")).expect("links");
    let error = place.list(None).expect_err("a loop").to_string();
    assert!(error.contains("leads back to a folder above it"), "{error}");
}

#[test]
fn what_vanishes_after_the_listing_is_not_found() {
    let (_folder, places) = places("storage-vanish");
    for place in places {
        place.put("a/b.json", Bytes::from_static(b"{}")).expect("writes");
        assert_eq!(keys(&place), ["a/b.json"]);
        place.delete(&["a/b.json".to_owned()]).expect("deletes");
        assert!(place.read_all("a/b.json").expect_err("gone").is_not_found());
        assert!(place.read_range("a/b.json", 0..1).expect_err("gone").is_not_found());
        assert!(place.reader("a/b.json", 0).err().expect("gone").is_not_found());
        assert!(place.reader("a/b.json", 5).err().expect("gone").is_not_found());
        let error = place.read_all("a/b.json").expect_err("gone").to_string();
        assert_eq!(error, format!("cannot read {place}/a/b.json: it is not there"));
        assert_eq!(keys(&place), [""; 0]);
    }
}

#[test]
fn ranges_end_with_the_object() {
    let (_folder, places) = places("storage-ranges");
    for place in places {
        place.put("k", Bytes::from_static(b"0123456789")).expect("writes");
        assert_eq!(place.read_range("k", 8..100).expect("reads"), "89");
        assert_eq!(place.read_range("k", 3..3).expect("reads"), "");
        assert!(!place.read_range("k", 10..11).expect_err("too far").is_not_found());
        for (from, expected) in [(0, "0123456789"), (9, "9"), (10, ""), (99, "")] {
            let mut text = String::new();
            let mut reader = place.reader("k", from).expect("opens");
            reader.read_to_string(&mut text).expect("reads");
            assert_eq!(text, expected, "{place} from {from}");
        }
        place.put("k", Bytes::from_static(b"short")).expect("overwrites");
        assert_eq!(place.read_all("k").expect("reads"), "short");
        place.put("empty", Bytes::new()).expect("writes");
        assert_eq!(place.read_all("empty").expect("reads"), "");
    }
}

#[test]
fn large_objects_go_up_in_parts() {
    let place = open("memory://storage-parts");
    let bytes: Vec<u8> = (0..PUT_WHOLE_BYTES_MAX + 12_345).map(|at| (at / 251) as u8).collect();
    let before = request_counts();
    place.put("big", Bytes::from(bytes.clone())).expect("writes");
    // The opening, three parts of 8 MiB or less, the completion; other tests count too.
    assert!(request_counts().put - before.put >= 5);
    assert_eq!(place.read_all("big").expect("reads"), bytes);
    let mut read = Vec::new();
    place.reader("big", 1).expect("opens").read_to_end(&mut read).expect("reads");
    assert_eq!(read, bytes[1..]);
}

#[test]
fn one_name_in_memory_is_one_store() {
    open("memory://storage-same/a").put("k", Bytes::from_static(b"1")).expect("writes");
    assert_eq!(keys(&open("memory://storage-same")), ["a/k"]);
    assert_eq!(keys(&open("memory://storage-same/").at("a")), ["k"]);
    assert_eq!(keys(&open("memory://storage-other")), [""; 0]);
}

#[test]
fn a_missing_source_is_told_and_a_missing_output_is_made() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = folder.path().join("no/such");
    let missing = missing.to_str().expect("UTF-8");
    let error = Place::open_source(missing, &no_options()).expect_err("is missing");
    assert!(error.is_not_found());
    assert!(error.to_string().ends_with("no/such: it is not there"), "{error}");
    let place = open(missing);
    assert!(place.probe().expect_err("is missing").is_not_found());
    place.probe_write().expect("can be written");
    assert!(!folder.path().join("no").exists(), "the probe leaves nothing");
    place.put("deep/k", Bytes::from_static(b"1")).expect("creates");
    assert_eq!(keys(&place), ["deep/k"]);
    place.probe().expect("lists");
    place.probe_write().expect("can be written");
    assert_eq!(keys(&place), ["deep/k"]);
    let file = folder.path().join("no/such/deep/k");
    let error = Place::open_source(file.to_str().expect("UTF-8"), &no_options());
    assert!(error.expect_err("a file").to_string().contains("name its folder"));
    open("memory://storage-probe/x").probe_write().expect("can be written");
}

#[test]
fn relative_paths_and_file_urls_are_folders() {
    let here = std::env::current_dir().expect("there is one");
    let here = fs::canonicalize(here).expect("it exists");
    assert_eq!(open("out/../out").local_folder(), Some(here.join("out").as_path()));
    assert_eq!(open(".").local_folder(), Some(here.as_path()));
    let url = Url::from_directory_path(here.join("a b%")).expect("absolute");
    assert_eq!(open(url.as_str()).local_folder(), Some(here.join("a b%").as_path()));
    assert_eq!(open(url.as_str()).to_string(), format!("file://{}/a b%", here.display()));
    assert!(Place::open("file://relative/path", &no_options()).is_err());
    assert!(Place::open("", &no_options()).is_err());
    assert!(Place::open("~/data", &no_options()).is_err());
    assert!(Place::open("ftp://host/x", &no_options()).is_err());
}

#[test]
fn remote_places_open_without_contact() {
    let options = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let keys = options(&[
        ("aws_region", "ap-guangzhou"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("aws_secret_access_key", "secret"),
    ]);
    let place = Place::open("s3://bucket/a/b", &keys).expect("opens");
    assert_eq!(place.to_string(), "s3://bucket/a/b");
    assert_eq!(place.at("c").url().as_str(), "s3://bucket/a/b/c/");
    assert_eq!(place.path("read", "k").expect("is a key").as_ref(), "a/b/k");
    let azure = options(&[("azure_storage_account_name", "acc")]);
    Place::open("az://container/a", &azure).expect("opens");
    Place::open("https://example.com/a", &no_options()).expect("opens");
    let error = Place::open("s3://bucket/a", &options(&[("no_such_option", "hidden")]));
    let error = error.expect_err("unknown").to_string();
    assert!(error.contains("no_such_option") && !error.contains("hidden"), "{error}");
    let error = Place::open("s3://bucket/a", &options(&[("aws_allow_http", "hidden")]));
    let error = error.expect_err("no boolean").to_string();
    assert!(error.contains("[value]") && !error.contains("hidden"), "{error}");
    let error = Place::open("out", &options(&[("aws_region", "x")])).expect_err("takes none");
    assert!(error.to_string().contains("remove aws_region"), "{error}");
}

#[test]
fn secrets_of_a_url_are_never_shown() {
    let place = open("https://user:hidden@example.com/a");
    let shown = format!("{place} {place:?} {} {}", place.url(), place.shown("k"));
    assert!(!shown.contains("hidden") && !shown.contains("user"), "{shown}");
    for url in ["s3://user:hidden@bucket/a?sig=hidden", "memory://x/y#hidden"] {
        let error = Place::open(url, &no_options()).expect_err("not taken").to_string();
        assert!(!error.contains("hidden"), "{error}");
    }
    let error = Place::open("http://user:hidden@:port/", &no_options()).expect_err("is none");
    assert!(!error.to_string().contains("hidden"), "{error}");
    assert_eq!(
        scrubbed("GET https://u:p@h/a?sig=x failed, see (http://h2/b?c) and s3://b/k."),
        "GET https://h/a failed, see (http://h2/b) and s3://b/k."
    );
    assert_eq!(scrubbed("a@b? no URL"), "a@b? no URL");
}

#[test]
fn keys_cannot_leave_their_place() {
    let (_folder, places) = places("storage-escape");
    for place in places {
        for key in ["", "..", "a/../../b", "/etc/passwd", "a//b", "./a", "a/"] {
            let read = place.read_all(key).expect_err("is no key");
            assert!(read.to_string().contains("no empty, . or .. part"), "{read}");
            assert!(place.put(key, Bytes::new()).is_err());
            assert!(place.delete(&[key.to_owned()]).is_err());
        }
    }
}

#[test]
fn errors_are_sorted_by_what_to_do() {
    let generic = |source: Box<dyn std::error::Error + Send + Sync>| {
        let error = object_store::Error::Generic { store: "S3", source };
        StorageError::from_error("list", "s3://b", &error)
    };
    let timeout = io::Error::from(io::ErrorKind::TimedOut);
    assert!(generic(Box::new(timeout)).is_transient());
    let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    assert!(generic(Box::new(HttpError::new(HttpErrorKind::Connect, refused))).is_transient());
    assert!(generic("Server returned non-2xx status code: 503 Slow Down: x".into()).is_transient());
    assert!(generic("Server returned non-2xx status code: 429 : x".into()).is_transient());
    assert!(
        !generic("Server returned non-2xx status code: 403 Forbidden: x".into()).is_transient()
    );
    let full = generic(Box::new(io::Error::from(io::ErrorKind::StorageFull)));
    assert!(!full.is_transient() && !full.is_not_found());
    let source = "x".into();
    let missing = object_store::Error::NotFound { path: "k".to_owned(), source };
    assert!(StorageError::from_error("read", "s3://b/k", &missing).is_not_found());
    assert_eq!(
        generic("the cause".into()).to_string(),
        "cannot list s3://b: Generic S3 error: the cause"
    );
}

#[test]
fn any_plain_thread_may_wait() {
    let (_folder, places) = places("storage-threads");
    for place in places {
        let written: BTreeSet<String> = (0..64).map(|at| format!("k{at}.json")).collect();
        std::thread::scope(|scope| {
            for key in &written {
                let place = &place;
                scope.spawn(move || {
                    place.put(key, contents(key)).expect("writes");
                    assert_eq!(place.read_all(key).expect("reads"), contents(key));
                });
            }
        });
        assert_eq!(keys(&place).into_iter().collect::<BTreeSet<_>>(), written);
    }
}

#[test]
fn a_walk_comes_by_the_keys_in_their_order() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // What sorts between a name and the same name with a `/` behind it.
    let mut names =
        ["a-/x", "a", "a.json", "a0", "b/c", "b/c.d/e", "b-", "b.", "b0/a", "中/文", "中.json"];
    for name in names.iter().filter(|name| **name != "a") {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("makes folders");
        fs::write(path, name).expect("writes");
    }
    fs::create_dir(folder.path().join("a")).expect("makes a folder");
    fs::write(folder.path().join("a/a"), "in it").expect("writes");
    names[1] = "a/a";
    names.sort_unstable();
    let mut walk = LocalWalk { objects: Vec::new(), above: Vec::new() };
    walk.folder(folder.path(), "").expect("walks");
    let walked: Vec<&str> = walk.objects.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(walked, names);
    walk.objects.clear();
    walk.folder(folder.path(), "below").expect("walks");
    let walked: Vec<&str> =
        walk.objects.iter().map(|object| &object.key["below/".len()..]).collect();
    assert_eq!(walked, names);
}
