//! One bad record between two good ones, in every framing: its reason, its exact place, and the rows of
//! its neighbours.

use super::*;
use RejectReason as R;

/// A record as lines: `¶3` is a line break and an indentation of three steps, or nothing.
const TEMPLATE: &str = concat!(
    "{¶1\"Response\": {¶2\"Text\": {¶3\"ErrCode\": 0,¶3\"LivenessDetail\": [¶4{¶5\"ReqTime\": \"1730444265275\",",
    "¶5\"Seq\": \"SEQ\",¶5\"IsNeedCharge\": true,¶5\"Errcode\": 0,¶5\"Errmsg\": \"ok\",¶5\"Sim\": \"95.51\"¶4}¶3]¶2},",
    "¶2\"RequestId\": \"r\"¶1}¶0}"
);

/// The template as text; `indent` is that of the record's own line, `None` keeps all on one line.
fn render(template: &[u8], indent: Option<usize>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = template;
    while let Some(at) = memchr::memmem::find(rest, "¶".as_bytes()) {
        out.extend_from_slice(&rest[..at]);
        let steps = usize::from(rest[at + 2] - b'0');
        if let Some(indent) = indent {
            out.push(b'\n');
            out.resize(out.len() + indent + 2 * steps, b' ');
        }
        rest = &rest[at + 3..];
    }
    out.extend_from_slice(rest);
    out
}

struct Bad {
    name: &'static str,
    /// The record, as a template.
    template: Vec<u8>,
    /// Where in the template the fault is.
    at: usize,
    reason: R,
    path: String,
    /// Rows of the bad record itself: attempts beside a rejected one are kept.
    of_attempt: bool,
}

/// The template with `find` replaced; the fault is `delta` bytes into the replacement.
fn swap(
    name: &'static str,
    find: &str,
    with: impl AsRef<[u8]>,
    delta: usize,
    reason: R,
    path: &str,
) -> Bad {
    let template = TEMPLATE.replace("SEQ", "bad");
    assert_eq!(template.matches(find).count(), 1, "{name}: {find}");
    let at = template.find(find).expect("the place");
    let mut mutated = template.as_bytes()[..at].to_vec();
    mutated.extend_from_slice(with.as_ref());
    mutated.extend_from_slice(&template.as_bytes()[at + find.len()..]);
    Bad {
        name,
        template: mutated,
        at: at + delta,
        reason,
        path: path.to_owned(),
        of_attempt: false,
    }
}

/// The same for a fault of one attempt.
fn attempt(name: &'static str, find: &str, with: &str, delta: usize, reason: R, path: &str) -> Bad {
    Bad { of_attempt: true, ..swap(name, find, with, delta, reason, path) }
}

/// Another record altogether.
fn other(name: &'static str, text: &str, at: usize, reason: R, path: &str) -> Bad {
    Bad {
        name,
        template: text.as_bytes().to_vec(),
        at,
        reason,
        path: path.to_owned(),
        of_attempt: false,
    }
}

const DETAIL: &str = "$.Response.Text.LivenessDetail[0]";

fn detail(member: &str) -> String {
    format!("{DETAIL}.{member}")
}

const MSG: &str = "\"Errmsg\": \"ok\"";
const SIM: &str = "\"Sim\": \"95.51\"";
const CODE: &str = "\"Errcode\": 0";
const TIME: &str = "\"ReqTime\": \"1730444265275\"";
const SEQ: &str = "\"Seq\": \"bad\"";
const FLAG: &str = "\"IsNeedCharge\": true";
const ERR: &str = "\"ErrCode\": 0,";

/// Bad in a string: `with` follows `"Errmsg": "o`, and the fault is `delta` bytes into it.
fn in_string(name: &'static str, with: impl AsRef<[u8]>, delta: usize, reason: R) -> Bad {
    let text = [b"\"Errmsg\": \"o", with.as_ref(), b"k\""].concat();
    swap(name, MSG, text, 12 + delta, reason, &detail("Errmsg"))
}

/// A value instead of Errcode's 0; the grammar breaks `delta` bytes into it.
fn value(name: &'static str, with: &str, delta: usize, reason: R) -> Bad {
    swap(name, CODE, format!("\"Errcode\": {with}"), 11 + delta, reason, &detail("Errcode"))
}

