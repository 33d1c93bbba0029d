//! The pipeline file: what it takes, and how it says what is wrong.

use std::collections::BTreeSet;
use std::path::Path;

use faceledger::model::{CompareSource, Compression, Format, Settlement};
use faceledger::pipeline::{Mistake, Pipeline, Reading, json_schema, load, parse};
use serde_json::Value;

/// A pipeline in which everything is right. Its line numbers are the ones that the cases below count by.
const GOOD: [&str; 13] = [
    r#"name = "t""#,                                    // 1
    r#"[account]"#,                                     // 2
    r#"uin = "100012345678""#,                          // 3
    r#"opened_at = "2023-05-01T00:00:00+08:00""#,       // 4
    r#"[source]"#,                                      // 5
    r#"url = "in/""#,                                   // 6
    r#"keys = "{channel}/dt={date}/{biz_token}.json""#, // 7
    r#"[[route]]"#,                                     // 8
    r#"match = { channel = "wx" }"#,                    // 9
    r#"product = "enhanced""#,                          // 10
    r#"channel = "app_sdk""#,                           // 11
    r#"[output]"#,                                      // 12
    r#"url = "out/""#,                                  // 13
];

/// The good pipeline with lines replaced (by number, from 1); numbers past the end are appended in order.
fn edited(edits: &[(usize, &str)]) -> String {
    let mut lines: Vec<&str> = GOOD.to_vec();
    for (number, line) in edits {
        if *number <= lines.len() {
            lines[number - 1] = line;
        } else {
            assert_eq!(*number, lines.len() + 1, "append lines in order");
            lines.push(line);
        }
    }
    lines.join("\n")
}

fn no_env(_: &str) -> Option<String> {
    None
}

fn parsed(text: &str, sets: &[&str]) -> Result<Pipeline, Vec<Mistake>> {
    let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
    parse("p.toml", text, &sets, &no_env)
}

fn good(text: &str, sets: &[&str]) -> Pipeline {
    parsed(text, sets).unwrap_or_else(|mistakes| panic!("{mistakes:#?}\n{text}"))
}

/// Expects exactly these mistakes, in order: line (0: none), key, a part of the message.
#[track_caller]
fn expect(result: Result<Pipeline, Vec<Mistake>>, expected: &[(usize, &str, &str)]) {
    let mistakes = result.expect_err("nothing was found wrong");
    let found: Vec<(usize, &str)> =
        mistakes.iter().map(|m| (m.line.unwrap_or(0), m.key.as_str())).collect();
    let wanted: Vec<(usize, &str)> = expected.iter().map(|(line, key, _)| (*line, *key)).collect();
    assert_eq!(found, wanted, "{mistakes:#?}");
    for (mistake, (_, _, part)) in mistakes.iter().zip(expected) {
        assert!(mistake.message.contains(part), "{part:?} is not in {mistake}");
    }
}

/// One mistake, in the file, at this line and key.
#[track_caller]
fn wrong(edits: &[(usize, &str)], line: usize, key: &str, part: &str) {
    let result = parsed(&edited(edits), &[]);
    if let Err(mistakes) = &result {
        assert!(mistakes.iter().all(|m| m.file == "p.toml"), "{mistakes:#?}");
    }
    expect(result, &[(line, key, part)]);
}

#[test]
fn defaults() {
    let p = good(&edited(&[]), &[]);
    assert_eq!((p.file.as_str(), p.name.as_str()), ("p.toml", "t"));
    assert_eq!(p.account.uin, "100012345678");
    assert_eq!(p.account.settlement, Settlement::Daily);
    assert_eq!(p.source.url, "in/");
    assert_eq!(p.source.keys.as_deref(), Some("{channel}/dt={date}/{biz_token}.json"));
    assert_eq!(p.source.envelope, None);
    assert_eq!((p.source.format, p.source.compression), (Format::Auto, Compression::Auto));
    assert_eq!(p.source.read, Reading::Auto);
    assert_eq!(p.source.lookback_days, 3);
    assert!(p.source.options.is_empty() && p.output.options.is_empty());
    assert_eq!(p.output.url, "out/");
    assert_eq!((p.privacy.idcard.is_none(), p.privacy.name.is_none()), (true, true));
    assert_eq!(p.limits.rejects_ratio_max, 0.001);
    assert_eq!(p.limits.memory_max, 2 * 1024 * 1024 * 1024);
    assert_eq!(p.limits.threads, 0);
    assert!(p.compare_lib_types.is_empty());
    let [route] = p.routes.as_slice() else { panic!("one route") };
    assert_eq!(
        (route.product, route.channel, route.compare_source),
        ("enhanced", Some("app_sdk"), None)
    );
    let [condition] = route.conditions.as_slice() else { panic!("one condition") };
    assert_eq!(
        (condition.field.as_str(), condition.values.as_slice()),
        ("channel", ["wx".to_owned()].as_slice())
    );
    assert_eq!(p.digest.len(), 64);
}

