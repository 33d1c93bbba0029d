#!/usr/bin/env python3
"""How faceledger alone grows with its data and its threads, and what it takes to start.

    python benches/scale.py scale    NDJSON at 1 and 10 times the records, 1 and 2 threads; 100,000 and 1 M small objects
    python benches/scale.py start    --help, and a run over known objects of which none is new

Every total is checked, as in bench.py. Ten times the records are 11 GB: they are deleted afterwards unless --keep is
given. Results go to stdout and to target/bench-scale.json or target/bench-start.json. Exit status: 0 all totals agree,
1 some do not; a target that is not reached changes nothing.
"""

import argparse
import copy
import datetime
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import time

import bench

# What we hold ourselves to.
SECONDS_PER_GB_GROWTH_MAX = 1.15
THREADS_GAIN_MIN = 1.7
HELP_SECONDS_MAX = 0.020
NOTHING_NEW_SECONDS_MAX = 1.0


def main():
    args = arguments()
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    on, versions = bench.machine(), {}
    bench.pin(args.threads)
    try:
        found = scale(args, versions) if args.what == "scale" else start(args, versions)
    except bench.Failed as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return 1
    result = {
        "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": on,
        "commit": bench.commit(),
        "versions": versions,
        "threads": args.threads,
        "runs": args.runs,
        **found,
    }
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    print(f"\nWritten to {args.results}")
    return 0


def arguments():
    target = bench.PROJECT / "target"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["scale", "start"])
    parser.add_argument("--runs", type=int, help="of each: scale 3, start 7")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--factor", type=int, default=10, help="how many times the records (10)")
    parser.add_argument("--ndjson", type=int, default=bench.RECORDS["ndjson"], help="records at 1x; 0: leave out")
    parser.add_argument("--small", type=int, default=bench.RECORDS["small"], help="objects at 1x; 0: leave out")
    parser.add_argument("--memory-max", default="2GiB")
    parser.add_argument("--keep", action="store_true", help="the data at FACTOR times")
    parser.add_argument("--data", type=pathlib.Path, default=target / "bench-data")
    parser.add_argument("--results", type=pathlib.Path)
    parser.add_argument("--binary", type=pathlib.Path, default=target / "release/faceledger")
    parser.add_argument("--generator", type=pathlib.Path, help="a built generator, instead of cargo run")
    args = parser.parse_args()
    args.data, args.binary = args.data.resolve(), args.binary.resolve()
    args.runs = args.runs or {"scale": 3, "start": 7}[args.what]
    args.results = args.results or target / f"bench-{args.what}.json"
    if not args.binary.is_file():
        parser.error(f"{args.binary} is missing: cargo build --release --bin faceledger")
    return args


def scale(args, versions):
    found = {"ndjson": [], "small": []}
    for shape, records in (("ndjson", args.ndjson), ("small", args.small)):
        for factor in (1, args.factor) if records else ():
            # What lay there before us stays.
            ours_to_delete = factor > 1 and not args.keep and not place(shape, records * factor, args).exists()
            try:
                found[shape] += measure(shape, factor, records * factor, args, versions)
            finally:
                if ours_to_delete:
                    shutil.rmtree(place(shape, records * factor, args), ignore_errors=True)
    print()
    verdicts = []
    for shape, entries in found.items():
        bound = bench.TARGETS[shape]["peak_bytes_max"]
        for entry in entries:
            if entry["threads"] == args.threads:
                name = f"{shape} {entry['factor']}x, peak memory in MiB, at most"
                judge(verdicts, name, bound >> 20, entry["peak_bytes"] / (1 << 20), least=False)
    at = {(entry["factor"], entry["threads"]): entry for entry in found["ndjson"]}
    if at and args.factor > 1:
        growth = at[args.factor, args.threads]["seconds_per_gb"] / at[1, args.threads]["seconds_per_gb"]
        name = f"ndjson, seconds per GB at {args.factor}x / at 1x, at most"
        judge(verdicts, name, SECONDS_PER_GB_GROWTH_MAX, growth, least=False)
    if at and args.threads == 2:
        judge(verdicts, "ndjson 1x, time with 1 / with 2 threads, at least", THREADS_GAIN_MIN, at[1, 1]["seconds"] / at[1, 2]["seconds"])
    return {"factor": args.factor, **found, "verdicts": verdicts}