fn grammar() -> Vec<Bad> {
    let bombs = |open: &str, close: &str| {
        let close = close.repeat(if close.is_empty() { 0 } else { 200 });
        format!("\"ErrCode\": 0,\"x\": {}1{close},", open.repeat(200))
    };
    // The object, Response and Text are three levels, so the 126th bracket is one too many.
    let arrays = format!("$.Response.Text.x{}", "[0]".repeat(125));
    let objects = format!("$.Response.Text.x{}", ".a".repeat(125));
    vec![
        in_string("a byte that is no UTF-8", b"\xFF", 0, R::InvalidUtf8),
        in_string("GB18030", b"\xC4\xE3\xBA\xC3", 0, R::InvalidUtf8),
        in_string("an overlong slash", b"\xC0\xAF", 0, R::InvalidUtf8),
        in_string("a surrogate in UTF-8", b"x\xED\xA0\x80", 1, R::InvalidUtf8),
        in_string("half a character", b"\xE4\xBD", 0, R::InvalidUtf8),
        in_string("a lone high surrogate", r"\ud83d", 0, R::UnpairedSurrogate),
        in_string("a lone low surrogate", r"ab\uDE00", 2, R::UnpairedSurrogate),
        in_string("surrogates the wrong way round", r"\ude00\ud83d", 0, R::UnpairedSurrogate),
        in_string("two high surrogates", r"\ud83d\ud83d", 0, R::UnpairedSurrogate),
        in_string("a high surrogate and a line feed", r"\ud83d\n", 0, R::UnpairedSurrogate),
        in_string("an unknown escape", r"\x41", 0, R::BadEscape),
        in_string("an apostrophe escaped", r"\'", 0, R::BadEscape),
        in_string("three hex digits", r"\u12G4", 0, R::BadEscape),
        in_string("a bad second half", r"\ud83d\u12", 6, R::BadEscape),
        in_string("a tab", "\t", 0, R::ControlCharacter),
        in_string("a zero byte", "\0", 0, R::ControlCharacter),
        in_string("a carriage return", "\r", 0, R::ControlCharacter),
        in_string(
            "a late control character",
            "0123456789012345678901234567890123456789\u{1}",
            40,
            R::ControlCharacter,
        ),
        swap(
            "a comma at an object's end",
            SIM,
            format!("{SIM},"),
            SIM.len(),
            R::TrailingComma,
            &detail("Sim"),
        ),
        swap("a comma at an array's end", "}¶3]", "},¶3]", 1, R::TrailingComma, DETAIL),
        swap(
            "a block comment",
            ERR,
            "\"ErrCode\": 0,/* } \" ] it's */",
            13,
            R::Comment,
            "$.Response.Text",
        ),
        swap("a slash", ERR, "\"ErrCode\": 0,/", 13, R::Comment, "$.Response.Text"),
        swap(
            "a comment behind a value",
            SIM,
            format!("{SIM} /* x */"),
            SIM.len() + 1,
            R::Comment,
            &detail("Sim"),
        ),
        value("NaN", "NaN", 0, R::InvalidJson),
        value("-Infinity", "-Infinity", 1, R::InvalidJson),
        value("True", "True", 0, R::InvalidJson),
        value("undefined", "undefined", 0, R::InvalidJson),
        value("nul", "nul", 0, R::InvalidJson),
        value("single quotes", "'0'", 0, R::InvalidJson),
        value("a leading zero", "02016", 0, R::InvalidJson),
        value("a plus", "+1", 0, R::InvalidJson),
        value("a bare point", ".5", 0, R::InvalidJson),
        value("a point and nothing", "1.", 2, R::InvalidJson),
        value("an exponent and nothing", "1e", 2, R::InvalidJson),
        value("hexadecimal", "0x10", 1, R::InvalidJson),
        value("no value", "", 0, R::InvalidJson),
        value("a byte order mark inside", "\u{FEFF}0", 0, R::ByteOrderMark),
        value("a wide digit", "\u{FF11}", 0, R::InvalidJson),
        swap("no quotes around a name", SIM, "Sim: 1", 0, R::InvalidJson, DETAIL),
        swap("no colon", SIM, "\"Sim\" \"1\"", 6, R::InvalidJson, &detail("?")),
        swap("no comma", SIM, "\"Sim\": \"1\" \"x\": 1", 11, R::InvalidJson, &detail("Sim")),
        swap("two commas", SIM, "\"Sim\": \"1\",,\"x\": 1", 11, R::InvalidJson, DETAIL),
        swap("a wrong bracket", "¶4}", "¶4]", 3, R::InvalidJson, &detail("Sim")),
        swap("a name without value", "{¶5", "{\"a\",¶5", 4, R::InvalidJson, &detail("?")),
        swap("arrays 200 deep", ERR, bombs("[", "]"), 18 + 125, R::TooDeep, &arrays),
        swap("objects 200 deep", ERR, bombs("{\"a\":", "}"), 18 + 125 * 5, R::TooDeep, &objects),
        swap("arrays that never close", ERR, bombs("[", ""), 18 + 125, R::TooDeep, &arrays),
        swap(
            "objects that never close",
            ERR,
            bombs("{\"a\":", ""),
            18 + 125 * 5,
            R::TooDeep,
            &objects,
        ),
        other("a byte order mark", &format!("\u{FEFF}{}", result("bad")), 0, R::ByteOrderMark, "$"),
    ]
}

