"""Recounts what a contender wrote, from its Parquet files alone; prints one line of JSON. Run by bench.py.

In a process of its own so that bench.py stays small: a child's peak memory never reads lower than what its parent
had in memory when it started it.
"""

import argparse
import json
import pathlib

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("out", type=pathlib.Path)
args = parser.parse_args()


def table(folder, partition, columns):
    partitioning = ds.partitioning(pa.schema([(partition, pa.string())]), flavor="hive")
    data = ds.dataset(folder, format="parquet", partitioning=partitioning)
    read = data.to_table(columns=[name for name in columns if name in data.schema.names])
    # Dictionaries and dates as text: every engine stores them its own way.
    return pa.table({name: read[name].cast(pa.string()) if name in TEXTS else read[name] for name in read.schema.names})


TEXTS = {"usage_date", "channel", "billing_tag"}


def by(rows, *keys):
    """[[key…, attempts, charged, free, unknown], …], sorted."""
    charge = rows["is_need_charge"]
    flags = pa.table(
        {
            **{key: rows[key] for key in keys},
            "charged": pc.fill_null(charge, False).cast(pa.int64()),
            "free": pc.fill_null(pc.invert(charge), False).cast(pa.int64()),
            "unknown": pc.is_null(charge).cast(pa.int64()),
        }
    )
    sums = flags.group_by(list(keys)).aggregate([([], "count_all"), *((name, "sum") for name in COUNTS[1:])])
    return listed(sums, keys, ["count_all", "charged_sum", "free_sum", "unknown_sum"])


COUNTS = ["attempts", "charged", "free", "unknown"]


def listed(sums, keys, counts):
    return sorted([*(row[key] for key in keys), *(row[count] for count in counts)] for row in sums.to_pylist())


rows = table(args.out / "liveness_detail", "usage_date", ["usage_date", "seq", "channel", "billing_tag", "is_need_charge"])
totals = {
    "rows": rows.num_rows,
    "seqs": pc.count_distinct(rows["seq"]).as_py(),
    "by_day_channel": by(rows, "usage_date", "channel"),
}
if (args.out / "daily_charge").is_dir():
    # Ours: tags as well, and the settled table.
    totals["by_day_tag"] = by(rows, "usage_date", "billing_tag")
    keys = ("usage_date", "billing_tag")
    daily = table(args.out / "daily_charge", "usage_month", [*keys, *COUNTS])
    sums = daily.group_by(list(keys)).aggregate([(name, "sum") for name in COUNTS])
    totals["daily_by_tag"] = listed(sums, keys, [f"{name}_sum" for name in COUNTS])
else:
    keys = ("usage_date", "channel")
    daily = ds.dataset(args.out / "daily.parquet", format="parquet").to_table()
    daily = pa.table({name: daily[name].cast(pa.string()) if name in TEXTS else daily[name] for name in daily.schema.names})
    totals["daily_by_channel"] = listed(daily, keys, COUNTS)
print(json.dumps(totals, ensure_ascii=False))