#[test]
fn everything_said() {
    let text = edited(&[
        (
            7,
            "keys = \"{channel}/dt={date}/**.gz\"\nformat = \"ndjson\"\ncompression = \"gzip\"\nread = \"full\"\nlookback_days = 0\noptions = { aws_region = \"ap-guangzhou\" }\nenvelope = { response = \"\", rule_id = \"/a~1b/~0c\", created_at = \"/t\" }",
        ),
        (
            9,
            "match = { rule_id = [\"5\", \"7\"], extra = \"x\", channel = \"wx\" }\ncompare_source = \"uploaded_photo\"",
        ),
        (14, "[compare_lib_types]"),
        (15, "\"某库\" = \"authority\""),
        (16, "[privacy]"),
        (17, "name = \"hmac\""),
        (18, "key = \"0123456789abcdef\""),
        (19, "[limits]"),
        (20, "rejects_ratio_max = 1.0"),
        (21, "memory_max = \"1.5 GiB\""),
        (22, "threads = 4"),
    ]);
    let p = good(&text, &[]);
    assert_eq!((p.source.format, p.source.compression), (Format::Ndjson, Compression::Gzip));
    assert_eq!(p.source.read, Reading::Full);
    assert_eq!(p.source.lookback_days, 0);
    assert_eq!(p.source.options["aws_region"], "ap-guangzhou");
    let envelope = p.source.envelope.expect("an envelope");
    assert_eq!((envelope.response.as_str(), envelope.rule_id.as_deref()), ("", Some("/a~1b/~0c")));
    assert_eq!((envelope.created_at.as_deref(), envelope.fetched_at), (Some("/t"), None));
    let fields: Vec<&str> = p.routes[0].conditions.iter().map(|c| c.field.as_str()).collect();
    assert_eq!(fields, ["channel", "extra", "rule_id"]);
    assert_eq!(p.routes[0].conditions[2].values, ["5", "7"]);
    assert_eq!(p.routes[0].compare_source, Some(CompareSource::UploadedPhoto));
    assert_eq!(p.compare_lib_types["某库"], CompareSource::Authority);
    assert!(p.privacy.idcard.is_none());
    assert_eq!(p.privacy.name.expect("a key").bytes(), b"0123456789abcdef");
    assert_eq!(p.limits.rejects_ratio_max, 1.0);
    assert_eq!(p.limits.memory_max, 1_610_612_736);
    assert_eq!(p.limits.threads, 4);
}

#[test]
fn an_account_settles_by_the_instant_it_was_opened() {
    for (opened_at, settlement) in [
        ("\"2023-01-04T00:00:00+08:00\"", Settlement::Daily),
        ("\"2023-01-03T23:59:59+08:00\"", Settlement::Monthly),
        ("\"2023-01-03T23:59:59.9999+08:00\"", Settlement::Monthly),
        ("\"2023-01-03T16:00:00Z\"", Settlement::Daily),
        ("\"2023-01-03T15:59:59.999Z\"", Settlement::Monthly),
        ("\"2023-01-03T11:00:00-05:00\"", Settlement::Daily),
        ("2023-01-04T00:00:00+08:00", Settlement::Daily), // a TOML date, without quotes
        ("2020-02-29T00:00:00+08:00", Settlement::Monthly),
    ] {
        let p = good(&edited(&[(4, &format!("opened_at = {opened_at}"))]), &[]);
        assert_eq!(p.account.settlement, settlement, "{opened_at}");
    }
}

#[test]
fn memory_sizes() {
    for (text, bytes) in [
        ("1B", 1),
        ("512MiB", 536_870_912),
        ("512 mib", 536_870_912),
        ("2GiB", 2_147_483_648),
        ("2GB", 2_000_000_000),
        ("0.5kB", 500),
        ("1TiB", 1_099_511_627_776),
        ("3kib", 3072),
        ("16777215TiB", 18_446_742_974_197_923_840), // 2^64 - 2^40
    ] {
        let p = good(&edited(&[(14, "[limits]"), (15, &format!("memory_max = \"{text}\""))]), &[]);
        assert_eq!(p.limits.memory_max, bytes, "{text}");
    }
    for text in [
        "",
        "2",
        "2G",
        "GiB",
        "-1GiB",
        "0GiB",
        "0.3B",
        "1e3MB",
        "1.GiB",
        ".5GiB",
        "1..5GiB",
        "16777216TiB",
        "9999999999999B",
    ] {
        wrong(
            &[(14, "[limits]"), (15, &format!("memory_max = \"{text}\""))],
            15,
            "limits.memory_max",
            "2GiB",
        );
    }
}

