use std::time::Instant;

use object_store::GetResult;

use super::super::guard::Stop;
use super::super::*;
use super::*;

/// Never answers.
#[derive(Debug)]
pub struct Mute;

impl fmt::Display for Mute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mute")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Mute {
    async fn put_opts(
        &self,
        _: &Path,
        _: object_store::PutPayload,
        _: object_store::PutOptions,
    ) -> object_store::Result<object_store::PutResult> {
        std::future::pending().await
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: object_store::PutMultipartOptions,
    ) -> object_store::Result<Box<dyn object_store::MultipartUpload>> {
        std::future::pending().await
    }

    async fn get_opts(&self, _: &Path, _: GetOptions) -> object_store::Result<GetResult> {
        std::future::pending().await
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        stream::pending().boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        stream::pending().boxed()
    }

    async fn list_with_delimiter(
        &self,
        _: Option<&Path>,
    ) -> object_store::Result<object_store::ListResult> {
        std::future::pending().await
    }

    async fn copy_opts(
        &self,
        _: &Path,
        _: &Path,
        _: object_store::CopyOptions,
    ) -> object_store::Result<()> {
        std::future::pending().await
    }
}

/// A place whose stop is its own: the process's would end every other test.
pub fn stoppable(url: &str, grace: Duration) -> (Place, Arc<Stop>) {
    let mut stop = Stop::default();
    stop.grace = grace;
    let stop = Arc::new(stop);
    let mut place = open(url);
    place.root = Arc::new(Guarded { stop: Arc::clone(&stop), ..(*place.root).clone() });
    (place, stop)
}

#[test]
fn a_stop_ends_whatever_waits() {
    mount("storage-mute", Arc::new(Mute));
    let (place, stop) = stoppable("memory://storage-mute", Duration::from_millis(300));
    let of = |result: Result<(), StorageError>| result.expect_err("is stopped").is_stopped();
    std::thread::scope(|scope| {
        let waiting = [
            scope.spawn(|| of(place.read_all("k").map(drop))),
            scope.spawn(|| of(place.reader("k", 3).map(drop))),
            scope.spawn(|| of(place.list(None).map(drop))),
            scope.spawn(|| of(place.list_level(None).map(drop))),
            scope.spawn(|| of(place.head("k").map(drop))),
            scope.spawn(|| of(place.probe())),
            scope.spawn(|| of(place.put("k", Bytes::new()))),
            scope.spawn(|| of(place.delete(&["k".to_owned()]))),
        ];
        std::thread::sleep(Duration::from_millis(100));
        assert!(!waiting.iter().any(|waiter| waiter.is_finished()));
        stop.stop();
        stop.stop();
        for waiter in waiting {
            assert!(waiter.join().expect("no panic"));
        }
    });
}

#[test]
fn after_a_stop_writes_have_their_grace_and_reads_have_none() {
    let (place, stop) = stoppable("memory://storage-grace", Duration::from_secs(3600));
    place.put("k", Bytes::from_static(b"1")).expect("writes");
    stop.stop();
    assert!(stop.stopped());
    assert!(place.read_all("k").expect_err("no more reads").is_stopped());
    place.put("k", Bytes::from_static(b"2")).expect("there is an hour for it");
    let (place, stop) = stoppable("memory://storage-grace", Duration::ZERO);
    stop.stop();
    assert!(place.put("k", Bytes::from_static(b"3")).expect_err("no grace").is_stopped());
    assert_eq!(open("memory://storage-grace").read_all("k").expect("reads"), "2");
    assert_eq!(StorageError::Stopped.to_string(), "stopped as asked");
}

#[test]
fn a_stop_ends_a_wait_between_retries() {
    let server = server::Server::start(|_, _| server::Answer::new("500 Internal", "x"));
    let mut place = server.s3(&Limits::of_process(), &[]);
    let stop = Arc::new(Stop::default());
    place.root = Arc::new(Guarded { stop: Arc::clone(&stop), ..(*place.root).clone() });
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| place.read_all("k").expect_err("is stopped").is_stopped());
        while server.asked().len() < 2 {
            std::thread::sleep(Duration::from_millis(5));
        }
        stop.stop();
        assert!(reader.join().expect("no panic"));
    });
    assert!(begun.elapsed() < Duration::from_secs(100), "the retries would take 180 s");
}

#[test]
fn a_stop_passed_on_as_text_is_still_one() {
    let text = io::Error::other("Kernel error: Generic store error: stopped as asked");
    assert!(StorageError::from_error("read", "s3://b", &text).is_stopped());
}
