"""What every peer script shares: its arguments, and the one line of JSON by which it reports to bench.py."""

import argparse
import importlib
import importlib.metadata
import json
import os
import pathlib
import sys
import time


def main(package, work, best, others, also=()):
    """Runs `work(args)` with `package`, and what it needs `also`, imported beforehand.

    `best` names the fastest spelling for each shape, `others` lists all that are worth trying. `work` writes
    `OUT/liveness_detail/usage_date=…/*.parquet` and `OUT/daily.parquet`.
    """
    parser = argparse.ArgumentParser(description=f"{package} in the benchmark; run by bench.py")
    parser.add_argument("--shape", required=True, choices=sorted(best))
    parser.add_argument("--data", type=pathlib.Path, help="the folder with the result objects")
    parser.add_argument("--out", type=pathlib.Path, help="a folder that does not exist yet")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-max", default="2GiB", help="for engines that take a bound")
    parser.add_argument("--spelling", help="how the job is put to the engine")
    parser.add_argument("--list-spellings", action="store_true")
    args = parser.parse_args()
    if args.list_spellings:
        print(json.dumps({"best": best[args.shape], "all": others[args.shape]}))
        return
    args.spelling = args.spelling or best[args.shape]
    args.out.mkdir(parents=True)
    for module in (package, *also):
        importlib.import_module(module)
    # The monotonic clock is one for all processes of a machine: the parent subtracts the time at which it
    # started this one.
    ready = time.monotonic()
    work(args)
    print(
        json.dumps(
            {"ready": ready, "done": time.monotonic(), "version": importlib.metadata.version(package)}
        )
    )
    sys.stdout.flush()
    # Nobody should be charged for taking an interpreter apart.
    os._exit(0)


def bytes_of(text):
    """2GiB as a number, for engines that want one."""
    for end, power in (("KiB", 10), ("MiB", 20), ("GiB", 30)):
        if text.endswith(end):
            return int(text.removesuffix(end)) << power
    return int(text)