/// Line breaks inside: not for NDJSON, where they end the record.
fn grammar_over_lines() -> Vec<Bad> {
    vec![
        in_string("a line feed", "\n", 0, R::ControlCharacter),
        in_string("a Windows line break", "\r\n", 0, R::ControlCharacter),
        swap(
            "a line comment",
            ERR,
            "\"ErrCode\": 0, // it's }]\" \n",
            14,
            R::Comment,
            "$.Response.Text",
        ),
        swap(
            "a hash comment",
            ERR,
            "\"ErrCode\": 0, # it's }]\" \n",
            14,
            R::Comment,
            "$.Response.Text",
        ),
    ]
}

fn shapes() -> Vec<Bad> {
    let text = "$.Response.Text";
    let dup = "\"ErrCode\": 0,\"ErrCode\": 0,";
    vec![
        swap("a member of Text twice", ERR, dup, 13, R::DuplicateKey, "$.Response.Text.ErrCode"),
        swap(
            "twice, once escaped",
            ERR,
            "\"ErrCode\": 0,\"\\u0045rrCode\": 0,",
            13,
            R::DuplicateKey,
            "$.Response.Text.?",
        ),
        swap(
            "RequestId twice",
            "\"RequestId\": \"r\"",
            "\"RequestId\": \"r\",\"RequestId\": null",
            17,
            R::DuplicateKey,
            "$.Response.RequestId",
        ),
        swap(
            "LivenessDetail twice",
            ERR,
            "\"LivenessDetail\": null,",
            26,
            R::DuplicateKey,
            "$.Response.Text.LivenessDetail",
        ),
        swap("Text twice", "\"RequestId\"", "\"Text\": {},\"RequestId\"", 0, R::DuplicateKey, text),
        swap(
            "a large ErrCode",
            ERR,
            "\"ErrCode\": 9223372036854775808,",
            11,
            R::NumberOutOfRange,
            "$.Response.Text.ErrCode",
        ),
        swap(
            "a fraction of an ErrCode",
            ERR,
            "\"ErrCode\": \"0.5\",",
            11,
            R::CodeInvalid,
            "$.Response.Text.ErrCode",
        ),
        swap("Extra is no string", ERR, "\"Extra\": {},", 9, R::WrongType, "$.Response.Text.Extra"),
        other("another object", "{\"a\": 1}", 0, R::NotAResult, "$"),
        other("an empty object", "{}", 0, R::NotAResult, "$"),
        other("a text", "\"a } text\"", 0, R::NotAResult, "$"),
        other("a number", "-12.5e3", 0, R::NotAResult, "$"),
        other("true", "true", 0, R::NotAResult, "$"),
        other("null", "null", 0, R::NotAResult, "$"),
        other("Response is an array", "{\"Response\": []}", 13, R::WrongType, "$.Response"),
        other("Text is a text", "{\"Response\": {\"Text\": \"\"}}", 22, R::WrongType, text),
        other(
            "LivenessDetail is an object",
            "{\"LivenessDetail\": {}}",
            19,
            R::WrongType,
            "$.LivenessDetail",
        ),
        other(
            "Text is null",
            "{\"Response\": {\"Text\": null,\"RequestId\": \"r\"}}",
            22,
            R::TextMissing,
            text,
        ),
        other(
            "Text is absent",
            "{\"Response\": {\"RequestId\": \"r\"}}",
            13,
            R::TextMissing,
            "$.Response",
        ),
        other("Response is null", "{\"Response\": null}", 13, R::TextMissing, "$.Response"),
        other(
            "no Text, unwrapped",
            "{\"BestFrame\": {\"BestFrame\": \"AA==\"}}",
            0,
            R::TextMissing,
            "$",
        ),
        other(
            "encrypted",
            "{\"Response\": {\"Text\": null,\"EncryptedBody\": \"c2VjcmV0\"}}",
            44,
            R::EncryptedBody,
            "$.Response.EncryptedBody",
        ),
        other(
            "the old API",
            "{\"Response\": {\"DetectInfo\": \"{}\"}}",
            28,
            R::NotAResult,
            "$.Response.DetectInfo",
        ),
        other(
            "IsVerifyIntention is a text",
            "{\"Text\": {},\"IsVerifyIntention\": \"true\"}",
            33,
            R::WrongType,
            "$.IsVerifyIntention",
        ),
    ]
}

