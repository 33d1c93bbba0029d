#!/usr/bin/env python3
"""Times faceledger against other engines on the same made-up data, and checks that all give the same totals.

    python benches/bench.py                        everything, 3 runs each (needs target/release/faceledger)
    python benches/bench.py --quick                tiny data: does the benchmark itself work?
    python benches/bench.py --peers duckdb,polars  the others alone

Results go to stdout and to target/bench-results.json: medians, and for each shape how far the fastest peer and our
memory are from their targets. Exit status: 0 all totals agree; 1 some do not, or a contender failed; a target that is
not reached changes nothing, because a noisy machine must not look like a wrong total. What is measured, and how to add a peer: benches/README.md.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parent
OURS = "faceledger"
# Name on the command line -> script. A new peer is one script in peers/ and one line here.
PEERS = {
    "chdb": "chdb_peer.py",
    "datafusion": "datafusion_peer.py",
    "duckdb": "duckdb_peer.py",
    "polars": "polars_peer.py",
}
# Records of each shape: 1.1 GiB of text, 130 MB in small objects, 1.4 GB of media. Three days, five channels.
RECORDS = {"ndjson": 910_000, "small": 100_000, "media": 1_500}
RECORDS_QUICK = {"ndjson": 5_000, "small": 500, "media": 10}
# What we hold ourselves to with 2 threads: time of the fastest peer divided by ours, and our peak memory.
TARGETS = {
    "ndjson": {"ratio_min": 3.0, "peak_bytes_max": 512 << 20},
    "small": {"ratio_min": 2.0, "peak_bytes_max": 256 << 20},
    "media": {"ratio_min": 8.0, "peak_bytes_max": None},
}
DAYS = 3
SEED = 20260301
# Far above any sane run, so that a hanging engine ends the benchmark and not the day.
SECONDS_MAX = 900


class Failed(Exception):
    """A contender, or a tool of ours, that did not do its work."""


def main():
    args = arguments()
    pin(args.threads)
    # Keeps __pycache__ out of the source tree.
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    on, versions, shapes, ok = machine(), {}, {}, True
    for shape in args.shapes:
        folder, expected = data(shape, args)
        warm(folder / "results")
        report, agreed = measure(shape, folder, expected, args, versions)
        shapes[shape] = {
            "records": expected["records"],
            "objects": expected["objects"],
            "bytes": expected["bytes"],
            "rows": expected["rows"],
            "contenders": report,
            "verdict": None if args.quick else verdict(shape, report),
            "floors": None,
        }
        ok = ok and agreed
        print_table(shape, shapes[shape])
        if args.quick:
            print("  no target is checked: tiny data")
        else:
            print_verdict(shapes[shape]["verdict"])
        if args.floors and OURS in args.peers:
            shapes[shape]["floors"] = floors(shape, folder, expected, args, versions)
            print_floors(shapes[shape])
    result = {
        "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": on,
        "commit": commit(),
        "versions": versions,
        "threads": args.threads,
        "runs": args.runs,
        "quick": args.quick,
        "memory_max": args.memory_max,
        "all_totals_agree": ok,
        "shapes": shapes,
    }
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    print(f"\nWritten to {args.results}")
    if not ok:
        print("FAILED: not every contender did the job, or totals differ; see above.", file=sys.stderr)
    return 0 if ok else 1


def arguments():
    def names(allowed):
        def parse(text):
            wrong = [name for name in text.split(",") if name not in allowed]
            if wrong:
                raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of {', '.join(allowed)}")
            return text.split(",")

        return parse

    def sizes(text):
        return {shape: int(count) for shape, count in (part.split("=") for part in text.split(","))}

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    contenders = [OURS, *PEERS]
    parser.add_argument("--peers", type=names(contenders), default=contenders, help=f"of {','.join(contenders)}")
    parser.add_argument("--shapes", type=names(list(RECORDS)), default=list(RECORDS), help="of ndjson,small,media")
    parser.add_argument("--runs", type=int, default=3, help="of each contender, taking turns (3)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-max", default="2GiB", help="for those that take a bound")
    parser.add_argument("--spellings", choices=["best", "all"], default="best", help="of the peers")
    parser.add_argument("--no-floors", dest="floors", action="store_false", help="only the contenders")
    parser.add_argument("--quick", action="store_true", help="tiny data, 1 run")
    parser.add_argument(
        "--records",
        type=sizes,
        default=sizes(os.environ["BENCH_RECORDS"]) if "BENCH_RECORDS" in os.environ else {},
        help="ndjson=N,small=N,media=N; also BENCH_RECORDS",
    )
    target = PROJECT / "target"
    parser.add_argument("--data", type=pathlib.Path, default=target / "bench-data")
    parser.add_argument("--results", type=pathlib.Path, help="target/bench-results.json, with -quick if so")
    parser.add_argument("--binary", type=pathlib.Path, default=target / "release/faceledger")
    parser.add_argument("--generator", type=pathlib.Path, help="a built generator, instead of cargo run")
    args = parser.parse_args()
    args.data = args.data.resolve()
    args.records = {**(RECORDS_QUICK if args.quick else RECORDS), **args.records}
    args.results = args.results or target / ("bench-results-quick.json" if args.quick else "bench-results.json")
    if args.quick:
        args.runs = 1
    if OURS in args.peers and not args.binary.is_file():
        parser.error(f"{args.binary} is missing: cargo build --release, or leave {OURS} out of --peers")
    return args


def pin(threads):
    """Everybody on the same few processors, also those that count processors instead of obeying."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def place(shape, records, base):
    return base / f"{shape}-{records}-{DAYS}-{SEED}"