#[test]
#[rustfmt::skip] // one case, one line
fn every_kind_of_mistake_has_its_line_and_key() {
    for (edits, line, key, part) in [
        // Keys
        ((1, "nmae = \"t\""), 1, "nmae", "did you mean \"name\"?"),
        ((7, "keys = \"{channel}\"\nkyes = \"x\""), 8, "source.kyes", "did you mean \"keys\"?"),
        ((7, "keys = \"{channel}\"\nthreads = 2"), 8, "source.threads", "it belongs in [limits]"),
        ((7, "keys = \"{channel}\"\nproduct = \"x\""), 8, "source.product", "it belongs in [[reconcile.editions]] or in [[route]]"),
        ((3, "uin = \"1\"\nfoo = 1"), 4, "account.foo", "use one of opened_at, uin"),
        ((11, "channel = \"app_sdk\"\nmatches = {}"), 12, "route[0].matches", "did you mean \"match\"?"),
        ((12, "compare_lib_type = {}\n[output]"), 12, "route[0].compare_lib_type", "unknown key"),
        // Types
        ((3, "uin = 100012345678"), 3, "account.uin", "expected text in quotes, found a whole number"),
        ((1, "name = true"), 1, "name", "found true or false"),
        ((9, "match = { channel = 5 }"), 9, "route[0].match.channel", "expected text in quotes or a list"),
        ((9, "match = { channel = [\"a\",\n5] }"), 10, "route[0].match.channel[1]", "found a whole number"),
        ((9, "match = \"x\""), 9, "route[0].match", "expected a table"),
        ((7, "keys = \"{channel}\"\noptions = { aws_s3_express = true }"), 8, "source.options.aws_s3_express", "in quotes"),
        ((7, "keys = \"{channel}\"\nlookback_days = 1.5"), 8, "source.lookback_days", "expected a whole number"),
        ((7, "keys = \"{channel}\"\nlookback_days = -1"), 8, "source.lookback_days", "from 0 to 65535"),
        ((7, "keys = \"{channel}\"\nlookback_days = 99999999999999999999"), 8, "source.lookback_days", "too large"),
        ((7, "keys = \"{channel}\"\nlookback_days = nan"), 8, "source.lookback_days", "not a number"),
        ((7, "keys = \"{channel}\"\nlookback_days = \"3\""), 8, "source.lookback_days", "found text in quotes"),
        // Words
        ((7, "keys = \"{channel}\"\nformat = \"nd-json\""), 8, "source.format", "did you mean \"ndjson\"?"),
        ((7, "keys = \"{channel}\"\nread = \"part\""), 8, "source.read", "\"auto\" or \"full\""),
        ((7, "keys = \"{channel}\"\ncompression = \"bz\""), 8, "source.compression", "\"auto\" or \"none\" or \"gzip\" or \"zstd\""),
        ((11, "channel = \"app_sdk\"\ncompare_source = \"photo\""), 12, "route[0].compare_source", "\"uploaded_photo\""),
        // Values
        ((1, "name = \"\""), 1, "name", "1 to 100"),
        ((1, "name = \"a b\""), 1, "name", "\"a b\" is no name"),
        ((3, "uin = \"10a\""), 3, "account.uin", "\"10a\" is no UIN"),
        ((3, "uin = \"\""), 3, "account.uin", "digits"),
        ((4, "opened_at = \"2023-05-01\""), 4, "account.opened_at", "+08:00"),
        ((4, "opened_at = 2023-05-01T00:00:00"), 4, "account.opened_at", "offset"),
        ((4, "opened_at = \"2023-02-29T00:00:00+08:00\""), 4, "account.opened_at", "is no time"),
        // Keys patterns
        ((7, "keys = \"{channel}/{date}/{date}\""), 7, "source.keys", "{date}: captured twice"),
        ((7, "keys = \"{channel}/{date\""), 7, "source.keys", "not closed"),
        ((7, "keys = \"{channel}/{a/b}\""), 7, "source.keys", "{a/b}: no name for a capture"),
        ((7, "keys = \"{channel}/date}\""), 7, "source.keys", "without its `{`"),
        ((7, "keys = \"{channel}/{}\""), 7, "source.keys", "no name for a capture"),
        ((7, "keys = \"{channel}/{1st}\""), 7, "source.keys", "{1st}: no name"),
        ((7, "keys = \"{channel}/{biz-token}\""), 7, "source.keys", "{biz-token}: no name"),
        ((7, "keys = \"{channel}/{extra}\""), 7, "source.keys", "Text.Extra"),
        ((7, "keys = \"\""), 7, "source.keys", "leave the key out"),
        ((7, "keys = \"/{channel}\""), 7, "source.keys", "empty segments"),
        ((7, "keys = \"_in/{channel}\""), 7, "source.keys", "never data"),
        // URLs
        ((6, "url = \"\""), 6, "source.url", "empty"),
        ((6, "url = \"cosn://b/x\""), 6, "source.url", "s3://bucket/folder"),
        ((6, "url = \"ftp://b/x\""), 6, "source.url", "use one of file, memory, s3"),
        ((6, "url = \"s3:///x\""), 6, "source.url", "bucket"),
        ((6, "url = \"s3://id:pass@b/x\""), 6, "source.url", "credentials"),
        ((6, "url = \"https://token@h/x\""), 6, "source.url", "credentials"),
        ((6, "url = \"https://h/x?sig=abc\""), 6, "source.url", "tokens into the options"),
        ((13, "url = \"in/\""), 13, "output.url", "inside the source"),
        ((13, "url = \"./in/../in/tables\""), 13, "output.url", "inside the source"),
        ((13, "url = \"in\""), 13, "output.url", "inside the source"),
        // Envelope
        ((7, "keys = \"{channel}\"\nenvelope = { rule_id = \"/r\" }"), 8, "source.envelope.response", "missing"),
        ((7, "keys = \"{channel}\"\n[source.envelope]\nresponse = \"result\""), 9, "source.envelope.response", "start with `/`"),
        ((7, "keys = \"{channel}\"\n[source.envelope]\nresponse = \"\"\nrule_id = \"\""), 10, "source.envelope.rule_id", "JSON pointer"),
        ((7, "keys = \"{channel}\"\n[source.envelope]\nresponse = \"/a~2\""), 9, "source.envelope.response", "~0"),
        ((7, "keys = \"{channel}\"\n[source.envelope]\nrespons = \"/a\"\nresponse = \"/a\""), 9, "source.envelope.respons", "did you mean \"response\"?"),
        // Routes
        ((9, "match = { chanel = \"wx\" }"), 9, "route[0].match.chanel", "did you mean \"channel\"?"),
        ((9, "match = { rule_id = \"5\" }"), 9, "route[0].match.rule_id", "name it in source.envelope"),
        ((9, "match = { app = \"5\" }"), 9, "route[0].match.app", "use one of biz_token, channel, date, extra"),
        ((9, "match = { channel = [] }"), 9, "route[0].match.channel", "empty list"),
        ((9, "# nothing"), 8, "route[0].match", "missing"),
        ((10, "# nothing"), 8, "route[0].product", "missing"),
        ((10, "product = \"enhancd\""), 10, "route[0].product", "did you mean \"enhanced\"?"),
        ((11, "channel = \"app-sdk\""), 11, "route[0].channel", "did you mean \"app_sdk\"?"),
        ((11, "channel = \"pc_h5\""), 11, "route[0].channel", "wechat_mini_program"),
        ((11, "# nothing"), 8, "route[0].channel", "depends on the channel"),
        ((10, "product = \"eid\""), 11, "route[0].channel", "has no channels"),
        ((8, "[route]"), 8, "route", "write [[route]] instead of [route]"),
        ((12, "[[route]]\nmatch = {}\nproduct = \"eid\"\n[[route]]\nmatch = {}\nproduct = \"eid\"\n[output]"), 15, "route[2]", "route[1] matches everything"),
        // Sections
        ((2, "[[account]]"), 2, "account", "write [account] instead of [[account]]"),
        ((3, "# nothing"), 2, "account.uin", "missing"),
    ] {
        wrong(&[edits], line, key, part);
    }
    let limits = |line| [(14, "[limits]"), (15, line)];
    wrong(
        &limits("rejects_ratio_max = 1.5"),
        15,
        "limits.rejects_ratio_max",
        "1.5 is out of range: give a number from 0 to 1",
    );
    wrong(
        &limits("rejects_ratio_max = -0.1"),
        15,
        "limits.rejects_ratio_max",
        "from 0 to 1",
    );
    wrong(
        &limits("threads = 1025"),
        15,
        "limits.threads",
        "from 0 to 1024",
    );
    wrong(
        &limits("memory_max = 1024"),
        15,
        "limits.memory_max",
        "expected text in quotes",
    );
    wrong(
        &[(14, "[compare_lib_types]"), (15, "\"某库\" = \"autority\"")],
        15,
        "compare_lib_types.\"某库\"",
        "\"authority\"",
    );
    let privacy = |line| [(14, "[privacy]"), (15, "idcard = \"hmac\""), (16, line)];
    wrong(
        &privacy("name = \"drop\""),
        14,
        "privacy.key",
        "needs a key",
    );
    wrong(
        &privacy("key = \"fifteen bytes..\""),
        16,
        "privacy.key",
        "shorter than 16 bytes",
    );
    wrong(
        &privacy("key = \"\""),
        16,
        "privacy.key",
        "shorter than 16 bytes",
    );
    good(&edited(&privacy("key = \"sixteen bytes...\"")), &[]);
}