fn attempts() -> Vec<Bad> {
    let f = |name, member: &'static str, with: &str, reason| {
        let find = match member {
            "ReqTime" => TIME,
            "Seq" => SEQ,
            "IsNeedCharge" => FLAG,
            "Errcode" => CODE,
            "Errmsg" => MSG,
            _ => SIM,
        };
        attempt(
            name,
            find,
            &format!("\"{member}\": {with}"),
            member.len() + 4,
            reason,
            &detail(member),
        )
    };
    let brace = TEMPLATE.replace("SEQ", "bad").find("{¶5").expect("the attempt");
    let missing = |name, find: &str, reason| Bad {
        at: brace,
        ..attempt(name, find, "\"x\": 1", 0, reason, DETAIL)
    };
    let mut all = vec![
        missing("no Seq", SEQ, R::SeqMissing),
        missing("no ReqTime", TIME, R::ReqTimeMissing),
        Bad { at: brace, ..attempt("Seq is null", SEQ, "\"Seq\": null", 0, R::SeqMissing, DETAIL) },
        Bad {
            at: brace,
            ..attempt("ReqTime is null", TIME, "\"ReqTime\": null", 0, R::ReqTimeMissing, DETAIL)
        },
        f("an empty Seq", "Seq", "\"\"", R::SeqEmpty),
        f("a numeric Seq", "Seq", "17", R::WrongType),
        f("ReqTime of 0", "ReqTime", "0", R::ReqTimeOutOfRange),
        f("ReqTime of \"0\"", "ReqTime", "\"0\"", R::ReqTimeOutOfRange),
        f("ReqTime in seconds", "ReqTime", "\"1730444265\"", R::ReqTimeOutOfRange),
        // 9999-01-01T00:00:00+08:00.
        f("the year 9999", "ReqTime", "\"253370736000000\"", R::ReqTimeOutOfRange),
        f("a negative ReqTime", "ReqTime", "-1730444265275", R::ReqTimeOutOfRange),
        f("a ReqTime beyond 64 bits", "ReqTime", "\"99999999999999999999\"", R::ReqTimeOutOfRange),
        // The last instant of 2014 and the first of 2100, in Beijing.
        f("the end of 2014", "ReqTime", "\"1420041599999\"", R::ReqTimeOutOfRange),
        f("the beginning of 2100", "ReqTime", "4102416000000", R::ReqTimeOutOfRange),
        f("a ReqTime with a fraction", "ReqTime", "1730444265275.5", R::ReqTimeInvalid),
        f("a ReqTime with an exponent", "ReqTime", "1.7e12", R::ReqTimeInvalid),
        f("a written ReqTime", "ReqTime", "\"2024-11-01 15:00:00\"", R::ReqTimeInvalid),
        f("an empty ReqTime", "ReqTime", "\"\"", R::ReqTimeInvalid),
        f("a ReqTime with a blank", "ReqTime", "\" 1730444265275\"", R::ReqTimeInvalid),
        f("ReqTime is true", "ReqTime", "true", R::ReqTimeInvalid),
        f("a flag of text", "IsNeedCharge", "\"true\"", R::ChargeFlagNotBoolean),
        f("a flag of 1", "IsNeedCharge", "1", R::ChargeFlagNotBoolean),
        f("a flag of 0", "IsNeedCharge", "0", R::ChargeFlagNotBoolean),
        f("an empty flag", "IsNeedCharge", "\"\"", R::ChargeFlagNotBoolean),
        f("a flag in an array", "IsNeedCharge", "[true]", R::ChargeFlagNotBoolean),
        f("a code of words", "Errcode", "\"ok\"", R::CodeInvalid),
        f("a code with a fraction", "Errcode", "1.5", R::CodeInvalid),
        f("a code with an exponent", "Errcode", "1e3", R::CodeInvalid),
        f("a code that is true", "Errcode", "true", R::WrongType),
        f("a code over 32 bits", "Errcode", "2147483648", R::NumberOutOfRange),
        f("a code under 32 bits", "Errcode", "\"-2147483649\"", R::NumberOutOfRange),
        f("a code of 1e999", "Errcode", "1e999", R::CodeInvalid),
        f("a message of 5", "Errmsg", "5", R::WrongType),
        f("Sim of words", "Sim", "\"high\"", R::SimInvalid),
        f("Sim of three places", "Sim", "\"95.511\"", R::SimInvalid),
        f("Sim under 0", "Sim", "\"-1\"", R::SimInvalid),
        f("Sim of 1000", "Sim", "\"1000\"", R::SimInvalid),
        f("Sim without a fraction", "Sim", "\"95.\"", R::SimInvalid),
        f("Sim with an exponent", "Sim", "9.5e1", R::SimInvalid),
        f("Sim is true", "Sim", "true", R::WrongType),
        attempt(
            "a mode of 128",
            SIM,
            "\"LivenessMode\": 128",
            16,
            R::NumberOutOfRange,
            &detail("LivenessMode"),
        ),
        attempt(
            "Seq twice",
            SEQ,
            &format!("{SEQ},{SEQ}"),
            SEQ.len() + 1,
            R::DuplicateKey,
            &detail("Seq"),
        ),
        attempt(
            "a flag twice",
            FLAG,
            &format!("{FLAG},\"IsNeedCharge\": false"),
            FLAG.len() + 1,
            R::DuplicateKey,
            &detail("IsNeedCharge"),
        ),
        // The first of two is told.
        attempt(
            "two faults",
            SEQ,
            "\"Seq\": \"\",\"Livestatus\": \"x\"",
            7,
            R::SeqEmpty,
            &detail("Seq"),
        ),
    ];
    for (name, element) in
        [("a number", "7"), ("a text", "\"x\""), ("null", "null"), ("an array", "[{}]")]
    {
        let template = TEMPLATE.replace("SEQ", "bad");
        let (head, tail) = template.split_once("{¶5").expect("the attempt");
        let (_, tail) = tail.split_once("¶4}").expect("its end");
        all.push(Bad {
            name,
            template: format!("{head}{element}{tail}").into_bytes(),
            at: head.len(),
            reason: R::WrongType,
            path: DETAIL.to_owned(),
            of_attempt: true,
        });
    }
    all
}

