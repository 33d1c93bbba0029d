//! The program and its storage room on a real S3 server: listings in pages, odd keys, ranges, uploads in
//! parts, what is told of stores that refuse. And the same, in small, on moto: a server of other hands.

use crate::s3::S3Server;
use crate::world::{Object, Ran, SOME_TIME, Table, World, attempt, faceledger_in, result};

use std::collections::BTreeMap;
use std::path::Path;

fn pipeline(source: &str, output: &str) -> String {
    format!(
        r#"
name = "test"
[account]
uin = "100012345678"
opened_at = "2023-05-01T00:00:00+08:00"
[source]
url = "{source}"
[output]
url = "{output}"
[limits]
rejects_ratio_max = 1.0
"#
    )
}

/// Runs the program against the server.
fn on(server: &S3Server, folder: &Path, args: &[&str]) -> Ran {
    with_env(&server.env(), folder, args)
}

fn with_env(env: &[(String, String)], folder: &Path, args: &[&str]) -> Ran {
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (&**name, &**value)).collect();
    faceledger_in(folder, args, &env)
}

/// Sixty attempts of three Beijing days in a few objects of every shape.
fn objects() -> Vec<Object> {
    let day_ms = 86_400_000;
    let row = |n: i64| {
        let flag = [Some(true), Some(false), None][(n % 3) as usize];
        attempt(&format!("seq-{n:04}"), 1_733_011_200_000 + n % 3 * day_ms + n * 1000, flag)
    };
    let mut objects = Vec::new();
    for n in 0..10 {
        let document = serde_json::to_vec(&result(vec![row(2 * n), row(2 * n + 1)])).expect("JSON");
        objects.push(Object::new(&format!("date=2024-12-0{n}/数据 {n}.json"), document, SOME_TIME));
    }
    let lines: Vec<String> = (20..60).map(|n| result(vec![row(n)]).to_string()).collect();
    objects.push(Object::new("lines.ndjson", lines.join("\n"), SOME_TIME + 5000));
    objects
}

const TABLES: [&str; 4] = ["liveness_detail", "daily_charge", "rejects", "inputs"];

/// The data files of an output folder, by table and path.
fn data_files(output: &Path) -> BTreeMap<(String, String), Vec<u8>> {
    let mut files = BTreeMap::new();
    for table in TABLES {
        for (path, bytes) in Table::open(&output.join(table)).contents() {
            files.insert((table.to_owned(), path), bytes);
        }
    }
    files
}

#[test]
fn where_the_data_lies_does_not_show_in_the_tables() {
    let objects = objects();
    let local = World::new(&pipeline("source/", "out/"));
    local.put_all(&objects);
    local.run(&[]);
    let expected = data_files(&local.path("out"));
    let details = expected.keys().filter(|(table, _)| table == "liveness_detail").count();
    assert_eq!(details, 3, "a file a day");
    assert_eq!(local.table("liveness_detail").rows().len(), 60);

    for (source, output) in [("s3", "s3"), ("s3", "local"), ("local", "s3")] {
        let server = S3Server::start();
        let source_url = if source == "s3" { server.url("in/") } else { "source/".to_owned() };
        let output_url = if output == "s3" { server.url("out/") } else { "out/".to_owned() };
        let world = World::new(&pipeline(&source_url, &output_url));
        for object in &objects {
            match source {
                "s3" => server.put_at(
                    &format!("in/{}", object.key),
                    object.bytes.clone(),
                    object.modified,
                ),
                _ => world.put(object),
            }
        }
        let ran = on(&server, &world.path(""), &["run", "pipeline.toml", "--json"]).exits(0);
        assert_eq!(ran.tally("details_new"), 60, "{source} to {output}");
        if output == "s3" {
            server.download("out", &world.path("out"));
        }
        let mut found = data_files(&world.path("out"));
        let mut expected = expected.clone();
        // `inputs` tells each object's ETag, which is the store's own.
        for files in [&mut found, &mut expected] {
            files.retain(|(table, _), _| table != "inputs");
        }
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        assert!(found == expected, "{source} to {output}: the same names hold other bytes");
        on(&server, &world.path(""), &["verify", "pipeline.toml"]).exits(0);
        // Nothing new: nothing is loaded, and no data file is written.
        let again = on(&server, &world.path(""), &["run", "pipeline.toml", "--json"]).exits(0);
        assert_eq!(again.tally("details_new"), 0, "{source} to {output}");
        assert_eq!(again.tally("objects_known"), objects.len() as u64, "{source} to {output}");
    }
}