#[test]
fn a_missing_section_stands_nowhere() {
    let text = GOOD[..11].join("\n");
    expect(parsed(&text, &[]), &[(0, "output", "add [output] with url")]);
    expect(
        parsed("", &[]),
        &[
            (0, "name", "missing"),
            (0, "account", "uin and opened_at"),
            (0, "source", "url"),
            (0, "output", "url"),
        ],
    );
}

#[test]
#[rustfmt::skip] // one case, one line
fn what_is_no_toml_is_said_by_line() {
    for (text, line, key, part) in [
        ("name = \"t\n[account]\n", 1, "", "not TOML"),
        ("name = \"t\"\n\n[account\nuin = \"1\"\n", 3, "", "not TOML"),
        ("name = \"t\"\nname = \"u\"\n", 2, "name", "written twice"),
        ("name =\n", 1, "", "not TOML"),
    ] {
        expect(parsed(text, &[]), &[(line, key, part)]);
    }
    // One unclosed bracket does not make a mistake of every later line.
    let unclosed = edited(&[(9, "match = { channel = [\"a\" }")]);
    let mistakes = parsed(&unclosed, &[]).expect_err("not TOML");
    assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
    assert_eq!(mistakes[0].line, Some(9));
}

#[test]
#[rustfmt::skip] // one case, one line
fn ten_mistakes_are_reported_at_once() {
    let text = r#"
name = "two words"
speed = 3
[account]
uin = "UIN"
opened_at = "yesterday"
[source]
url = "in/"
keys = "{channel}/{channel}"
format = "xml"
[[route]]
match = {}
product = "enhanced"
channel = "wechat"
[output]
url = "in/out"
[limits]
threads = "all"
memory_max = "much"
"#;
    expect(
        parsed(text, &[]),
        &[
            (2, "name", "is no name"),
            (3, "speed", "unknown key"),
            (5, "account.uin", "is no UIN"),
            (6, "account.opened_at", "is no time"),
            (9, "source.keys", "captured twice"),
            (10, "source.format", "\"ndjson\""),
            (14, "route[0].channel", "is no channel of this product"),
            (16, "output.url", "inside the source"),
            (18, "limits.threads", "expected a whole number"),
            (19, "limits.memory_max", "is no amount of bytes"),
        ],
    );
}