/// How three records stand in one object: the framing, each record's indentation (`None`: on one line), and what
/// stands before, between and behind them.
const LAYOUTS: [(&str, Framing, Option<usize>, [&str; 3]); 11] = [
    ("lines", Framing::Lines, None, ["", "\n", "\n"]),
    ("lines without the last break", Framing::Lines, None, ["", "\n", ""]),
    ("Windows lines", Framing::Lines, None, ["\r\n", "\r\n", "\r\n"]),
    ("lines read as documents", Framing::Documents, None, ["", "\n", "\n"]),
    ("a compact array", Framing::Documents, None, ["[", ",", "]"]),
    ("an array of lines", Framing::Documents, None, ["[\n", ",\n", "\n]\n"]),
    ("an array of lines, Windows", Framing::Documents, None, ["[\r\n  ", ",\r\n  ", "\r\n]\r\n"]),
    ("an array, commas first", Framing::Documents, None, ["[", "\n,", "\n]"]),
    ("a pretty array", Framing::Documents, Some(2), ["[\n  ", ",\n  ", "\n]\n"]),
    ("pretty documents", Framing::Documents, Some(0), ["", "\n", "\n"]),
    ("documents without a break", Framing::Documents, None, ["", "", ""]),
];

#[track_caller]
fn check(bad: &Bad, over_lines: bool) {
    for (layout, framing, indent, [before, between, behind]) in LAYOUTS {
        if over_lines && framing == Framing::Lines {
            continue;
        }
        let good = |seq: &str| render(TEMPLATE.replace("SEQ", seq).as_bytes(), indent);
        let head = [before.as_bytes(), &good("first"), between.as_bytes()].concat();
        let middle = render(&bad.template, indent);
        let whole =
            [&head[..], &middle, between.as_bytes(), &good("last"), behind.as_bytes()].concat();
        let at = head.len() + render(&bad.template[..bad.at], indent).len();
        let seen = decode_every_way(&whole, framing, &Wanted::default());
        let place = format!("{} in {layout}:\n{}", bad.name, String::from_utf8_lossy(&whole));
        assert_eq!(seen.places(), [(1, at as i64, bad.path.as_str(), bad.reason)], "{place}");
        assert_eq!(seen.rejects[0].of_attempt, bad.of_attempt, "{place}");
        assert_eq!(seen.seqs(), ["first", "last"], "{place}");
        let numbers: Vec<i64> = seen.records.iter().map(|(r, _)| r.number).collect();
        assert_eq!(numbers, [0, 2], "{place}");
        let last = (whole.len() - behind.len() - good("last").len()) as i64;
        assert_eq!(seen.records[1].0.byte_offset, last, "{place}");
    }
}

#[test]
fn breaches_of_the_grammar() {
    grammar().iter().for_each(|bad| check(bad, false));
}

#[test]
fn breaches_of_the_grammar_over_lines() {
    grammar_over_lines().iter().for_each(|bad| check(bad, true));
}

#[test]
fn shapes_that_are_no_result() {
    shapes().iter().for_each(|bad| check(bad, false));
}

#[test]
fn attempts_that_cannot_be_used() {
    attempts().iter().for_each(|bad| check(bad, false));
}

/// The same faults in the first record of an object: nothing is known yet of how its records begin.
#[test]
fn the_first_record_is_bad() {
    for bad in grammar().iter().chain(&grammar_over_lines()) {
        for (layout, framing, indent, [before, between, behind]) in LAYOUTS {
            let unclosed = bad.name.contains("never close") && indent.is_none();
            if framing == Framing::Lines && bad.template.contains(&b'\n')
                || unclosed && framing != Framing::Lines
            {
                continue;
            }
            let good = render(TEMPLATE.replace("SEQ", "last").as_bytes(), indent);
            let middle = render(&bad.template, indent);
            let whole =
                [before.as_bytes(), &middle, between.as_bytes(), &good, behind.as_bytes()].concat();
            let at = before.len() + render(&bad.template[..bad.at], indent).len();
            let seen = decode_every_way(&whole, framing, &Wanted::default());
            let place = format!("{} in {layout}", bad.name);
            assert_eq!(seen.places(), [(0, at as i64, bad.path.as_str(), bad.reason)], "{place}");
            assert_eq!(seen.seqs(), ["last"], "{place}");
        }
    }
}

