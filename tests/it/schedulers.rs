//! The S3 pipelines and the files for schedulers in `pipelines/`: what a user would copy is read, rendered and run here by what
//! will read, render and run it there: the program, a real Airflow, `systemd-analyze`, `sh`.

use crate::world::{Ran, faceledger_in};
use clap::Parser;
use faceledger::cli::{Cli, Command as Asked};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn scheduler(file: &str) -> String {
    let path = root().join("pipelines/schedulers").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A store on loopback that refuses everything, and remembers what it was asked.
struct Refusing {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Refusing {
    fn start() -> Refusing {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (asked, stop) = (asked.clone(), stop.clone());
            move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let head = refuse(stream.expect("a connection"));
                    asked.lock().expect("no panic").push(head);
                }
            }
        });
        Refusing { url, asked, stop, thread: Some(thread) }
    }

    /// Head of each request: its line and its header fields.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

/// Reads one request and refuses it; gives its head.
fn refuse(mut stream: TcpStream) -> String {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return String::from_utf8_lossy(&bytes).into_owned(),
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let body = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, length)| length.trim().parse::<usize>().expect("a length"));
    let mut left = body.saturating_sub(bytes.len() - end);
    while left > 0 {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(n) => left = left.saturating_sub(n),
        }
    }
    // A client that went away has had its say.
    let _ = stream
        .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    head
}

impl Drop for Refusing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the S3 pipelines take from the environment.
const COS: &[(&str, &str)] = &[
    ("FACELEDGER_UIN", "100012345678"),
    ("COS_RESULTS_BUCKET", "results-1250000000"),
    ("COS_LEDGER_BUCKET", "ledger-1250000000"),
    ("COS_REGION", "ap-guangzhou"),
    ("COS_SECRET_ID", "id-of-the-test"),
    ("COS_SECRET_KEY", "key-of-the-test"),
];

fn check(pipeline: &str, env: &[(&str, &str)], more: &[String]) -> Ran {
    let mut args = vec!["check", pipeline, "--json"];
    args.extend(more.iter().map(String::as_str));
    faceledger_in(root(), &args, env)
}

/// The files parse, and their stores are asked as COS wants it: no bucket in the path, our key, its region.
#[test]
fn the_s3_pipelines_ask_for_the_right_things() {
    for (pipeline, name) in [
        ("pipelines/daily-s3.toml", "faceid-daily"),
        ("pipelines/backfill-s3.toml", "faceid-backfill"),
    ] {
        let store = Refusing::start();
        let sets: Vec<String> = ["source", "output"]
            .iter()
            .flat_map(|end| {
                [
                    "--set".to_owned(),
                    format!("{end}.options.aws_endpoint={}", store.url),
                    "--set".to_owned(),
                    format!("{end}.options.aws_allow_http=\"true\""),
                ]
            })
            .collect();
        let ran = check(pipeline, COS, &sets);
        // The store denies access. A mistake in the file would be told without asking it.
        assert!(!ran.said().contains("mistakes"), "{pipeline} is right: {}", ran.said());
        assert!(!ran.said().contains("key-of-the-test"), "a secret is never shown");
        let found = ran.json();
        assert_eq!(found["pipeline"], name);
        assert_eq!(found["routes"], 4);
        let probes = found["probes"].as_array().expect("probes");
        assert!(probes.iter().all(|probe| probe["ok"] == false), "{found:#}");
        let text = found.to_string();
        assert!(text.contains("s3://results-1250000000/results"), "{text}");
        assert!(text.contains("s3://ledger-1250000000/faceid/"), "{text}");
        let asked = store.asked();
        // The folders of the dates are looked for first.
        assert!(
            asked[0].starts_with("GET /?delimiter=%2F&list-type=2&prefix=results%2F"),
            "{asked:#?}"
        );
        assert!(asked.iter().any(|head| head.starts_with("PUT /faceid/")), "{asked:#?}");
        for head in asked {
            assert!(!head.lines().next().expect("a line").contains("1250000000"), "{head}");
            assert!(head.contains("Credential=id-of-the-test/"), "{head}");
            assert!(head.contains("/ap-guangzhou/s3/aws4_request"), "{head}");
        }
    }
}