#[test]
fn a_mistake_reads_as_file_line_key_and_message() {
    let text = edited(&[(10, "product = \"enhancd\"")]);
    let mistakes = parse("pipelines/x.toml", &text, &[], &no_env).expect_err("a mistake");
    let shown = mistakes[0].to_string();
    assert!(
        shown.starts_with("pipelines/x.toml:10: route[0].product: \"enhancd\" is no product"),
        "{shown}"
    );
    let mistakes = parsed(&edited(&[]), &["limts.threads=4"]).expect_err("a mistake");
    assert_eq!(mistakes[0].to_string(), "--set: limts: unknown key: did you mean \"limits\"?");
}

#[test]
#[rustfmt::skip] // one case, one line
fn output_and_source_may_be_neighbours() {
    for (source, output) in [
        ("in/", "in2/"),
        ("in/", "in/_tables"),
        ("in/", "in/a/_tables/x"),
        ("in/", "in/.tables"),
        ("in/a", "in"),
        ("s3://a/x", "s3://b/x"),
        ("s3://a/x", "/x"),
        ("s3://a/x", "s3://a/xy"),
        ("gs://a/x", "s3://a/x"),
        ("http://h:1/x", "http://h:2/x"),
        ("abfss://one@h.dfs.core.windows.net/x", "abfss://two@h.dfs.core.windows.net/x"),
        ("memory:///in", "memory:///out"),
    ] {
        good(
            &edited(&[
                (6, &format!("url = \"{source}\"")),
                (13, &format!("url = \"{output}\"")),
            ]),
            &[],
        );
    }
    let here = std::env::current_dir().expect("a current directory");
    let here = here.to_str().expect("UTF-8");
    for (source, output) in [
        ("s3://a/x", "s3a://a/x/y"),
        ("s3://a", "s3://a/x"),
        ("memory:///in", "memory:///in/"),
        ("in/", "in/a/b_c"),
        ("/", "out"),
        ("in", &format!("{here}/in/out")),
        (&format!("file://{here}/in/"), "in/out"),
    ] {
        wrong(
            &[
                (6, &format!("url = \"{source}\"")),
                (13, &format!("url = \"{output}\"")),
            ],
            13,
            "output.url",
            "inside the source",
        );
    }
    // The same bucket name on two servers is two stores.
    let other = "url = \"s3://a/x\"\noptions = { aws_endpoint = \"http://other\" }";
    good(&edited(&[(6, "url = \"s3://a/x\""), (13, other)]), &[]);
}

#[test]
fn sets_win_over_the_file() {
    let text = edited(&[]);
    let p = good(
        &text,
        &[
            "name=other",
            "account.uin=42",
            "limits.threads=4",
            "limits.rejects_ratio_max=0.5",
            "source.keys={date}/{channel}=x",
            "route.0.product=basic",
            "route.0.channel=\"pc_h5\"",
            "route.0.match={ channel = [\"a\", \"b\"] }",
            "route.1.match={}",
            "route.1.product=eid",
            "compare_lib_types.\"a.b\"=authority",
            "compare_lib_types.某库=uploaded_photo",
            "source.options.aws_allow_http=true",
            "account.opened_at=2022-05-01T00:00:00+08:00",
            "limits.threads=5",
        ],
    );
    assert_eq!((p.name.as_str(), p.account.uin.as_str()), ("other", "42"));
    assert_eq!((p.limits.threads, p.limits.rejects_ratio_max), (5, 0.5));
    assert_eq!(p.source.keys.as_deref(), Some("{date}/{channel}=x"));
    assert_eq!((p.routes[0].product, p.routes[0].channel), ("basic", Some("pc_h5")));
    assert_eq!(p.routes[0].conditions[0].values, ["a", "b"]);
    assert_eq!((p.routes.len(), p.routes[1].product), (2, "eid"));
    assert_eq!(p.compare_lib_types["a.b"], CompareSource::Authority);
    assert_eq!(p.compare_lib_types["某库"], CompareSource::UploadedPhoto);
    assert_eq!(p.source.options["aws_allow_http"], "true");
    assert_eq!(p.account.settlement, Settlement::Monthly);
    // It may put a mistake of the file right, and a route where there was none.
    assert_eq!(good(&edited(&[(1, "name = \"${MISSING}\"")]), &["name=x"]).name, "x");
    let routeless = [&GOOD[..7], &GOOD[11..]].concat().join("\n");
    assert!(good(&routeless, &[]).routes.is_empty());
    assert_eq!(good(&routeless, &["route.0.product=eid", "route.0.match={}"]).routes.len(), 1);
}