/// A record cut at any byte, its neighbours whole.
#[test]
fn a_cut_record_between_good_ones() {
    for (layout, framing, indent, [before, between, behind]) in LAYOUTS {
        let good = |seq: &str| render(TEMPLATE.replace("SEQ", seq).as_bytes(), indent);
        let bad = good("bad");
        for cut in 1..bad.len() {
            let head = [before.as_bytes(), &good("first"), between.as_bytes()].concat();
            let whole =
                [&head[..], &bad[..cut], between.as_bytes(), &good("last"), behind.as_bytes()]
                    .concat();
            let seen = decode_every_way(&whole, framing, &Wanted::default());
            let place = format!("cut at {cut} in {layout}:\n{}", String::from_utf8_lossy(&whole));
            assert_eq!(seen.seqs(), ["first", "last"], "{place}\n{:?}", seen.rejects);
            let [reject] = &seen.rejects[..] else { panic!("{place}\n{:?}", seen.rejects) };
            assert_eq!(reject.record, 1, "{place}");
            if framing == Framing::Lines {
                let end = (head.len() + cut) as i64;
                let expected = (end, R::Truncated);
                assert_eq!((reject.byte_offset, reject.reason), expected, "{place}");
            } else {
                let next = (whole.len() - behind.len() - good("last").len()) as i64;
                let early =
                    reject.byte_offset >= (head.len() + cut) as i64 && reject.byte_offset <= next;
                let word = reject.byte_offset < next && reject.reason == R::InvalidJson;
                assert!(early || word, "{place}\n{reject:?}");
                let reasons = [R::Truncated, R::ControlCharacter, R::InvalidJson];
                assert!(reasons.contains(&reject.reason), "{place}\n{reject:?}");
            }
        }
    }
}

#[test]
fn breaches_between_records() {
    let (a, b) = (result("a"), result("b"));
    let check = |text: String, expected: &[(i64, &str, R)]| {
        let seen = decode_every_way(text.as_bytes(), Framing::Documents, &Wanted::default());
        let expected: Vec<_> = expected
            .iter()
            .map(|(record, marker, reason)| {
                let at = text.find(marker).unwrap_or_else(|| panic!("{marker} in {text}"));
                (*record, at as i64, "$", *reason)
            })
            .collect();
        assert_eq!(seen.places(), expected, "{text}");
        assert_eq!(seen.seqs(), ["a", "b"], "{text}");
    };
    check(format!("[{a},{b},\n]"), &[(2, ",\n]", R::TrailingComma)]);
    check(format!("[{a} {b}]"), &[(1, &b, R::InvalidJson)]);
    check(format!("[{a},,{b}]"), &[(1, &format!(",{b}"), R::InvalidJson)]);
    check(format!("[,{a},{b}]"), &[(0, ",", R::InvalidJson)]);
    check(format!("[{a}}},{b}]"), &[(1, &format!("}},{b}"), R::InvalidJson)]);
    check(format!("[{a}, /* x }} */ {b}]"), &[(1, "/*", R::Comment)]);
    check(format!("[{a} // x {{\n, {b}]"), &[(1, "//", R::Comment)]);
    check(format!("[ # [x\n{a}, {b}]"), &[(0, "#", R::Comment)]);
    check(format!("// x {{\n{a}{b}"), &[(0, "//", R::Comment)]);
    check(format!("{a},{b}"), &[(1, &format!(",{b}"), R::InvalidJson)]);
    check(format!("{a}}}]{b}"), &[(1, &format!("}}]{b}"), R::InvalidJson)]);
    check(format!("{a} xyz {b}"), &[(1, "xyz", R::InvalidJson)]);
    check(format!("[{a}, xyz, {b}]"), &[(1, "xyz", R::InvalidJson)]);
    check(format!("[{a} xyz, {b}]"), &[(1, "xyz", R::InvalidJson)]);
    check(
        format!("[{a}, 12, \"}}\", {b}]"),
        &[(1, "12", R::NotAResult), (2, "\"}\"", R::NotAResult)],
    );
    check(format!("[{a}, [{b}], {b}]"), &[(1, &format!("[{b}]"), R::NotAResult)]);
    check(format!("\u{FEFF}[{a},{b}]"), &[(0, "\u{FEFF}", R::ByteOrderMark)]);
    check(format!("[{a}][{b}]"), &[]);
    check(format!("[{a}] [] {b}"), &[]);

    // An array that does not end.
    for text in [format!("[{a},{b}"), format!("[{a},{b},"), format!("[{a},{b} ,\n ")] {
        let seen = decode_every_way(text.as_bytes(), Framing::Documents, &Wanted::default());
        assert_eq!(seen.places(), [(2, text.len() as i64, "$", R::Truncated)], "{text}");
        assert_eq!(seen.seqs(), ["a", "b"]);
    }
    // Its last record cut: one reject, not two.
    let text = format!("[{a},{b},{}", &a[..60]);
    let seen = decode_every_way(text.as_bytes(), Framing::Documents, &Wanted::default());
    assert_eq!(seen.rejects.len(), 1);
    assert_eq!(
        (seen.rejects[0].reason, seen.rejects[0].byte_offset),
        (R::Truncated, text.len() as i64)
    );
}

