//! Large plain NDJSON read in pieces: lines across every cut, a line longer than a piece, record numbers and
//! byte offsets as in the whole file.

use crate::world::{Object, PLAIN_PIPELINE, SOME_TIME, World, attempt, detail_files, result};

/// Pieces are 16 MiB.
const PIECE: usize = 16 << 20;

#[test]
fn a_large_ndjson_is_the_same_in_pieces() {
    let mut text = String::new();
    let mut bad = Vec::new();
    let mut lines = 0i64;
    let time = 1_730_444_265_275;
    while text.len() < 3 * PIECE + PIECE / 2 {
        let line = match lines % 97 {
            // A cut line: its reject's byte offset is the end of the line.
            13 => {
                let cut = r#"{"Response":{"Text":{"LivenessDetail":[{"Seq":"never"#;
                bad.push((lines, (text.len() + cut.len()) as i64));
                cut.to_owned()
            }
            // A line of more than a whole piece, so that one piece begins and ends inside it.
            31 if lines == 31 => {
                let mut long = result(vec![attempt("long", time, Some(true))]);
                long["Response"]["BestFrame"]["BestFrame"] = "x".repeat(PIECE + PIECE / 3).into();
                long.to_string()
            }
            n => {
                let mut one =
                    result(vec![attempt(&format!("s-{lines}"), time + lines, Some(true))]);
                one["Response"]["BestFrame"]["BestFrame"] =
                    "y".repeat(3000 + 977 * n as usize).into();
                one.to_string()
            }
        };
        text.push_str(&line);
        // A piece that begins right behind a line break, and blank lines, now and then.
        text.push_str(if lines % 5 == 0 { "\n\r\n" } else { "\n" });
        lines += 1;
    }
    let good = lines - bad.len() as i64;
    let mut files = Vec::new();
    for threads in ["1", "2", "8"] {
        let world = World::new(PLAIN_PIPELINE);
        world.put(&Object::new("a.ndjson", text.clone(), SOME_TIME));
        let ran = world.run(&["--set", &format!("limits.threads={threads}")]);
        assert_eq!(ran.tally("records_seen"), lines as u64);
        assert_eq!(ran.tally("details_new"), good as u64);
        let mut numbers: Vec<(i64, String)> = world
            .table("liveness_detail")
            .rows()
            .iter()
            .map(|r| (r["source_record"].as_i64().unwrap(), r["seq"].as_str().unwrap().to_owned()))
            .collect();
        numbers.sort();
        for (record, seq) in &numbers {
            assert_eq!(*seq, if *record == 31 { "long".to_owned() } else { format!("s-{record}") });
        }
        let mut rejects: Vec<(i64, i64)> = world
            .table("rejects")
            .rows()
            .iter()
            .map(|r| {
                assert_eq!(r["reason"], "truncated");
                (r["source_record"].as_i64().unwrap(), r["byte_offset"].as_i64().unwrap())
            })
            .collect();
        rejects.sort();
        assert_eq!(rejects, bad);
        world.verify();
        files.push(detail_files(&world));
    }
    assert!(files.windows(2).all(|w| w[0] == w[1]), "the same bytes on 1, 2 and 8 threads");
}
