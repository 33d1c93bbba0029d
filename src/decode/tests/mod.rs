//! The decode room, held against texts worked out by hand, against serde_json, and against a slow plain
//! recount.

mod bad;
mod chunks;
mod compressed;
mod envelope;
mod framing;
mod grammar;
mod guide;
mod large;
mod privacy;
mod random;
mod recount;
mod robust;
mod shapes;
mod skim;
mod templates;

use super::*;
use std::borrow::Cow;

/// What a sink was given, kept.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    records: Vec<(Record<'static>, Vec<Attempt<'static>>)>,
    rejects: Vec<Reject>,
    /// Of each attempt, its first byte.
    offsets: Vec<i64>,
    tally: Tally,
}

impl Sink for Seen {
    fn record(&mut self, record: &Record<'_>, attempts: &[Attempt<'_>]) {
        self.offsets.extend(attempts.iter().map(|a| a.byte_offset));
        self.records.push((owned_record(record), attempts.iter().map(owned_attempt).collect()));
    }

    fn reject(&mut self, reject: Reject) {
        self.rejects.push(reject);
    }
}

fn own(text: &Option<Cow<'_, str>>) -> Option<Cow<'static, str>> {
    text.as_ref().map(|t| Cow::Owned(t.to_string()))
}

fn owned_record(r: &Record<'_>) -> Record<'static> {
    Record {
        number: r.number,
        byte_offset: r.byte_offset,
        request_id: own(&r.request_id),
        biz_token: own(&r.biz_token),
        rule_id: own(&r.rule_id),
        channel: own(&r.channel),
        extra: own(&r.extra),
        fetched_at: r.fetched_at,
        created_at: r.created_at,
        err_code: r.err_code,
        is_verify_intention: r.is_verify_intention,
        detail_count: r.detail_count,
    }
}

fn owned_attempt(a: &Attempt<'_>) -> Attempt<'static> {
    Attempt {
        index: a.index,
        // Told in `Seen::offsets`, so that expected attempts need not name it.
        byte_offset: 0,
        req_time: a.req_time,
        seq: Cow::Owned(a.seq.to_string()),
        is_need_charge: a.is_need_charge,
        errcode: a.errcode,
        errmsg: own(&a.errmsg),
        livestatus: a.livestatus,
        livemsg: own(&a.livemsg),
        comparestatus: a.comparestatus,
        comparemsg: own(&a.comparemsg),
        compare_lib_type: own(&a.compare_lib_type),
        sim: a.sim,
        liveness_mode: a.liveness_mode,
        idcard: own(&a.idcard),
        name: own(&a.name),
        alike: a.alike,
    }
}

impl Seen {
    fn seqs(&self) -> Vec<&str> {
        self.records.iter().flat_map(|(_, attempts)| attempts.iter().map(|a| &*a.seq)).collect()
    }

    /// (record, offset, path, reason), in the order told.
    fn places(&self) -> Vec<(i64, i64, &str, RejectReason)> {
        self.rejects
            .iter()
            .map(|r| (r.record, r.byte_offset, r.json_path.as_str(), r.reason))
            .collect()
    }

    /// What was seen is what was told, and places are told in order.
    #[track_caller]
    fn conserved(&self, len: i64) {
        let t = &self.tally;
        assert_eq!(
            t.records_seen,
            t.records_with_attempts
                + t.records_empty
                + t.records_error_response
                + t.records_rejected
        );
        let rows: usize = self.records.iter().map(|(_, attempts)| attempts.len()).sum();
        assert_eq!(t.details_seen, rows as u64 + t.details_rejected);
        assert_eq!(self.rejects.len() as u64, t.records_rejected + t.details_rejected);
        let of_attempts = self.rejects.iter().filter(|r| r.of_attempt).count();
        assert_eq!(of_attempts as u64, t.details_rejected);
        let mut numbers: Vec<i64> =
            self.rejects.iter().filter(|r| !r.of_attempt).map(|r| r.record).collect();
        numbers.extend(self.records.iter().map(|(r, _)| r.number));
        numbers.sort_unstable();
        let distinct = numbers.len();
        numbers.dedup();
        assert_eq!(numbers.len(), distinct, "a record number stands for two records");
        assert!(numbers.iter().all(|n| (0..t.records_seen as i64).contains(n)));
        assert!(
            self.rejects.iter().all(|r| (0..=len).contains(&r.byte_offset)),
            "{:?}",
            self.rejects
        );
        let offsets: Vec<i64> = self.records.iter().map(|(r, _)| r.byte_offset).collect();
        assert!(offsets.is_sorted());
    }
}

/// All at once.
#[track_caller]
fn decode_with(bytes: &[u8], framing: Framing, wanted: &Wanted) -> Seen {
    let mut seen = Seen::default();
    let mut decoder = Decoder::new(wanted, framing, 0);
    assert_eq!(decoder.push(bytes, true, &mut seen), bytes.len());
    seen.tally = decoder.finish();
    seen.conserved(bytes.len() as i64);
    seen
}

#[track_caller]
fn decode(bytes: impl AsRef<[u8]>, framing: Framing) -> Seen {
    decode_with(bytes.as_ref(), framing, &Wanted::default())
}

/// In pieces: each push gets what was left over and the next piece of `sizes` (used round and round).
#[track_caller]
fn decode_in_pieces(bytes: &[u8], framing: Framing, wanted: &Wanted, sizes: &[usize]) -> Seen {
    decode_limited(bytes, framing, wanted, sizes, RECORD_BYTES_MAX)
}

#[track_caller]
fn decode_limited(
    bytes: &[u8],
    framing: Framing,
    wanted: &Wanted,
    sizes: &[usize],
    record_bytes_max: usize,
) -> Seen {
    let mut seen = Seen::default();
    let mut decoder = Decoder::new(wanted, framing, 0);
    decoder.record_bytes_max = record_bytes_max;
    let mut buffer: Vec<u8> = Vec::new();
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at(rest.len().min((*size).max(1)));
        rest = after;
        buffer.extend_from_slice(piece);
        let used = decoder.push(&buffer, rest.is_empty(), &mut seen);
        buffer.drain(..used);
        if rest.is_empty() {
            break;
        }
    }
    assert!(buffer.is_empty());
    seen.tally = decoder.finish();
    seen.conserved(bytes.len() as i64);
    seen
}

/// All at once, and the same in pieces of several sizes.
#[track_caller]
fn decode_every_way(bytes: &[u8], framing: Framing, wanted: &Wanted) -> Seen {
    let seen = decode_with(bytes, framing, wanted);
    for sizes in [&[1][..], &[2, 3], &[7], &[64], &[1000, 1]] {
        let pieces = decode_in_pieces(bytes, framing, wanted, sizes);
        assert_eq!(pieces, seen, "pieces of {sizes:?}");
    }
    seen
}

/// A stream that gives at most `step` bytes at a time.
struct Dripping<'b> {
    bytes: &'b [u8],
    step: usize,
}

impl Read for Dripping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.bytes.len().min(self.step).min(buffer.len());
        buffer[..n].copy_from_slice(&self.bytes[..n]);
        self.bytes = &self.bytes[n..];
        Ok(n)
    }
}

#[track_caller]
fn read(bytes: &[u8], key: &str) -> Seen {
    let mut seen = Seen::default();
    let mut input = Dripping { bytes, step: usize::MAX };
    let wanted = Wanted::default();
    let tally =
        read_object(&mut input, (key, 0), Format::Auto, Compression::Auto, &wanted, &mut seen);
    seen.tally = tally.expect("the stream does not fail");
    seen.conserved(i64::MAX);
    seen
}

/// A small generator of random numbers (SplitMix64), so that a failure is known by its seed.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn often(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// A sound result of one attempt.
fn result(seq: &str) -> String {
    format!(
        r#"{{"Response":{{"Text":{{"ErrCode":0,"LivenessDetail":[{{"ReqTime":"1730444265275","Seq":"{seq}","IsNeedCharge":true}}]}},"RequestId":"r"}}}}"#
    )
}