def measure(shape, factor, records, args, versions):
    folder, expected = data(shape, records, args)
    bench.warm(folder / "results")
    entries = []
    # What one thread gives is asked of the data at 1x alone.
    for threads in sorted({1, args.threads}) if (shape, factor) == ("ndjson", 1) else (args.threads,):
        entry = {"factor": factor, "threads": threads, "records": expected["records"], "bytes": expected["bytes"]}
        entry |= median_run(shape, folder, expected, threads, args, versions)
        entry["seconds_per_gb"] = entry["seconds"] / (expected["bytes"] / 1e9)
        entries.append(entry)
        print(
            f"{shape} {factor}x, {threads} threads: {expected['bytes'] / 1e9:.2f} GB, {entry['seconds']:.2f} s, "
            f"{entry['seconds_per_gb']:.2f} s/GB, {entry['cpu_seconds']:.2f} CPU s, {mib(entry['peak_bytes'])}",
            flush=True,
        )
    return entries


def data(shape, records, args):
    wanted = copy.copy(args)
    wanted.records = {shape: records}
    return bench.data(shape, wanted)


def place(shape, records, args):
    return bench.place(shape, records, args.data)


def median_run(shape, folder, expected, threads, args, versions):
    """Medians over `args.runs` full loads, each of which is recounted."""
    bound = copy.copy(args)
    bound.threads = threads
    everybody = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    # As many processors as threads: what runs beside the workers is not to have one for nothing.
    bench.pin(threads)
    runs, out = [], folder / "out"
    try:
        for _ in range(args.runs):
            bench.remove(out)
            runs.append(bench.once((bench.OURS, None), shape, folder, out, bound, versions))
            bench.compare(out, expected)
    finally:
        bench.remove(out)
        if everybody:
            os.sched_setaffinity(0, everybody)
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]} | {"each": runs}


def start(args, versions):
    versions[bench.OURS] = subprocess.check_output([args.binary, "--version"], text=True).split()[-1]
    verdicts = []
    helps = [timed([args.binary, "--help"])[:2] for _ in range(3 * args.runs)]
    wall, cpu = medians(helps)
    judge(verdicts, f"--help, milliseconds (CPU {1000 * cpu:.1f}), at most", 1000 * HELP_SECONDS_MAX, 1000 * wall, least=False)
    found = {"help_seconds_wall_cpu": helps}
    if args.small:
        folder, expected = data("small", args.small, args)
        out = folder / "out"
        bench.remove(out)
        command = [
            *(args.binary, "run", folder / "pipeline.toml", "--json", "--set", f"source.url={folder}/results/"),
            *("--set", f"output.url={out}/", "--set", f"limits.threads={args.threads}"),
            *("--set", f"limits.memory_max={args.memory_max}"),
        ]
        try:
            *first, said = timed(command)
            known(said, "objects_parsed", expected)
            bench.compare(out, expected)
            again = []
            for _ in range(args.runs):
                *seconds, said = timed(command)
                # A run that read anything is not the one we mean.
                known(said, "objects_known", expected)
                again.append(seconds)
        finally:
            bench.remove(out)
        found |= {
            "objects": expected["objects"],
            "first_load_seconds_wall_cpu": first,
            "nothing_new_seconds_wall_cpu": again,
        }
        wall, cpu = medians(again)
        name = f"a run over {expected['objects']:,} known objects, seconds (CPU {cpu:.2f}), at most"
        judge(verdicts, name, NOTHING_NEW_SECONDS_MAX, wall, least=False)
    return found | {"verdicts": verdicts}


def timed(command):
    """Wall seconds, CPU seconds, stdout."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(command, cwd=bench.PROJECT, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise bench.Failed(f"exit status {done.returncode}\n{done.stderr[-2000:]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def medians(runs):
    """Of wall and CPU seconds."""
    return [statistics.median(run[at] for run in runs) for at in (0, 1)]


def known(stdout, count, expected):
    # A load in several batches says one report after another; the counts of objects add up.
    reports, rest, read = [], stdout.strip(), json.JSONDecoder()
    while rest:
        report, end = read.raw_decode(rest)
        reports.append(report)
        rest = rest[end:].strip()
    seen = sum(report["tally"][count] for report in reports)
    if seen != expected["objects"]:
        raise bench.Failed(f"{count}: {seen} instead of {expected['objects']}")


def mib(byte_count):
    return f"{byte_count / (1 << 20):.0f} MiB"


def judge(verdicts, name, target, seen, least=True):
    reached = seen >= target if least else seen <= target
    verdicts.append({"name": name, "target": target, "seen": seen, "reached": reached})
    print(f"{name}: target {target:.4g}, seen {seen:.4g}: {bench.reached(reached)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