/// The endpoints as written hold the bucket; without it, virtual hosting would ask the wrong host.
#[test]
fn the_endpoints_hold_the_bucket() {
    for file in ["daily-s3.toml", "backfill-s3.toml"] {
        let pipeline = toml_of(file);
        for (end, bucket) in
            [("source", "${COS_RESULTS_BUCKET}"), ("output", "${COS_LEDGER_BUCKET}")]
        {
            let options = &pipeline[end]["options"];
            let endpoint = format!("https://{bucket}.cos.${{COS_REGION}}.myqcloud.com");
            assert_eq!(options["aws_endpoint"].as_str(), Some(endpoint.as_str()), "{file}: {end}");
            assert_eq!(options["aws_virtual_hosted_style_request"].as_str(), Some("true"));
            let url = pipeline[end]["url"].as_str().expect("a URL");
            assert!(url.starts_with(&format!("s3://{bucket}/")), "{file}: {url}");
        }
    }
}

#[test]
fn a_variable_that_is_missing_is_named() {
    for (missing, _) in COS {
        let env: Vec<(&str, &str)> =
            COS.iter().copied().filter(|(name, _)| name != missing).collect();
        let ran = check("pipelines/daily-s3.toml", &env, &[]).exits(2);
        assert!(ran.said().contains(missing), "{missing}: {}", ran.said());
    }
}

fn toml_of(file: &str) -> toml::Table {
    let text = fs::read_to_string(root().join("pipelines").join(file)).expect("a pipeline file");
    text.parse().expect("TOML")
}

/// The same result must become the same row, whether the morning's run or a backfill reads it.
#[test]
fn the_backfill_differs_from_the_daily_load_in_name_and_limits_alone() {
    let [mut daily, mut backfill] = ["daily-s3.toml", "backfill-s3.toml"].map(toml_of);
    for table in [&mut daily, &mut backfill] {
        for key in ["name", "limits"] {
            assert!(table.remove(key).is_some(), "{key}");
        }
        // How the objects are found may differ: from a listing, or from an inventory.
        table["source"].as_table_mut().expect("[source]").remove("inventory");
    }
    assert_eq!(daily, backfill);
}

/// Python with the packages of `tests/airflow-requirements.txt`.
fn airflow_python() -> PathBuf {
    let told = std::env::var_os("FACELEDGER_AIRFLOW_PYTHON").map(PathBuf::from);
    let python = root().join(told.unwrap_or_else(|| ".venv-airflow/bin/python".into()));
    let works = Command::new(&python).args(["-c", "import airflow, yaml"]).output();
    assert!(
        works.as_ref().is_ok_and(|o| o.status.success()),
        "{} is no Python with the packages of tests/airflow-requirements.txt: run `make test`, which makes \
         .venv-airflow, or `python3 -m venv .venv-airflow && .venv-airflow/bin/pip install -r \
         tests/airflow-requirements.txt`",
        python.display()
    );
    python
}

/// A folder of programs that stand before the real ones.
fn programs(scripts: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, script) in scripts {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("may be run");
    }
    folder
}

/// What Airflow and the YAML reader of schedulers.py say; asked once, since Airflow takes its time to start.
fn airflow() -> &'static Value {
    static SAID: OnceLock<Value> = OnceLock::new();
    SAID.get_or_init(ask_airflow)
}

