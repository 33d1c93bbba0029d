#!/usr/bin/env python3
"""Counts the instructions of a release build on small fixed inputs and holds them against benches/baseline.json.

    python benches/check.py            exit status 1 if a shape takes more than the tolerance over its baseline
    python benches/check.py --write    makes the counts of this build the baseline: commit it with the reason

Counts, not seconds: they say the same on a busy machine. They depend on the compiler and on what the processor offers
(memchr and simdutf8 choose their code when they run), so both stand in the baseline and a difference is told.
docs/performance.md says how repeatable they are.
"""

import argparse
import json
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys

import bench

BASELINE = bench.HERE / "baseline.json"
# Large enough that a tenth more work on a record shows beside what a run costs at all, small enough for a minute.
RECORDS = {"ndjson": 4_000, "small": 400, "media": 12}
# A run over a source without objects: start, empty tables, four Delta commits. Taken off the others, what remains is
# the work on records.
EMPTY = "empty"
# Repetitions lie within 0.4 % of each other (docs/performance.md).
TOLERANCE_PERCENT = 1.0


def main():
    args = arguments()
    if not shutil.which("valgrind"):
        sys.exit("valgrind is missing: it counts the instructions. Install it (Debian, Ubuntu: apt-get install valgrind)")
    if not args.write and not BASELINE.is_file():
        sys.exit(f"{BASELINE} is missing: make bench-baseline writes it")
    # Idle threads of the runtime count by the processors they see.
    bench.pin(1)
    args.records = RECORDS
    counts, inputs = {}, {}
    for shape in (EMPTY, *RECORDS):
        folder, inputs[shape] = source(shape, args)
        seen = [instructions(shape, folder, args) for _ in range(args.runs)]
        counts[shape] = round(statistics.median(seen))
        if args.runs > 1:
            print(f"{shape}: {args.runs} runs, {spread(seen):.2f} % between the least and the most", flush=True)
    now = {
        "rustc": said(["rustc", "--version"]),
        "valgrind": said(["valgrind", "--version"]),
        "libc": " ".join(platform.libc_ver()),
        "cpu_flags": cpu_flags(),
        "inputs": inputs,
        "instructions": counts,
    }
    if args.write:
        BASELINE.write_text(json.dumps(now, indent=2) + "\n")
        print(f"Written to {BASELINE}: say in the commit why the counts changed")
        now_or_before = now
    else:
        now_or_before = json.loads(BASELINE.read_text())
    slower = show(now_or_before, now)
    if slower and not args.write:
        print(f"SLOWER than the baseline by more than the tolerance: {', '.join(slower)}", file=sys.stderr)
        return 1
    return 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = bench.PROJECT / "target"
    parser.add_argument("--write", action="store_true", help="rewrite the baseline")
    parser.add_argument("--runs", type=int, default=1, help="of each shape; the median counts (1)")
    parser.add_argument("--data", type=pathlib.Path, default=target / "bench-check")
    parser.add_argument("--binary", type=pathlib.Path, default=target / "release/faceledger")
    parser.add_argument("--generator", type=pathlib.Path, help="a built generator, instead of cargo run")
    args = parser.parse_args()
    args.data, args.binary = args.data.resolve(), args.binary.resolve()
    if not args.binary.is_file():
        parser.error(f"{args.binary} is missing: cargo build --release --bin faceledger")
    return args


def source(shape, args):
    """The folder of a shape, and what is in it."""
    if shape == EMPTY:
        folder = args.data / EMPTY
        (folder / "results").mkdir(parents=True, exist_ok=True)
        # Routes and captures as for the others.
        shutil.copy(bench.data("ndjson", args)[0] / "pipeline.toml", folder)
        return folder, {"records": 0, "bytes": 0}
    folder, expected = bench.data(shape, args)
    return folder, {"records": expected["records"], "bytes": expected["bytes"]}


def instructions(shape, folder, args):
    out = folder / "out"
    bench.remove(out)
    # Relative to the folder, so that the length of its own path counts for less; and nothing from the environment.
    command = [
        *("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"),
        *(args.binary, "run", "pipeline.toml", "--full-refresh", "--json"),
        *("--set", "source.url=results/", "--set", "output.url=out/", "--set", "limits.threads=1"),
    ]
    environment = {"PATH": "/usr/bin:/bin", "TZ": "UTC", "LANG": "C.UTF-8"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    bench.remove(out)
    collected = re.search(r"^==\d+== Collected : (\d+)", done.stderr, re.MULTILINE)
    if done.returncode != 0 or not collected:
        sys.exit(f"{shape}: exit status {done.returncode} under valgrind\n{done.stderr[-2000:]}")
    seen = rows(done.stdout)
    wanted = 0 if shape == EMPTY else json.loads((folder / "expected.json").read_text())["rows"]
    if seen != wanted:
        sys.exit(f"{shape}: {seen} rows instead of {wanted}: counts of wrong work say nothing")
    return int(collected[1])


def rows(stdout):
    """New rows, by the run's own report."""
    return json.loads(stdout)["tally"]["details_new"]


def spread(seen):
    return 100 * (max(seen) - min(seen)) / min(seen)


def said(command):
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or None
    except OSError:
        return None


def cpu_flags():
    """Of what the processor offers, the parts by which the crates choose their code and that valgrind passes on."""
    try:
        with open("/proc/cpuinfo") as file:
            flags = next(line.split(":", 1)[1].split() for line in file if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return None
    return [flag for flag in ("avx2", "bmi2", "sse4_2", "pclmulqdq", "asimd") if flag in flags]


def show(before, now):
    """The table; gives the shapes that are slower than the tolerance."""
    for what in ("rustc", "valgrind", "libc", "cpu_flags", "inputs"):
        if before[what] != now[what]:
            print(f"note: {what} differs, and may be the reason of any change: {before[what]} in the baseline, {now[what]} here")
    lines, slower = [], []

    def line(name, was, is_now, tolerance_percent):
        change = 100 * (is_now - was) / was
        lines.append((name, f"{was:,.0f}", f"{is_now:,.0f}", f"{change:+.2f} %"))
        if tolerance_percent is not None and change > tolerance_percent:
            slower.append(name)

    was, is_now = before["instructions"], now["instructions"]
    for shape in (EMPTY, *RECORDS):
        line(shape, was[shape], is_now[shape], TOLERANCE_PERCENT)
    for shape, records in RECORDS.items():
        line(
            f"{shape}, a record",
            *((counts[shape] - counts[EMPTY]) / records for counts in (was, is_now)),
            None,
        )
    titles = ("shape", "baseline", "now", "change")
    widths = [max(len(row[at]) for row in (titles, *lines)) for at in range(len(titles))]
    for row in (titles, *lines):
        print("  ".join(row[0].ljust(widths[0]) if at == 0 else cell.rjust(widths[at]) for at, cell in enumerate(row)))
    print(f"tolerance: {TOLERANCE_PERCENT} %. A record: {EMPTY} taken off, divided by the records; shown, not judged")
    return slower


if __name__ == "__main__":
    sys.exit(main())