def data(shape, args):
    """The folder of a shape, generated unless it is there already; and what must come out."""
    records = args.records[shape]
    folder = place(shape, records, args.data)
    wanted = {"shape": shape, "records": records, "days": DAYS, "seed": SEED}
    expected_file = folder / "expected.json"
    # expected.json is written last: without it the folder was left half-made.
    if not expected_file.is_file():
        if folder.exists():
            shutil.rmtree(folder)
        # As the tests' profile builds it: a release build of an example compiles, with the dependencies of the tests,
        # most others anew, and a program other than `make run`'s would be timed. It takes 7 CPU seconds for 1.2 GB.
        generator = [args.generator] if args.generator else ["cargo", "run", "--quiet", "--example", "generate", "--"]
        print(f"{shape}: generating {records} records (with the build of the generator, the first time)", flush=True)
        options = [word for key, value in wanted.items() for word in (f"--{key}", str(value))]
        subprocess.run([*generator, *options, "--out", folder], cwd=PROJECT, check=True)
    expected = json.loads(expected_file.read_text())
    if {key: expected["arguments"][key] for key in wanted} != wanted:
        sys.exit(f"{folder} holds other data than its name says: remove it")
    return folder, expected


def warm(folder):
    """Reads every byte once, so that the first contender does not pay for the disk."""
    buffer = bytearray(1 << 20)
    for base, _, files in os.walk(folder):
        for name in files:
            with open(os.path.join(base, name), "rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


def measure(shape, folder, expected, args, versions):
    contenders = []
    for peer in args.peers:
        if peer == OURS:
            contenders.append((OURS, None))
            continue
        command = [sys.executable, HERE / "peers" / PEERS[peer], "--shape", shape, "--list-spellings"]
        spellings = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        chosen = [spellings["best"]]
        if args.spellings == "all":
            chosen += [spelling for spelling in spellings["all"] if spelling != spellings["best"]]
        contenders += [(peer, spelling) for spelling in chosen]
    runs, agreed = {contender: [] for contender in contenders}, True
    # They take turns, so that a noisy minute hits all of them.
    for _ in range(args.runs):
        for contender in contenders:
            out = folder / "out"
            remove(out)
            try:
                run = once(contender, shape, folder, out, args, versions)
                compare(out, expected)
                # Only now: a contender that counted wrong has no time to show.
                runs[contender].append(run)
            except Failed as failure:
                print(f"{shape}: {' '.join(filter(None, contender))}: {failure}", file=sys.stderr)
                agreed = False
            finally:
                remove(out)
    report = []
    for (name, spelling), measured in runs.items():
        if measured:
            medians = {key: statistics.median(run[key] for run in measured) for key in measured[0]}
            report.append({"name": name, "spelling": spelling, **medians, "runs": measured})
    ours = next((entry["seconds"] for entry in report if entry["name"] == OURS), None)
    base = ours or min((entry["seconds"] for entry in report), default=1)
    for entry in report:
        entry["ratio"] = entry["seconds"] / base
        entry["ratio_to"] = OURS if ours else "the fastest"
    return report, agreed


def verdict(shape, report):
    """How the fastest peer, and our memory, stand to the targets; None where nobody was there to tell."""
    ours = next((entry for entry in report if entry["name"] == OURS), None)
    peers = [entry for entry in report if entry["name"] != OURS]
    if not ours:
        return None
    fastest = min(peers, key=lambda entry: entry["seconds"], default=None)
    ratio = fastest["seconds"] / ours["seconds"] if fastest else None
    bound = TARGETS[shape]["peak_bytes_max"]
    return {
        **TARGETS[shape],
        "fastest_peer": label(fastest) if fastest else None,
        "ratio_seen": ratio,
        "ratio_reached": ratio >= TARGETS[shape]["ratio_min"] if fastest else None,
        "peak_bytes_seen": ours["peak_bytes"],
        "peak_reached": ours["peak_bytes"] <= bound if bound else None,
    }


def print_verdict(found):
    if not found:
        print(f"  no target is checked: {OURS} did not run, or did not finish")
        return
    if found["fastest_peer"]:
        print(
            f"  time: target {found['ratio_min']:.1f}, seen {found['ratio_seen']:.2f} against {found['fastest_peer']}: "
            + reached(found["ratio_reached"])
        )
    else:
        print(f"  time: target {found['ratio_min']:.1f}; no peer ran, or none finished")
    seen = f"{found['peak_bytes_seen'] / (1 << 20):.0f} MiB"
    if found["peak_bytes_max"]:
        print(f"  memory: target {found['peak_bytes_max'] >> 20} MiB, seen {seen}: {reached(found['peak_reached'])}")
    else:
        print(f"  memory: no target, seen {seen}")
    sys.stdout.flush()


def reached(yes):
    return "reached" if yes else "not reached"


def floors(shape, folder, expected, args, versions):
    """CPU seconds of reading, parsing and encoding alone (floor.py), the rows being ours; None if ours failed."""
    out = folder / "out"
    remove(out)
    try:
        once((OURS, None), shape, folder, out, args, versions)
        compare(out, expected)
        command = [sys.executable, HERE / "floor.py", "--data", folder / "results", "--rows", out / "liveness_detail"]
        asked = subprocess.run(command, capture_output=True, text=True)
        if asked.returncode != 0:
            raise Failed(asked.stderr.strip()[-2000:])
        found = json.loads(asked.stdout)
    except Failed as failure:
        print(f"{shape}: no floors: {failure}", file=sys.stderr)
        return None
    finally:
        remove(out)
    versions.update(found.pop("versions"))
    return found


def print_floors(entry):
    found, ours = entry["floors"], next((e for e in entry["contenders"] if e["name"] == OURS), None)
    if not found or not ours:
        return
    together = sum(found.values())
    steps = ", ".join(f"{name.removesuffix('_cpu_seconds')} {seconds:.2f}" for name, seconds in found.items())
    print(
        f"  floors in CPU s: {steps}, together {together:.2f}; ours {ours['cpu_seconds']:.2f}, "
        f"{ours['cpu_seconds'] / together:.2f} times that"
    )
    sys.stdout.flush()


def remove(out):
    for path in (out, out.with_suffix(".spill")):
        if path.exists():
            shutil.rmtree(path)


def once(contender, shape, folder, out, args, versions):
    """One run in a process of its own: seconds of work and of start, CPU seconds, peak memory."""
    name, spelling = contender
    if name == OURS:
        if OURS not in versions:
            asked = subprocess.run([args.binary, "--version"], capture_output=True, text=True, check=True)
            versions[OURS] = asked.stdout.split()[-1]
        command = [
            args.binary,
            "run",
            folder / "pipeline.toml",
            "--full-refresh",
            *("--set", f"source.url={folder}/results/"),
            *("--set", f"output.url={out}/"),
            *("--set", f"limits.threads={args.threads}"),
            *("--set", f"limits.memory_max={args.memory_max}"),
        ]
    else:
        command = [
            sys.executable,
            HERE / "peers" / PEERS[name],
            *("--shape", shape, "--spelling", spelling, "--data", folder / "results", "--out", out),
            *("--threads", str(args.threads), "--memory-max", args.memory_max),
        ]
    # Engines of Python packages count processors when they are imported, so the bound must be there before.
    bounds = ("POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS", "TOKIO_WORKER_THREADS")
    environment = {**os.environ, **{bound: str(args.threads) for bound in bounds}}
    log = folder / "last-run.log"
    with open(log, "w+b") as stdout, open(folder / "last-run.err", "w+b") as stderr:
        began = time.monotonic()
        child = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=environment, cwd=PROJECT)
        # wait4 gives the use of this one child, where getrusage would give the greatest of all so far.
        status, usage = wait(child, began)
        ended = time.monotonic()
        if status != 0:
            stderr.seek(0)
            last = stderr.read().decode(errors="replace").strip()[-2000:]
            raise Failed(f"exit status {status}\n{last}")
    start = 0.0
    if name != OURS:
        said = json.loads(log.read_text().strip().splitlines()[-1])
        versions[name] = said["version"]
        start = said["ready"] - began
    return {
        "seconds": ended - began - start,
        "start_seconds": start,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }


def wait(child, began):
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode, usage
        if time.monotonic() - began > SECONDS_MAX:
            child.kill()
            os.wait4(child.pid, 0)
            child.returncode = -9
            raise Failed(f"not done after {SECONDS_MAX} s")
        time.sleep(0.002)


def compare(out, expected):
    """Every total of a contender, recounted from its files, against the generator's."""
    counted = subprocess.run([sys.executable, HERE / "totals.py", out], capture_output=True, text=True)
    if counted.returncode != 0:
        raise Failed(f"its output cannot be read\n{counted.stderr.strip()[-2000:]}")
    got = json.loads(counted.stdout)
    counts = ("attempts", "charged", "free", "unknown")

    def listed(table, key):
        return sorted([row["usage_date"], row[key], *(row[count] for count in counts)] for row in expected[table])

    ours = "by_day_tag" in got
    by_channel = listed("by_day_channel", "channel" if ours else "extra")
    wanted = {"rows": expected["rows"], "seqs": expected["rows"], "by_day_channel": by_channel}
    if ours:
        wanted["by_day_tag"] = wanted["daily_by_tag"] = listed("by_day_tag", "billing_tag")
        # Two channels may share a tag, and what has no tag is one row a day.
        for table in ("by_day_tag", "daily_by_tag"):
            wanted[table] = summed(wanted[table])
    else:
        wanted["daily_by_channel"] = by_channel
    for total, want in wanted.items():
        if got[total] != want:
            at = next((pair for pair in zip(want, got[total]) if pair[0] != pair[1]), None) if isinstance(want, list) else None
            raise Failed(f"{total}: expected {at[0] if at else want}, got {at[1] if at else got[total]}")