/// On a host whose clock is in America.
fn ask_airflow() -> Value {
    let home = tempfile::tempdir().expect("a temporary folder");
    let fake =
        programs(&[("faceledger", "[ \"$FAKE_EXIT\" = -9 ] && kill -9 $$\nexit \"$FAKE_EXIT\"")]);
    let folder = root().join("pipelines/schedulers");
    let ran = Command::new(airflow_python())
        .arg(root().join("tests/it/schedulers.py"))
        .args([folder.join("airflow_dag.py"), folder.join("kubernetes-cronjob.yaml")])
        .arg(fake.path())
        .env("AIRFLOW_HOME", home.path())
        .env("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("TZ", "America/New_York")
        .env_remove("FACELEDGER_PIPELINE")
        .env_remove("FACELEDGER_BACKFILL_PIPELINE")
        .output()
        .expect("Python starts");
    let (out, err) = (text(&ran.stdout), text(&ran.stderr));
    assert!(ran.status.success(), "--- stdout\n{out}\n--- stderr\n{err}");
    serde_json::from_str(out.lines().last().expect("an answer")).expect("JSON")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn airflow_takes_the_dags_and_renders_their_commands() {
    let found = airflow();
    assert_eq!(found["errors"], json!([]));
    assert_eq!(
        found["dags"],
        json!(["faceledger_backfill", "faceledger_compact", "faceledger_daily"])
    );
    for (dag, settings) in found["settings"].as_object().expect("settings") {
        assert_eq!(settings["catchup"], false, "{dag}");
        assert_eq!(settings["max_active_runs"], 1, "{dag}");
        let task = if dag == "faceledger_compact" { "compact" } else { "load" };
        let expected = json!({ task: {"retries": 6, "retry_delay_s": 600.0, "skip_on": [99]} });
        assert_eq!(settings["tasks"], expected, "{dag}");
    }

    // 09:00 in Beijing is 01:00 UTC, and the day is that of the morning before.
    let daily = |day: &str| {
        format!("faceledger run /etc/faceledger/daily-s3.toml --day {day} --if-nothing-new-exit 99")
    };
    assert_eq!(found["daily"]["time_zone"], "Asia/Shanghai");
    assert_eq!(
        found["daily"]["runs"],
        json!([
            {"starts": "2024-11-01T01:00:00+00:00", "command": daily("2024-10-31")},
            {"starts": "2024-11-02T01:00:00+00:00", "command": daily("2024-11-01")},
        ])
    );
    // 2024-10-31T17:00Z is 01:00 of November 1st in Beijing; by `ds`, a UTC day, it would be October 31st.
    assert_eq!(found["daily"]["same"], json!(vec![daily("2024-11-01"); 3]));
    // Started by hand at 20:00 of November 2nd: the interval that is over is the one of November 1st.
    assert_eq!(found["daily"]["by_hand"], daily("2024-11-01"));
    // Rather no run than one of a day that nobody asked for.
    assert_eq!(found["daily"]["without_interval"], "UndefinedError");

    let backfill = |more: &str| {
        format!(
            "faceledger run /etc/faceledger/backfill-s3.toml --from '2024-01-01' --to '2024-06-30' {more} \
             --if-nothing-new-exit 99"
        )
    };
    assert_eq!(found["backfill"]["schedule"], "None");
    assert_eq!(found["backfill"]["command"], backfill("--order oldest-first"));
    assert_eq!(found["backfill"]["refresh"], backfill("--order newest-first --full-refresh"));
    // Two days; none; one with a command in it; one that no calendar has; an order that there is not.
    let refused = "ParamValidationError";
    assert_eq!(found["backfill"]["params"], json!([null, refused, refused, refused, refused]));

    // 04:00 of a Sunday in Beijing: November 3rd and 10th of 2024 were Sundays.
    assert_eq!(
        found["compact"]["starts"],
        json!(["2024-11-02T20:00:00+00:00", "2024-11-09T20:00:00+00:00"])
    );
    assert_eq!(found["compact"]["command"], "faceledger compact /etc/faceledger/daily-s3.toml");
}

/// README's table of exit codes, as the operator acts on them.
#[test]
fn airflow_retries_what_another_try_can_mend() {
    let ends = json!({
        "0": "success", "99": "skipped",
        "1": "failed for good", "2": "failed for good", "3": "failed for good", "5": "failed for good",
        "6": "to be retried", "75": "to be retried", "-9": "to be retried",
    });
    assert_eq!(airflow()["daily"]["ends"], ends);
}

#[test]
fn the_cron_job_runs_once_a_morning_and_retries_what_another_try_can_mend() {
    let found = airflow();
    let job = &found["yaml"][0];
    assert_eq!((&job["apiVersion"], &job["kind"]), (&json!("batch/v1"), &json!("CronJob")));
    let spec = &job["spec"];
    assert_eq!(spec["schedule"], "0 9 * * *");
    assert_eq!(spec["timeZone"], "Asia/Shanghai");
    assert_eq!(spec["concurrencyPolicy"], "Forbid");
    let seconds = |value: &Value| value.as_u64().expect("seconds");
    let job = &spec["jobTemplate"]["spec"];
    // From 09:00 on, all of it before midnight, so that every try is about the same day.
    let latest = seconds(&spec["startingDeadlineSeconds"]) + seconds(&job["activeDeadlineSeconds"]);
    assert!(9 * 3600 + latest < 24 * 3600);
    assert_eq!(job["backoffLimit"], 6);
    let rules = job["podFailurePolicy"]["rules"].as_array().expect("rules");
    assert_eq!(rules[0]["action"], "FailJob");
    assert_eq!(
        rules[0]["onExitCodes"],
        json!({"containerName": "faceledger", "operator": "In", "values": [1, 2, 3, 5]})
    );
    assert_eq!(rules[1]["action"], "Ignore");
    assert_eq!(
        rules[1]["onPodConditions"],
        json!([{"type": "DisruptionTarget", "status": "True"}])
    );
    assert_eq!(rules.len(), 2);
    let pod = &job["template"]["spec"];
    assert_eq!(pod["restartPolicy"], "Never");
    assert!(seconds(&pod["terminationGracePeriodSeconds"]) >= 20);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    let containers = pod["containers"].as_array().expect("containers");
    assert_eq!(containers.len(), 1);
    let container = &containers[0];
    assert_eq!(container["name"], "faceledger");
    assert_eq!(container["envFrom"], json!([{"secretRef": {"name": "faceledger"}}]));
    assert_eq!(container["resources"]["limits"]["memory"], "3Gi");
    assert_eq!(container["command"], json!(["/bin/sh", "-c"]));
    // Every mount has its volume.
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().expect("a list");
        list.iter().map(|item| item["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&container["volumeMounts"]), names(&pod["volumes"]));

    let args = container["args"].as_array().expect("args");
    assert_eq!(args.len(), 1);
    let written = args[0].as_str().expect("a command");
    // `$(NAME)` is Kubernetes' own; `$$` is how it writes a dollar.
    assert!(!written.replace("$$", "").contains('$'), "{written}");
    says_beijings_yesterday(
        &written.replace("$$", "$"),
        "[run] [/etc/faceledger/daily-s3.toml] [--day] [DAY]",
    );
}

/// Prints its arguments and what it knows of a secret, and ends as it is told.
const FAKE_FACELEDGER: &str = r#"for argument; do printf '[%s] ' "$argument"; done
printf '%s\n' "$COS_SECRET_ID"
exit "${FAKE_EXIT:-0}""#;

/// The time at which FAKE_NOW (seconds since the epoch) says it is; GNU's and BSD's ways of asking.
const FAKE_DATE: &str = r#"PATH=/usr/bin:/bin
date -d "@$FAKE_NOW" "$@" 2>/dev/null || date -r "$FAKE_NOW" "$@""#;

/// Instants, by `date -u -d … +%s`, and the day before each in Beijing.
const YESTERDAYS: &[(&str, &str)] = &[
    // 2024-11-02T09:00:00+08:00
    ("1730509200", "2024-11-01"),
    // 2024-11-02T00:00:00+08:00: in UTC it is still November 1st.
    ("1730476800", "2024-11-01"),
    // 2024-11-02T23:59:59+08:00
    ("1730563199", "2024-11-01"),
    // 2024-11-03T00:00:00+08:00
    ("1730563200", "2024-11-02"),
    // 2024-03-01T09:00:00+08:00
    ("1709254800", "2024-02-29"),
    // 2024-01-01T09:00:00+08:00
    ("1704070800", "2023-12-31"),
];

/// Runs a command line with stand-ins for faceledger and the clock.
fn sh(line: &str, now: &str, env: &[(&str, &str)]) -> Output {
    let fake = programs(&[("faceledger", FAKE_FACELEDGER), ("date", FAKE_DATE)]);
    let path = format!("{}:/usr/bin:/bin", fake.path().display());
    Command::new("/bin/sh")
        .args(["-c", line])
        .env_clear()
        .env("PATH", path)
        // Nothing may come from the host's own zone.
        .env("TZ", "America/New_York")
        .env("FAKE_NOW", now)
        .envs(env.iter().copied())
        .output()
        .expect("a shell")
}

/// The command calls faceledger with these arguments; DAY stands for the day before in Beijing.
#[track_caller]
fn says_beijings_yesterday(line: &str, arguments: &str) {
    for (now, day) in YESTERDAYS {
        let ran = sh(line, now, &[]);
        assert!(ran.status.success(), "{line}: {}", text(&ran.stderr));
        assert_eq!(text(&ran.stdout).trim_end(), arguments.replace("DAY", day), "{line} at {now}");
    }
    let ran = sh(line, "0", &[("FAKE_EXIT", "75")]);
    assert_eq!(ran.status.code(), Some(75), "the exit status comes through");
}

/// The settings of a unit file, by section and name, in order.
fn unit(file: &str) -> BTreeMap<(String, String), Vec<String>> {
    let mut found: BTreeMap<_, Vec<String>> = BTreeMap::new();
    let mut section = String::new();
    for line in scheduler(file).lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.to_owned();
        } else if !line.is_empty() && !line.starts_with('#') {
            let (name, value) = line.split_once('=').expect("name=value");
            found.entry((section.clone(), name.to_owned())).or_default().push(value.to_owned());
        }
    }
    found
}

#[test]
fn the_systemd_units_start_at_nine_and_restart_what_another_try_can_mend() {
    let service = unit("faceledger.service");
    let is = |section: &str, name: &str, value: &str| {
        let values = service.get(&(section.to_owned(), name.to_owned()));
        assert_eq!(values, Some(&vec![value.to_owned()]), "{name}");
    };
    is("Service", "Type", "oneshot");
    is("Service", "EnvironmentFile", "/etc/faceledger/env");
    is("Service", "SuccessExitStatus", "99");
    is("Service", "Restart", "on-failure");
    is("Service", "RestartPreventExitStatus", "1 2 3 5");
    is("Service", "RestartSec", "10min");
    is("Service", "TimeoutStopSec", "30s");
    is("Unit", "StartLimitBurst", "6");
    is("Service", "DynamicUser", "yes");
    is("Service", "NoNewPrivileges", "yes");
    let start = &service[&("Service".to_owned(), "ExecStart".to_owned())];
    assert_eq!(start.len(), 1);
    let line = start[0]
        .strip_prefix("/bin/sh -c '")
        .and_then(|line| line.strip_suffix('\''))
        .expect("one command for a shell");
    // Both are systemd's own where they stand alone.
    for own in ["$", "%"] {
        assert!(!line.replace(&own.repeat(2), "").contains(own), "{own} in {line}");
    }
    says_beijings_yesterday(
        &line.replace("$$", "$").replace("%%", "%"),
        "[run] [/etc/faceledger/daily-s3.toml] [--day] [DAY] [--if-nothing-new-exit] [99]",
    );

    let timer = unit("faceledger.timer");
    let is = |section: &str, name: &str, value: &str| {
        let values = timer.get(&(section.to_owned(), name.to_owned()));
        assert_eq!(values, Some(&vec![value.to_owned()]), "{name}");
    };
    is("Timer", "OnCalendar", "*-*-* 09:00:00 Asia/Shanghai");
    is("Timer", "Persistent", "true");
    is("Install", "WantedBy", "timers.target");

    let folder = root().join("pipelines/schedulers");
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args([folder.join("faceledger.service"), folder.join("faceledger.timer")])
        .output();
    match verified {
        Ok(ran) => {
            let said = text(&ran.stderr) + &text(&ran.stdout);
            assert!(ran.status.success() && !said.contains("faceledger"), "{said}");
        }
        // No script of ours can bring systemd. What matters is asserted above, with it or without.
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "a check that was left out is told")]
            {
                eprintln!("systemd-analyze is not here ({error}): the units were only parsed");
            }
        }
    }
}