#[test]
#[rustfmt::skip] // one case, one line
fn mistakes_in_sets() {
    for (set, key, part) in [
        ("limts.threads=4", "limts", "did you mean \"limits\"?"),
        ("limits.thread=4", "limits.thread", "did you mean \"threads\"?"),
        ("limits.threads=many", "limits.threads", "expected a whole number"),
        ("limits.threads", "", "argument 1 has no `=`"),
        ("=4", "", "path.to.key=value"),
        ("limits..threads=4", "limits..threads", "empty step"),
        ("limits.\"threads=4", "limits.\"threads", "open quote"),
        ("name.first=x", "name.first", "name is a value"),
        ("route.3.product=eid", "route.3.product", "a number from 0 to 1"),
        ("route.first.product=eid", "route.first.product", "a list with 1 entries"),
        ("route.0.product=edi", "route[0].product", "\"edi\" is no product"),
        ("output.url=in/out", "output.url", "inside the source"),
        ("name=${MISSING}", "name", "MISSING is not set"),
    ] {
        let mistakes = parsed(&edited(&[]), &[set]).expect_err(set);
        let [mistake] = mistakes.as_slice() else {
            panic!("{set}: {mistakes:#?}")
        };
        assert_eq!(
            (mistake.file.as_str(), mistake.line, mistake.key.as_str()),
            ("--set", None, key),
            "{set}"
        );
        assert!(mistake.message.contains(part), "{mistake}");
    }
    // Those of the file come first, by line.
    let result = parsed(&edited(&[(3, "uin = \"x\"")]), &["name=a b"]);
    expect(
        result,
        &[(3, "account.uin", "no UIN"), (0, "name", "no name")],
    );
}

#[test]
#[rustfmt::skip] // one case, one line
fn variables() {
    let env = |name: &str| match name {
        "UIN" => Some("7".to_owned()),
        "EMPTY" => Some(String::new()),
        "ODD" => Some("a${UIN}b".to_owned()),
        _ => None,
    };
    for (written, expanded) in [
        ("${UIN}", "7"),
        ("1${UIN}2${UIN}", "1727"),
        ("${NONE:-x}", "x"),
        ("${NONE:-}", ""),
        ("${EMPTY:-x}", "x"),
        ("a${EMPTY}", "a"),
        ("${UIN:-x}", "7"),
        ("$${UIN}", "${UIN}"),
        ("$$${UIN}", "$${UIN}"),
        ("$${", "${"),
        ("$5 {x} $UIN $", "$5 {x} $UIN $"),
        ("${NONE:-a:-b c}", "a:-b c"),
        ("${ODD}", "a${UIN}b"), // what a variable holds is not expanded again
    ] {
        let text = edited(&[(9, &format!("match = {{ extra = [\"{written}\"] }}"))]);
        let p = parse("p.toml", &text, &[], &env).unwrap_or_else(|m| panic!("{written}: {m:#?}"));
        assert_eq!(p.routes[0].conditions[0].values, [expanded], "{written}");
    }
    for (written, part) in [
        ("${NONE}", "the environment variable NONE is not set"),
        ("${UIN", "not closed"),
        ("${}", "a variable's name"),
        ("${1A}", "a variable's name"),
        ("${A-B}", "a variable's name"),
        ("${NONE:-${UIN}}", "another ${…}"),
    ] {
        let text = edited(&[(3, &format!("uin = \"{written}\""))]);
        expect(
            parse("p.toml", &text, &[], &env),
            &[(3, "account.uin", part)],
        );
    }
    // Each missing one is named.
    let text = edited(&[(3, "uin = \"${A}${B}\""), (13, "url = \"${C}\"")]);
    expect(
        parse("p.toml", &text, &[], &env),
        &[
            (3, "account.uin", "A is not set"),
            (3, "account.uin", "B is not set"),
            (13, "output.url", "C is not set"),
        ],
    );
    // A missing word is not a wrong word too.
    let text = edited(&[
        (10, "product = \"${A}\""),
        (7, "keys = \"{channel}\"\nformat = \"${A}\""),
    ]);
    expect(
        parse("p.toml", &text, &[], &env),
        &[
            (8, "source.format", "A is"),
            (11, "route[0].product", "A is"),
        ],
    );
}

/// Stands for every secret, and for the value of every variable, in the next test.
const SECRET: &str = "swordfish-0123456789";

