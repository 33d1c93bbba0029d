//! How an object's framing and compression are found.

use super::*;

#[test]
fn framings() {
    use Format as F;
    use Framing::{Documents, Lines};
    let (a, pretty) = (result("a"), "{\n  \"LivenessDetail\": []\n}\n");
    let lines = format!("{a}\n{a}\n");
    let cases: &[(F, &str, &str, bool, Framing)] = &[
        // What the pipeline says.
        (F::Ndjson, "x.json", pretty, true, Lines),
        (F::Json, "x.ndjson", &lines, true, Documents),
        // What the name says.
        (F::Auto, "a/b.ndjson", pretty, true, Lines),
        (F::Auto, "a/b.jsonl", "", true, Lines),
        (F::Auto, "a/B.NDJSON", pretty, true, Lines),
        (F::Auto, "a/b.ndjson.gz", pretty, true, Lines),
        (F::Auto, "a/b.JSONL.ZST", pretty, true, Lines),
        // A folder's name says nothing.
        (F::Auto, "a.ndjson/b", pretty, true, Documents),
        // What the first bytes say.
        (F::Auto, "x.json", &lines, true, Lines),
        (F::Auto, "x", &lines, true, Lines),
        (F::Auto, "x", &format!("\r\n {a} \r\n{a}"), true, Lines),
        (F::Auto, "x", &format!("\u{FEFF}{a}\n{a}\n"), true, Lines),
        (F::Auto, "x", &format!("{a}\n{}", &a[..20]), true, Lines),
        (F::Auto, "x", &format!("{a}\nxyz\n"), true, Lines),
        // The first line is all of a document.
        (F::Auto, "x", &format!("{a}\n"), true, Documents),
        (F::Auto, "x", &format!("{a}\n \r\n"), true, Documents),
        (F::Auto, "x", &format!("{a}\n"), false, Lines),
        (F::Auto, "x", &a, false, Documents),
        (F::Auto, "x.json", pretty, true, Documents),
        (F::Auto, "x", &format!("{pretty}{pretty}"), true, Documents),
        (F::Auto, "x", &format!("{a}\n{pretty}"), true, Documents),
        (F::Auto, "x", &format!("[{a},\n{a}]\n"), true, Documents),
        (F::Auto, "x", &format!("[\n{a}\n]\n"), true, Documents),
        (F::Auto, "x", &format!("{a}{a}\n{a}\n"), true, Documents),
        (F::Auto, "x", "", true, Documents),
        (F::Auto, "x", "\n\n", true, Documents),
        (F::Auto, "x", "no JSON\nat all\n", true, Documents),
        (F::Auto, "x", "{\"a\":\"}\\\"\n", true, Documents),
    ];
    for (format, key, head, whole, expected) in cases {
        assert_eq!(
            framing(*format, key, head.as_bytes(), *whole),
            *expected,
            "{key}: {head:?} {whole}"
        );
    }
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