/// The settings and the lines of the crontab, as cron reads them.
fn crontab() -> (BTreeMap<String, String>, Vec<(String, String)>) {
    let (mut settings, mut lines) = (BTreeMap::new(), Vec::new());
    for line in scheduler("crontab").lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if let Some((name, value)) = line.split_once('=').filter(|(name, _)| !name.contains(' ')) {
            settings.insert(name.to_owned(), value.to_owned());
            continue;
        }
        let (mut at, mut rest) = (Vec::new(), line);
        for _ in 0..5 {
            let (field, after) = rest.split_once(' ').expect("five fields and a command");
            at.push(field);
            rest = after;
        }
        // To cron a bare `%` is a line break.
        assert!(!rest.replace("\\%", "").contains('%'), "{rest}");
        lines.push((at.join(" "), rest.replace("\\%", "%")));
    }
    (settings, lines)
}

#[test]
fn the_crontab_loads_beijings_yesterday_and_speaks_only_of_failures() {
    let (settings, lines) = crontab();
    assert_eq!(settings["CRON_TZ"], "Asia/Shanghai");
    assert_eq!(settings["SHELL"], "/bin/sh");
    let [(load_at, load), (compact_at, compact)] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((load_at.as_str(), compact_at.as_str()), ("0 9,13 * * *", "0 4 * * 0"));

    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, log) = (folder.path().join("env"), folder.path().join("log"));
    fs::write(&file, "COS_SECRET_ID=from-the-file\n").expect("a file");
    let [file, log_name] = [&file, &log].map(|path| path.to_str().expect("UTF-8"));
    let places = [("FACELEDGER_ENV", file), ("FACELEDGER_LOG", log_name)];
    let run = |line: &str, now: &str, more: &[(&str, &str)]| {
        let _ = fs::remove_file(&log);
        let env: Vec<(&str, &str)> = places.iter().chain(more).copied().collect();
        let ran = sh(line, now, &env);
        assert_eq!(text(&ran.stderr), "");
        (text(&ran.stdout), fs::read_to_string(&log).expect("a log"))
    };
    let logged = |day: &str| {
        format!("[run] [/etc/faceledger/daily-s3.toml] [--day] [{day}] from-the-file\n")
    };
    for (now, day) in YESTERDAYS {
        assert_eq!(run(load, now, &[]), (String::new(), logged(day)), "{now}");
    }
    let another = run(load, "0", &[("DAY", "2024-02-29")]);
    assert_eq!(another, (String::new(), logged("2024-02-29")));
    let (mailed, _) = run(load, "0", &[("FAKE_EXIT", "3")]);
    assert_eq!(mailed, format!("faceledger ended with 3: see {log_name}\n"));
    let (mailed, log) = run(compact, "0", &[("FAKE_EXIT", "75")]);
    assert_eq!(mailed, format!("faceledger compact ended with 75: see {log_name}\n"));
    assert_eq!(log, "[compact] [/etc/faceledger/daily-s3.toml] from-the-file\n");
}

