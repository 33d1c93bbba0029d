"""Reads a folder of tables with pyarrow, DuckDB, Polars and delta-rs and prints, as JSON, what each of them makes of it.

Usage: interop.py OUTPUT

Output: {"engines": {name: {"types": {column: type}, "totals": [[usage_date, billing_tag, attempts, charged, free,
unknown], ...]}}, "charges": {name: [the same from daily_charge]}}. The test compares; nothing is decided here but that
a reader which fails, fails.
"""

import glob
import json
import os
import sys
from collections import defaultdict

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable

COLUMNS = ["usage_date", "req_time", "seq", "billing_tag", "is_need_charge", "errcode", "sim", "liveness_mode", "snapshot_final"]


def totals(rows):
    """rows: (usage_date, billing_tag, is_need_charge)"""
    sums = defaultdict(lambda: [0, 0, 0, 0])
    for day, tag, flag in rows:
        sum_ = sums[str(day), tag]
        sum_[0] += 1
        sum_[1 if flag is True else 2 if flag is False else 3] += 1
    return sorted([day, tag, *sum_] for (day, tag), sum_ in sums.items())


def of_arrow(table):
    rows = zip(*(table.column(c).to_pylist() for c in ("usage_date", "billing_tag", "is_need_charge")))
    return {"types": {c: str(table.schema.field(c).type) for c in COLUMNS}, "totals": totals(rows)}


def of_polars(frame):
    rows = frame.select("usage_date", "billing_tag", "is_need_charge").rows()
    return {"types": {c: str(frame.schema[c]) for c in COLUMNS}, "totals": totals(rows)}


def of_duckdb(relation):
    types = dict(zip(relation.columns, map(str, relation.types)))
    sums = relation.aggregate(
        "usage_date, billing_tag, count(*) AS attempts, count(*) FILTER (is_need_charge) AS charged, "
        "count(*) FILTER (NOT is_need_charge) AS free, count(*) FILTER (is_need_charge IS NULL) AS unknown"
    )
    return {
        "types": {c: types[c] for c in COLUMNS},
        "totals": sorted([str(day), *rest] for day, *rest in sums.fetchall()),
    }


def charges(rows):
    return sorted([str(day), *rest] for day, *rest in rows)


CHARGE = ["usage_date", "billing_tag", "attempts", "charged", "free", "unknown"]


def main(output):
    detail, daily = os.path.join(output, "liveness_detail"), os.path.join(output, "daily_charge")
    files = f"{detail}/**/*.parquet"
    assert glob.glob(files, recursive=True), f"no files at {files}"
    con = duckdb.connect()
    con.execute("SET threads = 1")
    hive = ds.partitioning(pa.schema([("usage_date", pa.date32())]), flavor="hive")
    delta = DeltaTable(detail)
    engines = {
        # The files as they lie there.
        "pyarrow": of_arrow(ds.dataset(detail, format="parquet", partitioning=hive, exclude_invalid_files=False).to_table()),
        "duckdb": of_duckdb(con.read_parquet(files, hive_partitioning=True)),
        "polars": of_polars(pl.scan_parquet(files, hive_partitioning=True, try_parse_hive_dates=True).collect()),
        "polars streaming": of_polars(pl.scan_parquet(files, hive_partitioning=True).collect(engine="streaming")),
        # Through the Delta log.
        "delta to pyarrow": of_arrow(delta.to_pyarrow_table()),
        "delta to polars": of_polars(pl.read_delta(detail)),
        "delta to duckdb": of_duckdb(con.from_arrow(delta.to_pyarrow_dataset())),
    }
    # One day of it, through each reader's own pruning.
    day = engines["pyarrow"]["totals"][0][0]
    pruned = {
        "pyarrow": ds.dataset(detail, format="parquet", partitioning=hive).count_rows(
            filter=ds.field("usage_date") == pa.scalar(day).cast(pa.date32())
        ),
        "duckdb": con.read_parquet(files, hive_partitioning=True).filter(f"usage_date = DATE '{day}'").aggregate("count(*)").fetchall()[0][0],
        "polars": pl.scan_parquet(files, hive_partitioning=True)
        .filter(pl.col("usage_date") == pl.lit(day).str.to_date())
        .select(pl.len())
        .collect()
        .item(),
        "delta": delta.to_pyarrow_dataset().count_rows(filter=ds.field("usage_date") == pa.scalar(day).cast(pa.date32())),
    }
    # A lookup by Seq, for which the files carry bloom filters.
    seq = delta.to_pyarrow_table(columns=["seq"]).column("seq")[0].as_py()
    found = con.execute(f"SELECT count(*) FROM read_parquet('{files}') WHERE seq = ?", [seq]).fetchall()[0][0]
    result = {
        "engines": engines,
        "charges": {
            "duckdb": charges(con.read_parquet(f"{daily}/**/*.parquet").select(*CHARGE).fetchall()),
            "polars": charges(pl.read_parquet(f"{daily}/**/*.parquet").select(CHARGE).rows()),
            "delta": charges(pl.read_delta(daily).select(CHARGE).rows()),
        },
        "pruned": {"day": day, "rows": pruned},
        "found_by_seq": found,
        "schema": {f.name: str(f.type) for f in delta.schema().fields},
        "others": {name: pl.read_delta(os.path.join(output, name)).height for name in ("rejects", "inputs") if os.path.isdir(os.path.join(output, name, "_delta_log"))},
    }
    json.dump(result, sys.stdout, ensure_ascii=False, default=str)


if __name__ == "__main__":
    main(sys.argv[1])
