//! README's examples: its Python runs as printed there and gives what is printed there, and its pipeline
//! is one.

use crate::interop::python;
use std::path::Path;
use std::process::Command;

/// The fenced blocks of README.md: (language, text).
fn blocks() -> Vec<(String, String)> {
    let readme = include_str!("../../README.md");
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in readme.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

fn faceledger() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faceledger"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn trimmed(text: &str) -> Vec<String> {
    text.trim_end().lines().map(|l| l.trim_end().to_owned()).collect()
}

#[test]
fn the_examples_give_what_readme_prints() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let run = faceledger()
        .args(["run", "pipelines/sample.toml", "--set"])
        .arg(format!("output.url={}", out.display()))
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));

    let blocks = blocks();
    let printed = String::from_utf8(run.stdout).unwrap();
    let shown = blocks.iter().find(|(l, _)| l == "text").unwrap().1.clone();
    for line in trimmed(&shown).iter().filter(|l| l.trim() != "…") {
        assert!(
            trimmed(&printed).contains(line),
            "README shows a line that run does not print: {line}"
        );
    }

    let mut examples = 0;
    for pair in blocks.windows(2) {
        let [(language, code), (_, expected)] = pair else { continue };
        if language != "python" {
            continue;
        }
        let ran = Command::new(python())
            .args(["-c", code])
            .current_dir(folder.path())
            .env("PYTHONIOENCODING", "utf-8")
            .output()
            .unwrap();
        assert!(ran.status.success(), "{code}\n{}", String::from_utf8_lossy(&ran.stderr));
        assert_eq!(trimmed(&String::from_utf8(ran.stdout).unwrap()), trimmed(expected), "{code}");
        examples += 1;
    }
    assert_eq!(examples, 4);
}

#[test]
fn the_smallest_pipeline_is_well_formed() {
    let (_, toml) = blocks().into_iter().find(|(l, _)| l == "toml").unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("results")).unwrap();
    std::fs::write(
        folder.path().join("results/a.json"),
        r#"{"Response":{"Text":{"Extra":"ios","LivenessDetail":[{"ReqTime":"1730444265275","Seq":"a",
        "CompareLibType":"权威库","IsNeedCharge":true}]}}}"#,
    )
    .unwrap();
    std::fs::write(folder.path().join("my.toml"), toml).unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_faceledger"))
        .args(["run", "my.toml"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert!(String::from_utf8_lossy(&run.stdout).contains("增强版人脸核身（权威库）-App"));
    assert!(Path::new(&folder.path().join("ledger/daily_charge/usage_month=2024-11")).is_dir());
}