/// What `faceledger` itself understands of a command line, when a shell has taken it apart.
#[track_caller]
fn understood(line: &str) -> Cli {
    // 2024-11-02T09:00:00+08:00
    let ran = sh(line, "1730509200", &[]);
    assert!(ran.status.success(), "{line}: {}", text(&ran.stderr));
    let said = text(&ran.stdout);
    let arguments = said.trim().strip_prefix('[').and_then(|said| said.strip_suffix(']'));
    let arguments =
        arguments.unwrap_or_else(|| panic!("{line} calls nothing: {said}")).split("] [");
    Cli::try_parse_from(["faceledger"].into_iter().chain(arguments))
        .unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// The stand-ins take any argument; the program does not.
#[test]
fn the_program_understands_every_command_line() {
    let found = airflow();
    let command =
        |path: &str| found.pointer(path).and_then(Value::as_str).expect("a command").to_owned();
    let kubernetes = "/yaml/0/spec/jobTemplate/spec/template/spec/containers/0/args/0";
    let service = unit("faceledger.service");
    let start = &service[&("Service".to_owned(), "ExecStart".to_owned())][0];
    let start = start.strip_prefix("/bin/sh -c '").and_then(|line| line.strip_suffix('\''));
    let daily = [
        (command("/daily/runs/1/command"), Some(99)),
        (command(kubernetes).replace("$$", "$"), None),
        (start.expect("a command for a shell").replace("$$", "$").replace("%%", "%"), Some(99)),
    ];
    for (line, nothing_new) in &daily {
        let Asked::Run(args) = understood(line).command else { panic!("{line} is no run") };
        assert_eq!(args.pipeline.pipeline, "/etc/faceledger/daily-s3.toml");
        assert_eq!(args.window.day.map(|day| day.to_string()).as_deref(), Some("2024-11-01"));
        assert_eq!((args.full_refresh, args.dry_run), (false, false), "{line}");
        assert_eq!(args.if_nothing_new_exit, *nothing_new, "{line}");
    }
    for (path, full_refresh) in [("/backfill/command", false), ("/backfill/refresh", true)] {
        let Asked::Run(args) = understood(&command(path)).command else {
            panic!("{path} is no run")
        };
        assert_eq!(args.pipeline.pipeline, "/etc/faceledger/backfill-s3.toml");
        let days = [args.window.from, args.window.to].map(|day| day.expect("a day").to_string());
        assert_eq!(days, ["2024-01-01", "2024-06-30"]);
        assert_eq!((args.full_refresh, args.window.day), (full_refresh, None));
    }
    let Asked::Compact(args) = understood(&command("/compact/command")).command else {
        panic!("no compaction")
    };
    assert_eq!(args.pipeline, "/etc/faceledger/daily-s3.toml");

    // The crontab writes what its commands say into a file.
    let (_, lines) = crontab();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, log) = (folder.path().join("env"), folder.path().join("log"));
    fs::write(&file, "").expect("a file");
    for (_, line) in &lines {
        let _ = fs::remove_file(&log);
        let [file, log] = [&file, &log].map(|path| path.to_str().expect("UTF-8"));
        let ran = sh(line, "1730509200", &[("FACELEDGER_ENV", file), ("FACELEDGER_LOG", log)]);
        assert!(ran.status.success(), "{line}: {}", text(&ran.stderr));
        let said = fs::read_to_string(log).expect("a log");
        let arguments = said.trim().trim_start_matches('[').trim_end_matches(']').split("] [");
        let cli = Cli::try_parse_from(["faceledger"].into_iter().chain(arguments));
        match cli.unwrap_or_else(|error| panic!("{line}: {error}")).command {
            Asked::Run(args) => {
                let day = args.window.day.expect("a day").to_string();
                assert_eq!((day.as_str(), args.full_refresh), ("2024-11-01", false));
            }
            Asked::Compact(args) => assert_eq!(args.pipeline, "/etc/faceledger/daily-s3.toml"),
            other => panic!("{line}: {other:?}"),
        }
    }
}
