use super::super::*;
use super::*;

#[test]
fn one_level_shows_folders_and_objects() {
    let (_folder, places) = places("storage-level");
    for place in places {
        assert_eq!(place.list_level(None).expect("lists"), Level::default(), "not there");
        for key in ["b/c/d.json", "b/a.json", "中文/x.json", "top.json", "a b/100%.json"] {
            place.put(key, contents(key)).expect("writes");
        }
        let level = place.list_level(None).expect("lists");
        assert_eq!(level.folders, ["a b", "b", "中文"], "{place}");
        assert_eq!(level.objects.len(), 1);
        assert_eq!(Some(&level.objects[0]), place.head("top.json").expect("looks up").as_ref());
        let level = place.list_level(Some("b/")).expect("lists");
        assert_eq!(level.folders, ["b/c"]);
        assert_eq!(level.objects[0].key, "b/a.json");
        assert_eq!(level.objects.len(), 1);
        let inner = place.at("b").list_level(Some("c")).expect("lists");
        assert_eq!((inner.folders.len(), inner.objects[0].key.as_str()), (0, "c/d.json"));
        assert_eq!(place.list_level(Some("none")).expect("lists"), Level::default());
    }
}

#[test]
fn an_object_opens_as_the_version_asked_for_or_not_at_all() {
    let (_folder, places) = places("storage-versions");
    for place in places {
        place.put("k", Bytes::from_static(b"0123456789")).expect("writes");
        let listed = place.list(None).expect("lists").remove(0);
        let etag = listed.etag.clone();
        let (info, mut reader) = place.open_object("k", 4, etag.as_deref()).expect("opens");
        assert_eq!(info, listed, "{place}");
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("reads");
        assert_eq!(text, "456789");
        let (info, mut reader) = place.open_object("k", 10, etag.as_deref()).expect("opens");
        assert_eq!((info.size, reader.read(&mut [0; 8]).expect("reads")), (10, 0));

        place.put("k", Bytes::from_static(b"other bytes")).expect("overwrites");
        for from in [0, 4, 11, 99] {
            let error = place.open_object("k", from, etag.as_deref()).err().expect("is another");
            assert!(error.is_changed(), "{place} from {from}: {error}");
            assert!(error.to_string().contains("overwritten"), "{error}");
        }
        let (info, _) = place.open_object("k", 0, None).expect("opens");
        assert_eq!(info.size, 11, "what the opened one is");
        assert_ne!(info.etag, etag);
    }
}
