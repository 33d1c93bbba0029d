//! gzip of several members, zstd of several frames, and both when they are broken.

use super::*;
use RejectReason as R;
use std::io::Write;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("a buffer");
    encoder.finish().expect("a buffer")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 3).expect("a buffer")
}

/// Records whose text does not compress to nothing.
fn lines(records: usize) -> String {
    let mut rng = Rng(3);
    (0..records).map(|i| result(&format!("s{i}-{:016x}", rng.next())) + "\n").collect()
}

#[test]
fn several_members_and_frames_anywhere_in_a_record() {
    let text = lines(20);
    let plain = read(text.as_bytes(), "k");
    assert_eq!(plain.records.len(), 20);
    for pack in [gzip, zstd] {
        for cut in [0, 1, 100, text.len() / 2, text.len()] {
            for key in ["k", "k.gz", "k.json", "k.ndjson.zst", "k.ndjson"] {
                let (a, b) = text.as_bytes().split_at(cut);
                let seen = read(&[pack(a), pack(b"").clone(), pack(b)].concat(), key);
                assert_eq!(seen, plain, "{key} cut at {cut}");
            }
        }
    }
    let skippable =
        [&[0x50, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zstd(text.as_bytes())].concat();
    assert_eq!(read(&skippable, "k"), plain);
}

#[test]
fn streams_that_give_little() {
    let text = lines(50);
    for bytes in [gzip(text.as_bytes()), zstd(text.as_bytes())] {
        for step in [1, 3, 1000] {
            let mut seen = Seen::default();
            let mut input = Dripping { bytes: &bytes, step };
            let wanted = Wanted::default();
            read_object(&mut input, ("k", 0), Format::Auto, Compression::Auto, &wanted, &mut seen)
                .expect("no failure");
            assert_eq!(seen.records.len(), 50);
        }
    }
}

#[test]
fn objects_without_a_record() {
    for text in ["", " ", "\n \r\n\t", "\n"] {
        for key in ["k", "k.ndjson"] {
            for bytes in [text.as_bytes().to_vec(), gzip(text.as_bytes()), zstd(text.as_bytes())] {
                let seen = read(&bytes, key);
                assert_eq!(seen.places(), [(0, 0, "$", R::EmptyObject)], "{text:?}");
            }
        }
    }
    for text in ["[]", " [ ]\n", "[\n]"] {
        let seen = read(text.as_bytes(), "k.json");
        assert_eq!(seen, Seen::default(), "{text:?}");
    }
}

/// A stream cut at any byte: the records before are kept, and one reject says that there were more.
#[test]
fn a_cut_stream() {
    for (layout, text) in [
        ("lines", lines(12)),
        ("an array", format!("[{}]", lines(12).trim_end().replace('\n', ","))),
    ] {
        for (name, packed) in [("gzip", gzip(text.as_bytes())), ("zstd", zstd(text.as_bytes()))] {
            for cut in 5..packed.len() {
                let seen = read(&packed[..cut], "k");
                let place = format!("{name} of {layout} cut at {cut}: {:?}", seen.rejects);
                assert_eq!(seen.rejects.len(), 1, "{place}");
                assert_eq!(seen.rejects[0].reason, R::BadCompression, "{place}");
                for (i, seq) in seen.seqs().iter().enumerate() {
                    assert!(seq.starts_with(&format!("s{i}-")), "{place}");
                }
            }
        }
    }
}

#[test]
fn a_second_member_that_is_none() {
    let text = lines(3);
    for pack in [gzip, zstd] {
        let seen = read(&[pack(text.as_bytes()), b"rubbish behind it".to_vec()].concat(), "k");
        assert_eq!(seen.records.len(), 3);
        assert_eq!(seen.places(), [(3, text.len() as i64, "$", R::BadCompression)]);
    }
    // Half a record in the first member, and none of the rest.
    let half = &text.as_bytes()[..text.len() - 40];
    let seen = read(&[gzip(half), b"rubbish behind it".to_vec()].concat(), "k");
    assert_eq!(seen.records.len(), 2);
    assert_eq!((seen.rejects.len(), seen.rejects[0].reason), (1, R::BadCompression));
    assert_eq!(seen.rejects[0].byte_offset, half.len() as i64);
}

/// A check sum that is wrong, behind records that are whole.
#[test]
fn a_wrong_check_sum() {
    let text = lines(5);
    let mut packed = gzip(text.as_bytes());
    let end = packed.len();
    packed[end - 6] ^= 1;
    let seen = read(&packed, "k");
    assert_eq!(seen.records.len(), 5);
    assert_eq!(seen.places(), [(5, text.len() as i64, "$", R::BadCompression)]);
}

#[test]
fn plain_text_that_is_said_to_be_packed() {
    for told in [Compression::Gzip, Compression::Zstd] {
        let mut seen = Seen::default();
        let text = lines(2);
        let mut input = Dripping { bytes: text.as_bytes(), step: 1000 };
        read_object(&mut input, ("k", 0), Format::Auto, told, &Wanted::default(), &mut seen)
            .expect("no failure");
        assert_eq!(seen.places(), [(0, 0, "$", R::BadCompression)]);
    }
}

/// Gives some bytes and fails.
struct Failing<'b> {
    bytes: &'b [u8],
    kind: io::ErrorKind,
    failed: usize,
}

impl Read for Failing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // An interruption is tried again: every third read is one.
        self.failed += 1;
        if self.bytes.is_empty() && self.kind != io::ErrorKind::Interrupted
            || self.kind == io::ErrorKind::Interrupted && self.failed.is_multiple_of(3)
        {
            return Err(io::Error::new(self.kind, "the line is down"));
        }
        let n = self.bytes.len().min(buffer.len()).min(50);
        buffer[..n].copy_from_slice(&self.bytes[..n]);
        self.bytes = &self.bytes[n..];
        Ok(n)
    }
}

/// The stream's own failure is no reject: the caller reads the object again.
#[test]
fn a_failing_stream() {
    let text = lines(5);
    for bytes in [text.clone().into_bytes(), gzip(text.as_bytes()), zstd(text.as_bytes())] {
        for given in [0, 2, 4, bytes.len() / 2, bytes.len()] {
            let mut input =
                Failing { bytes: &bytes[..given], kind: io::ErrorKind::ConnectionReset, failed: 0 };
            let mut seen = Seen::default();
            let error = read_object(
                &mut input,
                ("k", 0),
                Format::Auto,
                Compression::Auto,
                &Wanted::default(),
                &mut seen,
            )
            .expect_err("it fails");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            assert_eq!(error.to_string(), "the line is down");
        }
        let mut input = Failing { bytes: &bytes, kind: io::ErrorKind::Interrupted, failed: 0 };
        let mut seen = Seen::default();
        read_object(
            &mut input,
            ("k", 0),
            Format::Auto,
            Compression::Auto,
            &Wanted::default(),
            &mut seen,
        )
        .expect("an interruption is none");
        assert_eq!((seen.records.len(), seen.rejects.len()), (5, 0));
    }
}
