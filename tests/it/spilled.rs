//! More rows than may be held: they go to disk on the way, and the tables are those of a run that holds them.

use crate::world::{Object, PLAIN_PIPELINE, Ran, SOME_TIME, World, detail_files};

const DAY_MS: i64 = 86_400_000;
const TIME: i64 = 1_730_390_400_000;

/// Results of one attempt each, over two days, in an order of neither time nor Seq.
fn lines(from: u64, to: u64, charge: &str) -> String {
    let mut text = String::new();
    for i in from..to {
        // Odd, so that it is a permutation.
        let n = i.wrapping_mul(0x9E37_79B9) % (1 << 32);
        let time = TIME + (n % 2) as i64 * DAY_MS + (n / 2 % 80_000_000) as i64;
        text += &format!(
            "{{\"LivenessDetail\":[{{\"ReqTime\":\"{time}\",\"Seq\":\"{n:08x}-0000-4000-8000-000000000000\",\"IsNeedCharge\":{charge},\"Errcode\":{}}}]}}\n",
            n % 7
        );
    }
    text
}

/// An eighth of it is held: 4 MiB, some 45,000 of these rows. The rest goes to a folder of its own.
fn run_with_little(world: &World, more: &[&str]) -> Ran {
    let folder = world.path("temporary");
    std::fs::create_dir_all(&folder).expect("a folder");
    let set = ["run", "pipeline.toml", "--json", "--set", "limits.memory_max=32MiB"];
    let folder_name = folder.to_str().expect("a name in UTF-8");
    let ran = world.faceledger_with(&[&set, more].concat(), &[("TMPDIR", folder_name)]).exits(0);
    assert_eq!(std::fs::read_dir(&folder).expect("the folder").count(), 0, "nothing stays there");
    ran
}

#[test]
fn the_tables_are_the_same() {
    let (held, spilled) = (World::new(PLAIN_PIPELINE), World::new(PLAIN_PIPELINE));
    let put = |name: &str, text: &str| {
        for world in [&held, &spilled] {
            world.put(&Object::new(name, text.to_owned(), SOME_TIME));
        }
    };
    let same = |new: u64, duplicate: u64, changed: u64| {
        let runs = [held.run(&[]), run_with_little(&spilled, &[])];
        for ran in runs {
            assert_eq!(ran.tally("details_new"), new);
            assert_eq!(ran.tally("details_duplicate"), duplicate);
            assert_eq!(ran.tally("details_changed"), changed);
        }
        assert_eq!(detail_files(&held), detail_files(&spilled));
        spilled.verify();
    };
    // In one object the same attempt twice: 1,000 of them.
    put("a.ndjson", &(lines(0, 150_000, "true") + &lines(5_000, 6_000, "true")));
    same(150_000, 1_000, 0);
    // Stored days are met, and rows of them change: these keys are greater, so what they say counts.
    put("b.ndjson", &(lines(149_000, 230_000, "false") + &lines(0, 500, "true")));
    same(80_000, 500, 1_000);
    let refreshed = run_with_little(&spilled, &["--full-refresh"]);
    assert_eq!(refreshed.tally("details_new"), 230_000);
    assert_eq!(detail_files(&held), detail_files(&spilled));
}

/// Ten times the rows, and hardly more memory: held, they would take 126 MB more (90 bytes each, and 50 to merge
/// them). When the allocator gives pages back is a matter of time: 30 to 62 MB were seen.
#[test]
#[cfg(target_os = "linux")]
fn memory_does_not_grow_with_the_rows() {
    let peak = |rows: u64| {
        let world = World::new(PLAIN_PIPELINE);
        for (n, from) in (0..rows).step_by(50_000).enumerate() {
            let text = lines(from, from + 50_000, "true");
            world.put(&Object::new(&format!("{n:03}.ndjson"), text, SOME_TIME));
        }
        let ran = run_with_little(&world, &["--full-refresh"]);
        assert_eq!(ran.tally("details_new"), rows);
        ran.json()["peak_memory_bytes"].as_i64().expect("Linux tells it")
    };
    let (few, many) = (peak(100_000), peak(1_000_000));
    assert!(many - few < 90_000_000, "{few} {many}");
}
