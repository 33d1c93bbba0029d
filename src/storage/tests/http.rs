use std::sync::atomic::AtomicUsize;

use object_store::ClientOptions;
use object_store::client::{HttpConnector, HttpRequest, HttpRequestBody};

use super::super::error::{Refusal, refusal};
use super::super::http::{Connector, Gate, IN_FLIGHT_MAX, readable_page};
use super::super::*;
use super::server::{Answer, Asked, Cut, Server};
use super::*;

fn quick() -> Limits {
    Limits { retry_for: Duration::from_secs(60), idle: None }
}

fn bytes() -> Vec<u8> {
    (0..300_000_u32).map(|at| (at / 7) as u8).collect()
}

const DATE: &str = "Sun, 03 Nov 2024 00:00:00 GMT";

/// A part of [`bytes`] as the version `etag`.
fn part(asked: &Asked, etag: &str) -> Answer {
    Answer::part(&bytes(), asked).with("etag", format!("\"{etag}\"")).with("last-modified", DATE)
}

fn read(place: &Place) -> (ObjectInfo, io::Result<Vec<u8>>) {
    let (info, mut reader) = place.open_object("k", 0, None).expect("opens");
    let mut read = Vec::new();
    let outcome = reader.read_to_end(&mut read).map(|_| read);
    (info, outcome)
}

#[test]
fn a_transfer_that_breaks_off_goes_on_where_it_broke() {
    for cut in [Cut::EndAfter(100_000), Cut::ResetAfter(100_000), Cut::StallAfter(100_000)] {
        let server = Server::start(move |number, asked| match number {
            0 => part(asked, "v1").cut(cut),
            _ => part(asked, "v1"),
        });
        let limits = Limits { idle: Some(Duration::from_secs(1)), ..quick() };
        let before = request_counts();
        let (info, outcome) = read(&server.s3(&limits, &[]));
        assert_eq!(outcome.expect("goes on"), bytes(), "{cut:?}");
        assert_eq!((info.size, info.etag.as_deref()), (300_000, Some("\"v1\"")));
        assert_eq!(info.last_modified_ms, 1_730_592_000_000);
        let asked = server.asked();
        assert_eq!(asked.len(), 2, "{cut:?}");
        let (first, last) = asked[1].range().expect("a range");
        assert!(first > 0 && first <= 100_000 && last == 299_999, "{first}-{last}");
        let after = request_counts();
        assert!(after.failed > before.failed && after.get >= before.get + 2);
        assert!(after.bytes_received >= before.bytes_received + 300_000);
    }
}