def summed(rows):
    sums = {}
    for day, tag, *counts in rows:
        known = sums.setdefault((day, tag), [0] * len(counts))
        sums[day, tag] = [a + b for a, b in zip(known, counts)]
    return sorted([*key, *counts] for key, counts in sums.items())


def machine():
    cpu = platform.processor()
    memory = None
    try:
        with open("/proc/cpuinfo") as file:
            cpu = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        pass
    return {
        "cpu": cpu or platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": memory,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        # How busy others kept it just before: a load of one or more spoils times, not totals.
        "load_1min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def commit():
    """Which source this is, where git can tell: a result without it cannot be measured again."""
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=PROJECT, capture_output=True, text=True
        )
    except OSError:
        return None
    return asked.stdout.strip() or None


def print_table(shape, entry):
    megabytes = entry["bytes"] / 1e6
    print(
        f"\n{shape}: {entry['objects']:,} objects, {megabytes:,.0f} MB, {entry['records']:,} records, "
        f"{entry['rows']:,} rows"
    )
    contenders = entry["contenders"]
    if not contenders:
        print("  nobody finished")
        return
    title = f"time / {contenders[0]['ratio_to']}"
    width = max(len(label(contender)) for contender in contenders)
    print(f"  {'':{width}}  {'seconds':>8}  {'start':>6}  {'CPU s':>7}  {'peak MB':>8}  {title}")
    for contender in contenders:
        print(
            f"  {label(contender):{width}}  {contender['seconds']:8.2f}  {contender['start_seconds']:6.2f}  "
            f"{contender['cpu_seconds']:7.2f}  {contender['peak_bytes'] / 1e6:8.0f}  {contender['ratio']:6.2f}"
        )
    sys.stdout.flush()


def label(contender):
    return " ".join(filter(None, (contender["name"], contender["spelling"])))


if __name__ == "__main__":
    sys.exit(main())