#[test]
fn two_records_on_one_line() {
    let text = format!("{} {}x{}\n{}\n", result("a"), result("b"), result("lost"), result("c"));
    let seen = decode_every_way(text.as_bytes(), Framing::Lines, &Wanted::default());
    assert_eq!(seen.seqs(), ["a", "b", "lost", "c"]);
    assert_eq!(seen.places(), [(2, text.find("x{").unwrap() as i64, "$", R::InvalidJson)]);
}

/// A record that is cut at any byte and a whole one behind it on its line: known by the beginning that it shares with the
/// cut one, or with the first of the line.
#[test]
fn a_whole_record_behind_a_cut_one_on_its_line() {
    let cut_record = result("cut");
    let named = cut_record.find("\"cut\"").expect("its Seq") + "\"cut\"".len();
    let third_name = cut_record.find("\"LivenessDetail\":").expect("a name");
    for (first, from) in [("", third_name + 17), (&*result("first"), 1)] {
        for cut in from..cut_record.len() {
            let text = format!("{first}{}{}\n{}\n", &cut_record[..cut], result("b"), result("c"));
            let seen = decode_every_way(text.as_bytes(), Framing::Lines, &Wanted::default());
            let mut whole = vec!["b", "c"];
            if !first.is_empty() {
                whole.insert(0, "first");
            }
            assert_eq!(seen.seqs(), whole, "{text}");
            let [reject] = &seen.rejects[..] else { panic!("{text}\n{:?}", seen.rejects) };
            let seqs: &[&str] = if cut >= named { &["cut"] } else { &[] };
            assert_eq!(reject.seqs, seqs, "{text}");
            assert_eq!(reject.record, i64::from(!first.is_empty()), "{text}");
        }
    }
}

/// A line that lost its head, at any byte, is one reject with the Seqs that are left.
#[test]
fn a_line_without_its_head() {
    let record = result("a").replace("[{", "[{\"ReqTime\":\"1730444265275\",\"Seq\":\"b\"},{");
    let (b, a) = (record.find("\"Seq\":\"b\"").unwrap(), record.rfind("\"Seq\"").unwrap());
    assert!(b < a);
    for cut in 1..record.len() - 1 {
        let text = format!("{}\n{}\n", &record[cut..], result("next"));
        let seen = decode_every_way(text.as_bytes(), Framing::Lines, &Wanted::default());
        if ["{\"Text\":", "{\"ErrCode\":"].iter().any(|bare| record[cut..].starts_with(bare)) {
            // What is left begins with a whole result, of a shape without a wrapper.
            assert_eq!(seen.seqs(), ["b", "a", "next"], "{text}");
            assert_eq!(seen.rejects.len(), 1, "{text}");
            continue;
        }
        assert_eq!(seen.seqs(), ["next"], "{text}");
        let [reject] = &seen.rejects[..] else { panic!("{text}\n{:?}", seen.rejects) };
        let seqs: &[&str] = match cut {
            _ if cut <= b => &["b", "a"],
            _ if cut <= a => &["a"],
            _ => &[],
        };
        assert_eq!(reject.seqs, seqs, "{text}");
    }
}

/// In a scalar the bracket of the next record is not its own.
#[test]
fn a_scalar_swallows_nothing() {
    for scalar in ["null", "12", "\"x\"", "false", "0.5"] {
        for (text, framing) in [
            (format!("{scalar}\n{}", result("a")), Framing::Documents),
            (format!("{scalar} {}", result("a")), Framing::Lines),
            (format!("[{scalar},{}]", result("a")), Framing::Documents),
        ] {
            let seen = decode_every_way(text.as_bytes(), framing, &Wanted::default());
            assert_eq!(seen.seqs(), ["a"], "{text}");
            assert_eq!(seen.rejects.len(), 1, "{text}");
        }
    }
}

#[test]
fn the_second_piece_counts_from_its_offset() {
    let wanted = Wanted::default();
    let mut seen = Seen::default();
    let mut decoder = Decoder::new(&wanted, Framing::Lines, 1_000_000);
    let text = format!(
        "{}\n{{\"LivenessDetail\":[{{\"Seq\":\"\"}}]}}\n{{\"a\":tru\n{}",
        result("a"),
        result("b")
    );
    decoder.push(text.as_bytes(), true, &mut seen);
    let at = |marker: &str| 1_000_000 + text.find(marker).expect("a marker") as i64;
    assert_eq!(
        seen.places(),
        [
            (1, at("\"\"}"), "$.LivenessDetail[0].Seq", R::SeqEmpty),
            (2, at("tru\n") + 3, "$.a", R::Truncated),
        ]
    );
    let offsets: Vec<i64> = seen.records.iter().map(|(r, _)| r.byte_offset).collect();
    assert_eq!(offsets, [1_000_000, at(&result("b"))]);
    let numbers: Vec<i64> = seen.records.iter().map(|(r, _)| r.number).collect();
    assert_eq!(numbers, [0, 3]);
}

