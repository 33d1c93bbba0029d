"""What readers that are not ours make of the tables of a reconciliation: python bill.py OUTPUT. JSON on stdout."""

import json
import os
import sys

import duckdb
import polars as pl
import pyarrow.dataset as ds
from deltalake import DeltaTable

out = sys.argv[1]


def plain(table, partition):
    return f"{out}/{table}/{partition}=*/*.parquet"


def made(bill, rows, seqs):
    """Columns as lists of Python values."""
    return {
        "cost": str(sum(c for c in bill["cost"] if c is not None)),
        "lines": len(bill["cost"]),
        "months": sorted(set(map(str, bill["bill_month"]))),
        "difference": sum(rows["difference"]),
        "midnight": sum(rows["part_midnight"]),
        "rows": len(rows["difference"]),
        "statuses": sorted(set(seqs["status"])),
    }


TABLES = (("bill_line", "bill_month"), ("reconciliation", "usage_month"), ("seq_difference", "usage_month"))


def with_duckdb(table, partition):
    read = f"read_parquet('{plain(table, partition)}', hive_partitioning = true, hive_types_autocast = false)"
    told = duckdb.sql(f"SELECT * FROM {read}").arrow()
    return (told.read_all() if hasattr(told, "read_all") else told).to_pydict()


READERS = {
    "pyarrow": lambda table, partition: ds.dataset(f"{out}/{table}", partitioning=ds.partitioning(flavor="hive"), format="parquet",
                                                   exclude_invalid_files=True).to_table().to_pydict(),
    "duckdb": with_duckdb,
    "polars": lambda table, partition: pl.read_parquet(plain(table, partition), hive_partitioning=True, try_parse_hive_dates=False).to_dict(as_series=False),
    "delta": lambda table, partition: DeltaTable(f"{out}/{table}").to_pyarrow_dataset().to_table().to_pydict(),
}

print(json.dumps({name: made(*(read(*table) for table in TABLES)) for name, read in READERS.items()}))
# Some of these packages' threads do not end in order when the interpreter is taken apart.
sys.stdout.flush()
os._exit(0)
