//! How an object's framing and compression are found.

use super::*;

#[test]
fn framings() {
    use Format as F;
    use Framing::{Documents, Lines};
    for (format, key, expected) in [
        // What the pipeline says.
        (F::Ndjson, "x.json", Some(Lines)),
        (F::Json, "x.ndjson", Some(Documents)),
        // What the name says.
        (F::Auto, "a/b.ndjson", Some(Lines)),
        (F::Auto, "a/b.jsonl", Some(Lines)),
        (F::Auto, "a/B.NDJSON", Some(Lines)),
        (F::Auto, "a/b.ndjson.gz", Some(Lines)),
        (F::Auto, "a/b.JSONL.ZST", Some(Lines)),
        // A folder's name says nothing, nor does `.json`.
        (F::Auto, "a.ndjson/b", None),
        (F::Auto, "x.json", None),
        (F::Auto, "x", None),
    ] {
        assert_eq!(framing(format, key), expected, "{key}");
    }
}

/// What the first bytes of a large object say.
#[test]
fn splits() {
    let (a, pretty) = (result("a"), "{\n  \"LivenessDetail\": []\n}\n");
    let lines = format!("{a}\n{a}\n");
    for (head, expected) in [
        (lines.clone(), true),
        (format!("\r\n {a} \r\n{a}"), true),
        (format!("\u{FEFF}{a}\n{a}\n"), true),
        (format!("{a}\n{}", &a[..20]), true),
        (format!("{a}\n"), true),
        (format!("{a}\nxyz\n"), false),
        (format!("{a}\nxyz"), false),
        (a.clone(), false),
        (pretty.to_owned(), false),
        (format!("{pretty}{pretty}"), false),
        (format!("{a}\n{pretty}"), false),
        (format!("{a}\n{a}\n{pretty}"), false),
        (format!("[{a},\n{a}]\n"), false),
        (format!("[\n{a}\n]\n"), false),
        (format!("{a}{a}\n{a}\n"), false),
        (String::new(), false),
        ("\n\n".to_owned(), false),
        ("no JSON\nat all\n".to_owned(), false),
        ("{\"a\":\"}\\\"\n".to_owned(), false),
    ] {
        assert_eq!(splits_at_lines(Format::Auto, "x", head.as_bytes()), expected, "{head:?}");
    }
    assert!(splits_at_lines(Format::Auto, "x.ndjson", pretty.as_bytes()));
    assert!(!splits_at_lines(Format::Json, "x.ndjson", lines.as_bytes()));
}

/// Either framing reads what both can.
#[test]
fn the_framing_of_lines_does_not_matter_for_sound_ones() {
    let text = format!("{}\n{}\n\n{}", result("a"), result("b"), result("c"));
    assert_eq!(decode(&text, Framing::Lines), decode(&text, Framing::Documents));
}

#[test]
fn compressions() {
    use Compression as C;
    let gzip = [0x1F, 0x8B, 8, 0];
    let zstd = [0x28, 0xB5, 0x2F, 0xFD];
    let skippable = [0x50, 0x2A, 0x4D, 0x18];
    for (told, head, expected) in [
        (C::Auto, &gzip[..], C::Gzip),
        (C::Auto, &zstd, C::Zstd),
        (C::Auto, &skippable, C::Zstd),
        (C::Auto, b"{\"a\"", C::Plain),
        (C::Auto, b"", C::Plain),
        (C::Auto, &gzip[..1], C::Plain),
        (C::Plain, &gzip, C::Plain),
        (C::Gzip, b"{", C::Gzip),
        (C::Zstd, b"", C::Zstd),
    ] {
        assert_eq!(compression(told, head), expected, "{told:?} {head:?}");
    }
}