/// What is set aside tells the Seqs that could be read, those of its own attempts alone.
#[test]
fn rejects_tell_the_seqs_that_could_be_read() {
    let attempt =
        |seq: &str, rest: &str| format!(r#"{{"Seq":{seq},"ReqTime":"1730444265275"{rest}}}"#);
    let text = |attempts: &[&str]| format!(r#"{{"LivenessDetail":[{}]}}"#, attempts.join(","));
    let good = attempt(r#""good""#, "");
    let envelope = crate::model::Envelope {
        response: "/r".into(),
        biz_token: None,
        rule_id: None,
        channel: None,
        fetched_at: None,
        created_at: None,
    };
    let wanted = Wanted::new(Some(envelope), false, false);
    let told = |record: &str, end: &str, expected: &[&[&str]]| {
        let [first, next] = ["first", "next"].map(|seq| text(&[&attempt(&format!("{seq:?}"), "")]));
        let plain = format!("{first}\n{record}{end}\n{next}\n");
        let end = if end.is_empty() { "" } else { "}}" };
        let enveloped = format!("{{\"r\":{first}}}\n{{\"r\":{record}{end}\n{{\"r\":{next}}}\n");
        for (bytes, wanted) in [(plain, &Wanted::default()), (enveloped, &wanted)] {
            for framing in [Framing::Lines, Framing::Documents] {
                let seen = decode_every_way(bytes.as_bytes(), framing, wanted);
                let seqs: Vec<&[String]> = seen.rejects.iter().map(|r| r.seqs.as_slice()).collect();
                assert_eq!(seqs, expected, "{framing:?}: {bytes}");
                assert_eq!(seen.seqs().last(), Some(&"next"), "{framing:?}: {bytes}");
            }
        }
    };
    // Attempts that cannot be used, one reject each.
    let attempts = [
        attempt(r#""a\u00e9""#, r#","IsNeedCharge":1"#),
        good.clone(),
        attempt(r#""b""#, r#","Errcode":"x""#),
        attempt(r#""""#, ""),
        attempt("7", ""),
        attempt(r#""c""#, r#","Seq":"d""#),
        r#"{"Seq":"e"}"#.to_owned(),
        "3".to_owned(),
    ];
    let attempts = attempts.each_ref().map(String::as_str);
    let of_text = text(&attempts);
    told(of_text.strip_suffix('}').unwrap(), "}", &[&["aé"], &["b"], &[], &[], &[], &["e"], &[]]);
    // Records that cannot: for a member of Text, at the end, in an attempt, in its Seq. Those behind the fault are told too.
    let of_text = text(&[&good, attempts[0]]);
    let code = of_text.replacen('{', r#"{"ErrCode":"x","#, 1);
    told(code.strip_suffix('}').unwrap(), "}", &[&["good", "aé"]]);
    told(&of_text[..of_text.len() - 2], "", &[&["good", "aé"]]);
    let of_text = text(&[&good, &attempt(r#""cut""#, r#","Errcode":0"#)]);
    told(&of_text[..of_text.len() - 4], "", &[&["good", "cut"]]);
    told(&of_text[..of_text.find("cut").unwrap() + 2], "", &[&["good"]]);
    told(&of_text[..of_text.find("cut").unwrap() + 4], "", &[&["good", "cut"]]);
    let of_text = text(&[&good, &attempt(r#""fault""#, ","), &attempt(r#" "a\u00e9" "#, "")]);
    told(of_text.strip_suffix('}').unwrap(), "}", &[&["good", "fault", "aé"]]);
    // A lost quote: what follows the value says that it is none.
    let of_text = text(&[&good, &attempt("\"open", ""), &attempt(r#""c""#, "")]);
    told(of_text.strip_suffix('}').unwrap(), "}", &[&["good", "c"]]);
    // A member of the same name beside the attempts is none of theirs.
    let of_text = text(&[&good, &attempt(r#""d""#, ",")]).replacen('{', r#"{"Seq":"other","#, 1);
    told(of_text.strip_suffix('}').unwrap(), "}", &[&["good", "d"]]);
    // Too long for a Seq.
    let of_text = text(&[&good, &attempt(&format!("\"{}\"", "x".repeat(1000)), ",")]);
    told(of_text.strip_suffix('}').unwrap(), "}", &[&["good"]]);
    // Cut where the next record is taken for a part of it: those of the next are its own.
    told(r#"{"ErrCode":0,"Text":"#, "", &[&[]]);
}