#[test]
fn a_transfer_without_an_etag_cannot_go_on() {
    let server = Server::start(|_, asked| {
        Answer::part(&bytes(), asked).with("last-modified", DATE).cut(Cut::EndAfter(100_000))
    });
    let (_, outcome) = read(&server.s3(&quick(), &[]));
    let error = outcome.expect_err("breaks off");
    let error = StorageError::of_read(&error).expect("a storage error");
    assert!(error.is_transient(), "{error}");
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn an_object_that_changes_while_it_is_read_is_told() {
    let server = Server::start(|number, asked| match (number, asked.header("if-match")) {
        (0, _) => part(asked, "v1").cut(Cut::EndAfter(100_000)),
        (_, None) => part(asked, "v2"),
        (_, Some(_)) => Answer::new("412 Precondition Failed", ""),
    });
    let (_, outcome) = read(&server.s3(&quick(), &[]));
    let error = outcome.expect_err("is another");
    assert!(StorageError::of_read(&error).expect("a storage error").is_changed(), "{error}");
    let last = server.asked().pop().expect("asked");
    assert_eq!(last.header("if-match"), Some("\"v1\""));
}

#[test]
fn a_version_is_asked_for_with_quotes_or_not_at_all() {
    let server = Server::start(|_, asked| part(asked, "v1"));
    let place = server.s3(&quick(), &[]);
    place.open_object("k", 0, Some("v1")).expect("a listing without quotes");
    assert_eq!(server.asked()[0].header("if-match"), Some("\"v1\""));
    let error = place.open_object("k", 0, Some("W/\"v0\"")).err().expect("another by its name");
    assert!(error.is_changed(), "{error}");
    assert_eq!(server.asked()[1].header("if-match"), None);
}

#[test]
fn a_transfer_outlives_the_time_for_retries() {
    // Each answer breaks off, later than the time for retries: only progress counts.
    let server = Server::start(|_, asked| {
        std::thread::sleep(Duration::from_millis(30));
        let answer = part(asked, "v1");
        let sent = answer.body.len().min(100_000);
        answer.cut(Cut::EndAfter(sent))
    });
    let limits = Limits { retry_for: Duration::from_millis(1), idle: None };
    let (_, outcome) = read(&server.s3(&limits, &[]));
    assert_eq!(outcome.expect("goes on"), bytes());
    assert!(server.asked().len() >= 3);
}

const DENIED: &str = "<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code>\
    <Message>The signature &amp; the key differ</Message><AWSAccessKeyId>AKIDHIDDEN</AWSAccessKeyId>\
    <StringToSign>hidden</StringToSign></Error>";

#[test]
fn a_refusal_names_the_request_and_no_secret() {
    for (header, id) in [
        ("x-amz-request-id", "AMZ1"),
        ("x-cos-request-id", "COS1"),
        ("x-ms-request-id", "MS1"),
        ("x-guploader-uploadid", "G1"),
    ] {
        let server =
            Server::start(move |_, _| Answer::new("403 Forbidden", DENIED).with(header, id));
        let place = server.s3(&quick(), &[]);
        let errors = [
            place.read_all("k").expect_err("denied"),
            place.head("k").expect_err("denied"),
            place.list(None).expect_err("denied"),
            place.put("k", Bytes::new()).expect_err("denied"),
            place.delete(&["k".to_owned()]).expect_err("denied"),
        ];
        for error in errors {
            assert!(matches!(error, StorageError::Refused { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains(&format!("(request id {id})")), "{text}");
            assert!(text.contains("access denied: check AWS_"), "{text}");
            for hidden in ["hidden", "AKID", "<", "list-type", "Signature=", "Credential"] {
                assert!(!text.contains(hidden), "{hidden}: {text}");
            }
        }
        let text = place.read_all("k").expect_err("denied").to_string();
        assert!(text.contains("SignatureDoesNotMatch: The signature & the key differ"), "{text}");
        assert!(text.contains("AWS_SECRET_ACCESS_KEY and AWS_REGION"), "{text}");
    }
}

#[test]
fn path_style_that_a_store_forbids_is_explained() {
    let body = "<Error><Code>PathStyleDomainForbidden</Code><Message>no</Message></Error>";
    let server = Server::start(move |_, _| Answer::new("403 Forbidden", body));
    let text = server.s3(&quick(), &[]).list(None).expect_err("denied").to_string();
    assert!(text.contains("virtual_hosted_style_request = \"true\""), "{text}");
    assert!(text.contains("https://<bucket>.cos.<region>.myqcloud.com"), "{text}");
}

#[test]
fn a_bucket_that_is_not_there_is_no_empty_one() {
    let body = "<Error><Code>NoSuchBucket</Code><Message>none</Message></Error>";
    let server = Server::start(move |_, _| {
        Answer::new("404 Not Found", body).with("x-amz-request-id", "R7")
    });
    let place = server.s3(&quick(), &[]);
    let errors = [
        place.list(None).expect_err("no bucket"),
        place.list_level(None).expect_err("no bucket"),
        place.probe().expect_err("no bucket"),
        place.read_all("k").expect_err("no bucket"),
        place.put("k", Bytes::new()).expect_err("no bucket"),
    ];
    for error in errors {
        assert!(matches!(error, StorageError::Refused { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("there is no such bucket") && text.contains("R7"), "{text}");
        assert!(text.contains("AWS_ENDPOINT"), "{text}");
    }
    let listed = block_on(place.store().list(None).try_collect::<Vec<_>>());
    assert!(matches!(listed, Err(object_store::Error::Generic { .. })), "{listed:?}");

    let body = "<Error><Code>NoSuchKey</Code><Message>none</Message></Error>";
    let server = Server::start(move |_, _| Answer::new("404 Not Found", body));
    assert!(server.s3(&quick(), &[]).read_all("k").expect_err("no object").is_not_found());
}

#[test]
fn slow_down_makes_the_process_slower() {
    let body = "<Error><Code>SlowDown</Code><Message>Reduce your rate</Message></Error>";
    let server = Server::start(move |number, asked| match number {
        0..3 => Answer::new("503 Slow Down", body),
        _ => part(asked, "v1"),
    });
    let place = server.s3(&quick(), &[]);
    let before = request_counts().throttled;
    assert_eq!(place.read_all("k").expect("in the end"), bytes());
    assert_eq!(server.asked().len(), 4);
    assert!(request_counts().throttled >= before + 3);
    let bound = gate_of(place.url()).bound();
    // Halved once at least, and three times at most: refusals that come in one pause are one.
    assert!((IN_FLIGHT_MAX / 8..=IN_FLIGHT_MAX / 2).contains(&bound), "{bound}");
}

#[test]
fn requests_in_flight_are_bounded() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (flying, highest) = (Arc::clone(&now), Arc::clone(&most));
    let server = Server::start(move |_, asked| {
        highest.fetch_max(flying.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        flying.fetch_sub(1, Ordering::SeqCst);
        Answer::part(b"small", asked).with("etag", "\"e\"")
    });
    let place = server.s3(&quick(), &[]);
    let path = place.path("read", "k").expect("is a key");
    let all = (0..3 * IN_FLIGHT_MAX).map(|_| async {
        place.root.get(&path).await.expect("answers").bytes().await.expect("reads")
    });
    let read = block_on(futures::future::join_all(all));
    assert!(read.len() == 3 * IN_FLIGHT_MAX as usize && read.iter().all(|bytes| bytes == "small"));
    let most = most.load(Ordering::SeqCst);
    assert!(most > 1 && most <= IN_FLIGHT_MAX as usize, "{most}");
}

/// Two wait for the one place; who is woken first is told to pause, and gives up. The other one gets in.
#[test]
fn who_gives_up_at_the_gate_wakes_the_next() {
    block_on(async {
        let gate = Arc::new(Gate::default());
        while gate.bound() > 1 {
            gate.slow_down(Duration::ZERO);
            // Those of one burst count once.
            tokio::time::sleep(Duration::from_millis(650)).await;
        }
        let first = gate.enter().await;
        let waits = || {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { drop(gate.enter().await) })
        };
        let gives_up = waits();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let other = waits();
        tokio::time::sleep(Duration::from_millis(50)).await;
        gate.slow_down(Duration::from_secs(1));
        drop(first);
        tokio::time::sleep(Duration::from_millis(50)).await;
        gives_up.abort();
        let entered = tokio::time::timeout(Duration::from_secs(60), other).await;
        entered.expect("the other one gets in").expect("its task ends");
    });
}

#[test]
fn a_gate_that_was_lowered_opens_again_slowly() {
    let gate = Gate::default();
    assert_eq!(gate.bound(), IN_FLIGHT_MAX);
    for _ in 0..20 {
        gate.slow_down(Duration::ZERO);
    }
    assert_eq!(gate.bound(), IN_FLIGHT_MAX / 2, "one burst counts once");
    for _ in 0..IN_FLIGHT_MAX / 2 - 1 {
        gate.went_well();
    }
    assert_eq!(gate.bound(), IN_FLIGHT_MAX / 2);
    gate.went_well();
    assert_eq!(gate.bound(), IN_FLIGHT_MAX / 2 + 1);
    for _ in 0..IN_FLIGHT_MAX * IN_FLIGHT_MAX {
        gate.went_well();
    }
    assert_eq!(gate.bound(), IN_FLIGHT_MAX, "and no further");
}

#[test]
fn a_store_that_stays_down_is_given_up_in_time() {
    let server = Server::start(|_, _| {
        Answer::new("500 Internal", "<Error><Code>InternalError</Code></Error>")
            .with("x-amz-request-id", "LAST")
    });
    let limits = Limits { retry_for: Duration::from_millis(400), idle: None };
    let error = server.s3(&limits, &[]).read_all("k").expect_err("stays down");
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("InternalError (request id LAST)"), "{error}");
    assert!(server.asked().len() >= 2, "was tried again");
}

#[test]
fn what_a_store_does_not_implement_is_not_asked_again() {
    let server = Server::start(|_, _| Answer::new("501 Not Implemented", "no").with("a", "b"));
    let error = server.s3(&quick(), &[]).put("k", Bytes::new()).expect_err("is refused");
    assert!(matches!(error, StorageError::Other { .. }), "{error:?}");
    assert!(error.to_string().contains("does not implement this: no"), "{error}");
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_redirect_to_nowhere_is_about_the_region() {
    let body = "<Error><Code>PermanentRedirect</Code></Error>";
    let server = Server::start(move |_, _| {
        Answer::new("301 Moved Permanently", body).with("x-amz-request-id", "R9")
    });
    let text = server.s3(&quick(), &[]).list(None).expect_err("elsewhere").to_string();
    assert!(text.contains("check the region and the endpoint") && text.contains("R9"), "{text}");
}

fn page(entries: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated>\
         {entries}</ListBucketResult>"
    )
}

fn entry(key: &str, size: u64) -> String {
    format!(
        "<Contents><Key>{key}</Key><LastModified>2024-11-03T00:00:00.000Z</LastModified>\
         <ETag>&quot;e&quot;</ETag><Size>{size}</Size></Contents>"
    )
}

#[test]
fn markers_of_folders_are_no_objects() {
    let entries = [
        entry("in/", 0),
        entry("in/a/", 0),
        entry("in/a/x&amp;y.json", 3),
        entry("in/b//", 0),
        entry("in/empty.json", 0),
        entry("in/z/", 0),
    ];
    let folders = "<CommonPrefixes><Prefix>in/a/</Prefix></CommonPrefixes>";
    let whole = page(&format!("{}{folders}", entries.concat()));
    let server = Server::start(move |_, _| Answer::new("200 OK", whole.clone()));
    let place = server.s3(&quick(), &[]);
    let before = request_counts().list;
    assert_eq!(keys(&place), ["a/x&y.json", "empty.json"]);
    assert!(request_counts().list > before);
    assert!(server.asked()[0].target.contains("list-type=2"), "{:?}", server.asked());
    let level = place.list_level(None).expect("lists");
    assert_eq!(level.folders, ["a"]);
    assert_eq!(level.objects.len(), 2);
}

#[test]
fn azure_has_markers_too() {
    let blob = |name: &str, bytes: u64| {
        format!(
            "<Blob><Name>{name}</Name><Properties><Content-Length>{bytes}</Content-Length>\
             </Properties></Blob>"
        )
    };
    let whole = format!("<Blobs>{}{}{}</Blobs>", blob("a/", 0), blob("a/x", 0), blob("b/", 0));
    let kept = format!("<Blobs>{}</Blobs>", blob("a/x", 0));
    assert_eq!(readable_page(&whole), (Some(kept), Vec::new()));
    assert_eq!(readable_page(&blob("a/x", 0)), (None, Vec::new()));
    assert_eq!(readable_page(&blob("a/", 1)), (Some(String::new()), vec!["a/".to_owned()]));
    let folders =
        "<BlobPrefix><Name>a/</Name></BlobPrefix><BlobPrefix><Name>b//</Name></BlobPrefix>";
    let kept = "<BlobPrefix><Name>a/</Name></BlobPrefix>".to_owned();
    assert_eq!(readable_page(folders), (Some(kept), vec!["b//".to_owned()]));
}

#[test]
fn a_store_says_itself_how_long_to_wait() {
    for status in ["429 Too Many Requests", "503 Slow Down"] {
        let server = Server::start(move |number, asked| match number {
            0 => Answer::new(status, "").with("retry-after", "2"),
            _ => part(asked, "v1"),
        });
        let place = server.s3(&quick(), &[]);
        let begun = std::time::Instant::now();
        assert_eq!(place.read_all("k").expect("in the end"), bytes());
        assert!(begun.elapsed() >= Duration::from_secs(2), "{status}");
        assert_eq!(server.asked().len(), 2);
    }
}

#[test]
fn the_time_for_retries_is_the_process_s() {
    assert_eq!(Limits::of_process().retry_for, Duration::from_secs(180));
    set_retry_for(Duration::from_secs(170));
    assert_eq!(Limits::of_process().retry_for, Duration::from_secs(170));
    set_retry_for(Duration::from_secs(180));
}

#[test]
fn a_key_that_would_be_taken_for_another_is_left_out_and_told() {
    for (key, written) in [
        ("in/a/", "in/a/"),
        ("in/a//b.json", "in/a//b.json"),
        ("in/./b.json", "in/./b.json"),
        ("in/../b.json", "in/../b.json"),
        ("/in/a", "/in/a"),
        ("in/a\u{7}b&<38;.json", "in/a&#x7;b&amp;&lt;38;.json"),
    ] {
        let whole = page(&[entry("in/x&#38;y.json", 3), entry(written, 5)].concat());
        let server = Server::start(move |_, _| Answer::new("200 OK", whole.clone()));
        let place = server.s3(&quick(), &[]);
        let listing = place.listing(None).expect("lists");
        let keys: Vec<&str> = listing.objects.iter().map(|object| &*object.key).collect();
        assert_eq!(keys, ["x&y.json"]);
        assert_eq!(listing.unreadable.iter().collect::<Vec<_>>(), [key]);
        let level = place.list_level(None).expect("lists");
        assert_eq!((level.objects.len(), level.unreadable), (1, listing.unreadable));
    }
    let folders = "<CommonPrefixes><Prefix>in/a/</Prefix></CommonPrefixes>\
                   <CommonPrefixes><Prefix>in//</Prefix></CommonPrefixes>";
    let whole = page(folders);
    let server = Server::start(move |_, _| Answer::new("200 OK", whole.clone()));
    let level = server.s3(&quick(), &[]).list_level(None).expect("lists");
    assert_eq!(level.folders, ["a"]);
    assert_eq!(level.unreadable.iter().collect::<Vec<_>>(), ["in//"]);
}

#[test]
fn a_machine_without_credentials_says_so_soon() {
    // Bound and let go: nobody listens there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = format!("http://{}", nobody.local_addr().expect("it is bound"));
    drop(nobody);
    // Another cloud's service, which does not know the question.
    let other = Server::start(|_, _| Answer::new("404 Not Found", "what?"));
    for metadata in [silent, other.url()] {
        let connector = Connector::new(Arc::default(), "s3", false);
        let store = AmazonS3Builder::new()
            .with_bucket_name("b")
            .with_region("here")
            .with_metadata_endpoint(metadata)
            .with_http_connector(connector)
            .build()
            .expect("builds");
        let error = block_on(store.head(&Path::from("k"))).expect_err("no credentials");
        let error = StorageError::from_error("look up", "s3://b/k", &error);
        assert!(matches!(error, StorageError::Refused { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("no credentials: set AWS_ACCESS_KEY_ID"), "{text}");
    }
    assert_eq!(other.asked().len(), 1, "an answer is not doubted");
}

#[test]
fn a_silent_metadata_service_is_not_asked_for_each_request() {
    let server = Server::start(|_, _| Answer::new("502 Bad Gateway", ""));
    let options = ClientOptions::new().with_allow_http(true);
    let connector = Connector::new(Arc::default(), "s3", false);
    let client = connector.connect(&options).expect("connects");
    let uri = format!("{}/latest/api/token", server.url());
    for _ in 0..5 {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = uri.parse().expect("a URI");
        let error = block_on(client.execute(request)).expect_err("no answer");
        assert!(matches!(refusal(&error), Some(Refusal::NoCredentials(_))), "{error}");
    }
    assert_eq!(server.asked().len(), 2, "tried twice, then remembered");
}

#[test]
fn options_for_time_limits_have_these_names() {
    let server = Server::start(|number, asked| match number {
        0 => part(asked, "v1").cut(Cut::StallAfter(1000)),
        _ => part(asked, "v1"),
    });
    for name in ["timeout", "aws_timeout", "AWS_TIMEOUT", "connect_timeout", "aws_connect_timeout"]
    {
        server.s3(&quick(), &[(name, "90 seconds")]);
        let mut options = no_options();
        options.insert(name.to_owned(), "soon".to_owned());
        let error = Place::open("s3://b/k", &options).expect_err("is no time").to_string();
        assert!(error.contains("Duration") && !error.contains("soon"), "{name}: {error}");
    }
    // A limit that is named goes for the whole request, and its end is one more break to go on from.
    let (_, outcome) = read(&server.s3(&quick(), &[("timeout", "1s")]));
    assert_eq!(outcome.expect("goes on"), bytes());
    assert_eq!(server.asked().len(), 2);
}
