use object_store::{
    CopyMode, CopyOptions, GetResult, ListResult, MultipartUpload, PutMode, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};

use super::super::*;
use super::*;

/// A store in memory that does not keep what it is asked for.
#[derive(Debug, Default)]
pub struct Odd {
    inner: InMemory,
    pub says: Says,
    /// Of copies that must not overwrite.
    pub copies: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Says {
    /// Does as it is told.
    #[default]
    Right,
    /// Drops conditions: everybody wins.
    Ignores,
    /// Looks, waits a little, writes: right alone, wrong in a race.
    LooksFirst,
    /// Answers that it does not know them.
    NotImplemented,
    /// Refuses every write.
    Denies,
}

impl Odd {
    pub fn mounted(name: &str, says: Says, copies: bool) -> Place {
        mount(name, Arc::new(Odd { inner: InMemory::new(), says, copies }));
        open(&format!("memory://{name}/out"))
    }
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Odd")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Odd {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let conditional = options.mode != PutMode::Overwrite;
        match self.says {
            Says::Denies => Err(object_store::Error::PermissionDenied {
                path: path.to_string(),
                source: "no".into(),
            }),
            Says::NotImplemented if conditional => Err(object_store::Error::NotImplemented {
                operation: "a condition".to_owned(),
                implementer: "Odd".to_owned(),
            }),
            Says::Ignores => self.inner.put(path, payload).await,
            Says::LooksFirst if conditional => {
                if options.mode == PutMode::Create && self.inner.head(path).await.is_ok() {
                    let source = "is there".into();
                    return Err(object_store::Error::AlreadyExists {
                        path: path.to_string(),
                        source,
                    });
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                self.inner.put(path, payload).await
            }
            _ => self.inner.put_opts(path, payload, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        match options.mode {
            CopyMode::Create if !self.copies => {
                Err(object_store::Error::NotSupported { source: "no such copy".into() })
            }
            _ => self.inner.copy_opts(from, to, options).await,
        }
    }
}

#[test]
fn a_probe_finds_what_a_store_does_and_leaves_nothing() {
    use CreateOnly::*;
    for (name, says, copies, create, update) in [
        ("storage-right", Says::Right, false, IfNoneMatch, true),
        ("storage-ignores", Says::Ignores, false, UnderLease, false),
        ("storage-ignores-but-copies", Says::Ignores, true, CopyHeader, false),
        ("storage-looks", Says::LooksFirst, false, UnderLease, false),
        ("storage-unknown", Says::NotImplemented, false, UnderLease, false),
        ("storage-unknown-but-copies", Says::NotImplemented, true, CopyHeader, false),
    ] {
        let place = Odd::mounted(name, says, copies);
        let found = place.probe_create().expect("probes");
        assert!(found.list && found.range && found.delete, "{name}: {found:?}");
        assert_eq!((found.create, found.update_if_match), (create, update), "{name}: {found:?}");
        assert_eq!(place.list(None).expect("lists"), [], "{name}");
        let text = serde_json::to_string(&found).expect("is JSON");
        assert_eq!(serde_json::from_str::<Abilities>(&text).expect("reads back"), found);
        assert!(found.found.iter().all(|sentence| sentence.ends_with('.')), "{found:?}");
    }
    let ignores = Odd::mounted("storage-ignores", Says::Ignores, false);
    let said = ignores.probe_create().expect("probes").found.join(" ");
    assert!(said.contains("create by If-None-Match: no, 8 of 8 writers were let in"), "{said}");
}

#[test]
fn a_probe_that_may_not_write_is_an_error() {
    let place = Odd::mounted("storage-denies", Says::Denies, false);
    let error = place.probe_create().expect_err("is denied").to_string();
    assert!(error.contains("access denied"), "{error}");
}

#[test]
fn a_local_folder_creates_once_and_is_left_as_it_was() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = folder.path().join("no/such");
    let place = open(missing.to_str().expect("UTF-8"));
    let found = place.probe_create().expect("probes");
    assert_eq!((found.create, found.update_if_match), (CreateOnly::IfNoneMatch, false));
    assert!(found.list && found.range && found.delete, "{found:?}");
    assert!(!folder.path().join("no").exists(), "the probe leaves nothing");
}

#[test]
fn every_way_creates_once() {
    for (create, says) in [
        (CreateOnly::IfNoneMatch, Says::Right),
        (CreateOnly::CopyHeader, Says::Ignores),
        (CreateOnly::UnderLease, Says::Ignores),
    ] {
        let name = format!("storage-once-{create:?}").to_lowercase();
        let place = Odd::mounted(&name, says, true).with_create(create);
        let store = place.at("table").store();
        let path = Path::from("_delta_log/00000000000000000000.json");
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = |text: &'static str| {
            block_on(store.put_opts(
                &path,
                Bytes::from_static(text.as_bytes()).into(),
                options.clone(),
            ))
        };
        put("first").expect("creates");
        let error = put("second").expect_err("is there");
        assert!(matches!(error, object_store::Error::AlreadyExists { .. }), "{create:?}: {error}");
        assert_eq!(keys(&place), [format!("table/{path}")], "{create:?}: no litter");
        assert_eq!(place.read_all(&keys(&place)[0]).expect("reads"), "first");
        // Plain writes stay plain.
        block_on(store.put(&path, Bytes::from_static(b"third").into())).expect("overwrites");
        assert_eq!(place.read_all(&keys(&place)[0]).expect("reads"), "third");
    }
}
