"""Runs the job over s3:// against examples/slow_store.rs, a store that answers late.

Prints objects per second (of reading, and of the whole run), the bytes read, and the processor time of client and
server apart: both run on this machine. The server listens on a port of its own and is stopped by its process
id. `make bench-s3` builds what it needs.

    python benches/s3.py                                      # 100,000 objects of 1.2 KB, 20 ms
    python benches/s3.py --objects 10000 --object-bytes 1000000 --bandwidth 100000000
    python benches/s3.py --folder DIR                         # objects of a folder, of any shape
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
RELEASE = ROOT / "target" / "release"

PIPELINE = """
name = "bench-s3"

[account]
uin = "100000000000"
opened_at = "2024-01-01T00:00:00+08:00"

[source]
url = "s3://bench/"
keys = "channel={channel}/dt={date}/{biz_token}_{pull}.json"

[[route]]
match = { channel = "app" }
product = "enhanced"
channel = "app_sdk"

[output]
url = "out/"
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=100_000, help="made-up objects")
    parser.add_argument("--object-bytes", type=int, default=1200)
    parser.add_argument("--folder", type=pathlib.Path, help="serve this folder instead")
    parser.add_argument("--latency-ms", type=float, default=20)
    parser.add_argument("--bandwidth", type=int, help="bytes per second, all answers together")
    parser.add_argument("--binary", type=pathlib.Path, default=RELEASE / "faceledger")
    parser.add_argument("--server", type=pathlib.Path, default=ROOT / "target" / "slow_store")
    parser.add_argument("--set", action="append", default=[], help="passed on to faceledger run")
    return parser.parse_args()


def main():
    asked = arguments()
    serve = [asked.server, "--latency-ms", str(asked.latency_ms), "--until-eof"]
    if asked.folder:
        serve += ["--folder", asked.folder]
    else:
        serve += ["--made-up", str(asked.objects), "--object-bytes", str(asked.object_bytes)]
    if asked.bandwidth:
        serve += ["--bandwidth", str(asked.bandwidth)]
    server = subprocess.Popen(serve, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="faceledger-bench-s3-"))
    try:
        url = server.stdout.readline().strip()
        (folder / "pipeline.toml").write_text(PIPELINE, encoding="utf-8")
        told = {
            "AWS_ENDPOINT": url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "none",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
        }
        run = [asked.binary, "run", "pipeline.toml", "--json"]
        for setting in asked.set:
            run += ["--set", setting]
        began = time.monotonic()
        ran = subprocess.run(
            run, cwd=folder, env=os.environ | told, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        seconds = time.monotonic() - began
        client = resource.getrusage(resource.RUSAGE_CHILDREN)
        if ran.returncode != 0:
            sys.exit(f"faceledger exited {ran.returncode}:\n{ran.stderr}")
        report = json.loads(ran.stdout)
        with urllib.request.urlopen(f"{url}/_cpu") as answer:
            costs = json.load(answer)
    finally:
        server.stdin.close()
        server.terminate()
        server.wait()
        shutil.rmtree(folder)

    phases = {phase["name"]: phase["seconds"] for phase in report["phases"]}
    objects = report["tally"]["objects_parsed"]
    cpu = client.ru_utime + client.ru_stime
    print(f"objects          {objects:,}, each answer after {asked.latency_ms:g} ms")
    print(f"objects/s        {objects / phases['read']:,.0f} while reading, {objects / seconds:,.0f} in the whole run")
    print(f"seconds          {seconds:.2f}: " + ", ".join(f"{name} {took:.2f}" for name, took in phases.items()))
    print(f"bytes            {report['bytes_stored']:,} stored, {report['bytes_read']:,} read, {costs['bytes']:,} sent")
    print(f"requests         {costs['gets']:,} GET, {costs['lists']:,} LIST")
    print(f"client           {cpu:.2f} s of processor, {1e6 * cpu / max(objects, 1):.0f} us an object, at most "
          f"{client.ru_maxrss / 1024:.0f} MiB")
    print(f"server           {costs['cpu_ms'] / 1000:.2f} s of processor")


if __name__ == "__main__":
    main()