#[test]
#[rustfmt::skip] // one case, one line
fn secrets_are_never_shown() {
    let env = |name: &str| (name == "SECRET").then(|| SECRET.to_owned());
    let shows = |result: &Result<Pipeline, Vec<Mistake>>| match result {
        Ok(pipeline) => format!("{pipeline:?} {pipeline:#?} {}", pipeline.digest),
        Err(mistakes) => {
            let lines: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
            format!("{mistakes:?} {}", lines.join("\n"))
        }
    };
    // A good file, the secrets in plain sight and from a variable.
    for secret in [SECRET, "${SECRET}"] {
        let text = edited(&[
            (
                7,
                &format!(
                    "options = {{ aws_secret_access_key = \"{secret}\" }}\nkeys = \"{{channel}}\""
                ),
            ),
            (
                13,
                &format!("url = \"out/\"\noptions = {{ aws_secret_access_key = \"{secret}\" }}"),
            ),
            (14, "[privacy]"),
            (15, "idcard = \"hmac\""),
            (16, &format!("key = \"{secret}\"")),
        ]);
        let result = parse("p.toml", &text, &[], &env);
        let pipeline = result.as_ref().expect("no mistake");
        assert_eq!(
            pipeline.privacy.idcard.as_ref().expect("a key").bytes(),
            SECRET.as_bytes()
        );
        assert_eq!(pipeline.source.options["aws_secret_access_key"], SECRET);
        let shown = shows(&result);
        assert!(!shown.contains("swordfish"), "{shown}");
        assert!(
            shown.contains("aws_secret_access_key") && shown.contains("***"),
            "{shown}"
        );
    }
    // The value of a variable at every place that may be wrong, and secrets at wrong places.
    for edits in [
        vec![(1, "name = \"${SECRET} x\"")],
        vec![(3, "uin = \"${SECRET}\"")],
        vec![(4, "opened_at = \"${SECRET}\"")],
        vec![(6, "url = \"${SECRET}://x\"")],
        vec![(6, "url = \"s3://u:${SECRET}@x\"")],
        vec![(6, "url = \"s3://u:swordfish@x\"")],
        vec![(6, "url = \"https://x/?sig=swordfish\"")],
        vec![(7, "keys = \"{${SECRET}}\"")],
        vec![
            (7, "keys = \"{swordfis${NO:-h}}\""),
            (9, "match = { swordfisk = \"x\" }"),
        ],
        vec![(7, "keys = \"{channel}\"\nformat = \"${SECRET}\"")],
        vec![(7, "keys = \"{channel}\"\nlookback_days = \"${SECRET}\"")],
        vec![(7, "keys = \"{channel}\"\noptions = \"swordfish\"")],
        vec![(7, "keys = \"{channel}\"\noptions = [\"swordfish\"]")],
        vec![(7, "keys = \"{channel}\"\noptions = { a = [\"swordfish\"] }")],
        vec![(
            7,
            "keys = \"{channel}\"\noptions = { a = \"swordfish${NONE}\" }",
        )],
        vec![(7, "keys = \"{channel}\"\noption = { a = \"swordfish\" }")],
        vec![(
            7,
            "keys = \"{channel}\"\nenvelope = { response = \"${SECRET}\" }",
        )],
        vec![(
            9,
            "match = { channel = \"${SECRET}\", other = \"${SECRET}\" }",
        )],
        vec![(10, "product = \"${SECRET}\"")],
        vec![(11, "channel = \"${SECRET}\"")],
        vec![(11, "channel = \"app_sdk\"\ncompare_source = \"${SECRET}\"")],
        vec![(14, "[privacy]"), (15, "idcard = \"swordfish\"")],
        vec![(14, "[privacy]"), (15, "kye = \"swordfish\"")],
        vec![
            (14, "[privacy]"),
            (15, "idcard = \"hmac\""),
            (16, "key = \"swordfish\""),
        ],
        vec![(14, "[privacy]"), (15, "key = \"swordfish${NONE}\"")],
        vec![(14, "[privacy]"), (15, "key = \"swordfish${\"")],
        vec![(14, "[privacy]"), (15, "key = [\"swordfish\"]")],
        vec![(14, "[privacy]"), (15, "key = \"swordfish")],
        vec![(14, "[privacy]"), (15, "key = swordfish")],
        vec![(14, "[limits]"), (15, "memory_max = \"${SECRET}\"")],
    ] {
        let result = parse("p.toml", &edited(&edits), &[], &env);
        assert!(result.is_err(), "{edits:?}");
        let shown = shows(&result);
        assert!(!shown.contains("swordfish"), "{edits:?}: {shown}");
    }
    for set in [
        "privacy.key",
        "swordfish",
        "privacy.idcard=swordfish",
        "source.options=swordfish",
        "privacy.kye=swordfish",
    ] {
        let result = parse("p.toml", &edited(&[]), &[set.to_owned()], &env);
        assert!(result.is_err(), "{set}");
        let shown = shows(&result);
        assert!(!shown.contains("swordfish"), "{set}: {shown}");
    }
    // What stands in the file instead is shown as it stands there.
    let result = parse("p.toml", &edited(&[(3, "uin = \"${SECRET}\"")]), &[], &env);
    assert!(shows(&result).contains("${SECRET}"));
}

