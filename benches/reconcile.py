"""Times `faceledger reconcile`: 10 M rows of detail over a month, 300,000 bill lines, and prints seconds and peak memory.

The results are made by examples/generate.rs and loaded first (not timed). The bill is made from the daily charges as
pyarrow reads them: the calls of each day and tag spread over many lines, with one call more on one line in a hundred
days and tags. What the program says must be what was planted, else the exit status is 1.

    python benches/reconcile.py                       # 8.7 M records: 11 GB, deleted afterwards
    python benches/reconcile.py --records 100000 --lines 3000 --keep
"""

import argparse
import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pyarrow.dataset as dataset

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADERS = [
    "支付者 UIN", "产品名称", "子产品名称", "交易类型", "交易 ID", "扣费时间", "开始使用时间", "结束使用时间", "组件类型", "组件名称", "组件刊例价", "组件单价",
    "组件原始用量", "抵扣用量", "组件用量", "组件原价", "优惠后总价",
]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=8_700_000, help="results made up (1.2 rows each)")
    parser.add_argument("--lines", type=int, default=300_000, help="lines of the bill")
    parser.add_argument("--days", type=int, default=31)
    parser.add_argument("--memory-max", default="1GiB")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "target" / "bench-reconcile")
    parser.add_argument("--generate", type=pathlib.Path, default=ROOT / "target" / "debug" / "examples" / "generate")
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target" / "release" / "faceledger")
    parser.add_argument("--keep", action="store_true", help="keep the data for the next time")
    return parser.parse_args()


def bill(folder, out, wanted):
    """Writes the bill; gives the number of lines and the (day, tag) that got one call more."""
    table = dataset.dataset(folder / "out" / "daily_charge", partitioning="hive").to_table()
    charges = [r for r in table.to_pylist() if r["charged"] > 0 and r["billing_tag_code"] != "unmapped"]
    each = max(1, wanted // len(charges))
    planted, lines, paid = [], 0, 0
    with open(out, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADERS)
        for number, row in enumerate(charges):
            day, calls = row["usage_date"], row["charged"]
            if number % 100 == 50:
                planted.append((str(day), row["billing_tag_code"]))
                calls += 1
            pieces = min(each, calls)
            for piece in range(pieces):
                part = calls // pieces + (1 if piece < calls % pieces else 0)
                lines, paid = lines + 1, paid + 1
                cost = f"{part * 113333333 // 100000000}.{part * 113333333 % 100000000:08d}"
                writer.writerow([
                    row["account"], "人脸核身·云智慧眼", row["billing_tag"], "按量计费日结", f"\t{paid:012d}", f"{row['settlement_date']} 09:30:00",
                    f"{day} 00:00:00", f"{day} 23:59:59", row["billing_tag"], row["billing_tag"], "1.2", "1.13333333", part, 0, part, cost, cost,
                ])
    return lines, planted


def main():
    asked = arguments()
    folder = asked.folder
    if not (folder / "out" / "daily_charge").exists():
        shutil.rmtree(folder, ignore_errors=True)
        made = [asked.generate, "--shape", "ndjson", "--records", asked.records, "--seed", 1, "--days", asked.days, "--out", folder]
        subprocess.run([str(word) for word in made], check=True)
        load = [asked.binary, "run", "pipeline.toml", "--set", "output.url=out/", "--json"]
        subprocess.run([str(word) for word in load], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(folder / "results")
        (folder / "results").mkdir()
    lines, planted = bill(folder, folder / "bill.csv", asked.lines)
    rows = dataset.dataset(folder / "out" / "liveness_detail", partitioning="hive").count_rows()
    command = [asked.binary, "reconcile", "pipeline.toml", "--bill", "bill.csv", "--json", "--set", "output.url=out/",
               "--set", f"limits.memory_max={asked.memory_max}"]
    began = time.monotonic()
    with open(folder / "reconciled.json", "wb") as out:
        child = subprocess.Popen([str(word) for word in command], cwd=folder, stdout=out)
        _, status, used = os.wait4(child.pid, 0)
    seconds = time.monotonic() - began
    status = os.waitstatus_to_exitcode(status)
    found = json.loads((folder / "reconciled.json").read_bytes())
    differing = sorted((r["period"], r["billing_tag_code"]) for r in found["rows"]
                       if r["difference"] != 0 and r["billing_tag_code"] != "unmapped")
    right = differing == sorted(planted) and status == (4 if planted else 0) and found["bill"]["lines"] == lines
    print(f"{rows:,} rows, {lines:,} bill lines, {len(found['rows']):,} days and tags, {len(planted)} differences planted")
    print(f"{seconds:.1f} s, {used.ru_utime + used.ru_stime:.1f} CPU s, peak {used.ru_maxrss // 1024} MB, exit {status}")
    print("as planted" if right else f"NOT as planted: {differing} and not {sorted(planted)}")
    if not asked.keep:
        shutil.rmtree(folder)
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