#[test]
fn the_digest_is_of_what_the_file_says() {
    let base = good(&edited(&[]), &[]).digest;
    let reordered = [
        &GOOD[..1],
        &GOOD[11..],
        &["[source]", GOOD[6], GOOD[5]],
        &GOOD[7..11],
        &["[account]", GOOD[3], GOOD[2]],
    ];
    assert_eq!(good(&reordered.concat().join("\n"), &[]).digest, base);
    // Defaults written out, another spelling, other secrets, another file name: the same.
    assert_eq!(
        good(&edited(&[(14, "[limits]"), (15, "memory_max = \"2048MiB\"")]), &["limits.threads=0"])
            .digest,
        base
    );
    assert_eq!(good(&edited(&[(9, "match = { channel = [\"wx\"] }")]), &[]).digest, base);
    assert_eq!(parse("q.toml", &edited(&[]), &[], &no_env).expect("good").digest, base);
    let with_key = |key: &str| {
        good(&edited(&[]), &["privacy.name=hmac", &format!("privacy.key={key}")]).digest
    };
    assert_eq!(with_key("0123456789abcdef"), with_key("fedcba9876543210"));
    let env = |_: &str| Some("wx".to_owned());
    let expanded = parse("p.toml", &edited(&[(9, "match = { channel = \"${X}\" }")]), &[], &env);
    assert_eq!(expanded.expect("good").digest, base);
    // Whatever changes the run changes the digest.
    let mut seen = BTreeSet::from([base, with_key("0123456789abcdef")]);
    for set in [
        "name=u",
        "account.uin=1",
        "account.opened_at=2020-01-01T00:00:00Z",
        "source.url=in2/",
        "source.keys={channel}",
        "source.format=json",
        "source.compression=none",
        "source.read=full",
        "source.lookback_days=4",
        "source.envelope={response=\"/r\"}",
        "source.options={a=\"1\"}",
        "route.0.product=basic",
        "route.0.channel=overlay_h5_mobile",
        "route.0.match={}",
        "route.0.match.channel=x",
        "route.0.compare_source=authority",
        "compare_lib_types.x=authority",
        "output.url=out2/",
        "output.options={a=\"1\"}",
        "limits.rejects_ratio_max=0.5",
        "limits.memory_max=1GiB",
        "limits.threads=1",
    ] {
        assert!(seen.insert(good(&edited(&[]), &[set]).digest), "{set}");
    }
}

#[test]
fn files_are_read_and_unreadable_ones_are_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("p.toml");
    let path = path.to_str().expect("UTF-8");
    expect(load(path, &[], &no_env), &[(0, "", "cannot be read (entity not found)")]);
    std::fs::write(path, edited(&[])).expect("written");
    assert_eq!(load(path, &[], &no_env).expect("good").file, path);
    std::fs::write(path, edited(&[]).replace('\n', "\r\n")).expect("written");
    assert_eq!(load(path, &[], &no_env).expect("good").name, "t");
    std::fs::write(path, edited(&[(3, "uin = \"x\"")]).replace('\n', "\r\n")).expect("written");
    expect(load(path, &[], &no_env), &[(3, "account.uin", "no UIN")]);
    std::fs::write(path, b"name = \"t\"\n\xff").expect("written");
    expect(load(path, &[], &no_env), &[(2, "", "UTF-8")]);
}

/// Every property of a schema: its place as written in a file (first entry of a list), its schema, whether it
/// must be there.
fn properties(schema: &Value, at: &str, found: &mut Vec<(String, Value, bool)>) {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let place = format!("{at}/{name}");
        found.push((place.clone(), property.clone(), required.contains(&name.as_str())));
        properties(property, &place, found);
        properties(&property["items"], &format!("{place}/0"), found);
    }
}

#[test]
fn the_schema_says_of_every_key_what_it_is() {
    let mut found = Vec::new();
    properties(&json_schema(), "", &mut found);
    assert_eq!(found.len(), 70);
    for (place, property, required) in found {
        let description = property["description"].as_str().unwrap_or_default();
        assert!(
            description.len() > 5 && !description.contains('\n'),
            "{place} is not described: {description:?}"
        );
        let default_said = property.get("default").is_some() || description.contains("Default: ");
        // A table in which something is required has no default either.
        assert!(required != default_said, "{place}: required {required}, default {default_said}");
    }
}

#[test]
fn the_schema_in_the_folder_is_the_one_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/pipeline.schema.json");
    let generated = serde_json::to_string_pretty(&json_schema()).expect("JSON") + "\n";
    if std::env::var_os("GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, &generated).expect("written");
    }
    let kept =
        std::fs::read_to_string(&path).expect("schemas/pipeline.schema.json; GOLDEN=1 writes it");
    assert!(
        kept == generated,
        "schemas/pipeline.schema.json is not what the types say: run with GOLDEN=1"
    );
}

#[test]
fn the_reference_file_holds_every_key_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/reference.toml");
    let text = std::fs::read_to_string(&path).expect("pipelines/reference.toml");
    let pipeline = parse("pipelines/reference.toml", &text, &[], &no_env).expect("no mistake");
    assert_eq!(pipeline.limits.memory_max, 2_147_483_648);
    let reference: Value = toml::from_str(&text).expect("TOML");
    let mut found = Vec::new();
    properties(&json_schema(), "", &mut found);
    for (place, property, _) in found {
        let there = reference.pointer(&place);
        assert!(there.is_some(), "{place} is not in pipelines/reference.toml");
        let default =
            property.get("default").filter(|default| !default.is_object() && !default.is_array());
        if let Some(default) = default {
            assert_eq!(there, Some(default), "{place}");
        }
    }
}

#[test]
fn all_pipelines_in_the_folder_are_good() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("pipelines/") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let path = path.to_str().expect("UTF-8");
            // What variables hold is the business of the place where a pipeline runs: any value will do.
            let env = |name: &str| {
                Some(if name.ends_with("UIN") {
                    "1".to_owned()
                } else {
                    format!("0123456789-{name}")
                })
            };
            load(path, &[], &env).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
            count += 1;
        }
    }
    assert!(count >= 1);
}
