"""Compares the tables of a life with those of one clean full refresh, read by pyarrow and by delta-rs.

Usage: soak.py FOLDER...   (each named by its seed, holding the outputs life/ and clean/)

For each, one line `SEED same: {counts}`, or lines `SEED: what differs`. Ends with 1 if anything differs.
"""

import datetime
import hashlib
import json
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

# Columns that tell how a row came to be and not what it says.
OF_THE_WAY = {"daily_charge": {"source_version"}, "rejects": {"run_id"}}
SHOWN_MAX = 5


def files(folder):
    """Data files as a reader of the plain folder finds them: by path."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(("_", "."))]
        found += [os.path.relpath(os.path.join(place, n), folder) for n in names if not n.startswith(("_", "."))]
    return sorted(found)


def plain(value):
    if isinstance(value, datetime.datetime):
        # Delta says microseconds, the files say milliseconds.
        return value.astimezone(datetime.timezone.utc).isoformat(timespec="milliseconds")
    if isinstance(value, list):
        parts = lambda each: {name: plain(part) for name, part in each.items()} if isinstance(each, dict) else each
        return json.dumps([parts(each) for each in value])
    return None if value is None else str(value)


def as_rows(table, more=None):
    rows = table.to_pylist()
    return [{name: plain(value) for name, value in {**row, **(more or {})}.items()} for row in rows]


def of_folder(folder):
    rows = []
    for path in files(folder):
        more = dict(part.split("=", 1) for part in path.split(os.sep)[:-1])
        more = {name: None if value == "__HIVE_DEFAULT_PARTITION__" else value for name, value in more.items()}
        rows += as_rows(pq.ParquetFile(os.path.join(folder, path)).read(), more)
    return rows


def of_delta(folder):
    return as_rows(DeltaTable(folder).to_pyarrow_table())


def sort(rows):
    return sorted(rows, key=lambda row: sorted((name, value or "") for name, value in row.items()))


def without(rows, columns):
    return [{name: value for name, value in row.items() if name not in columns} for row in rows]


def newest(rows):
    """Of `inputs`, what each key was when it was last loaded; run ids sort by time."""
    last = {}
    for row in rows:
        if row["key"] not in last or last[row["key"]]["run_id"] < row["run_id"]:
            last[row["key"]] = row
    columns = ("key", "size", "key_date", "last_modified", "rows_outside", "records", "rejects")
    return [{name: row[name] for name in columns} for row in last.values()]


def differences(what, a, b, names):
    a, b = sort(a), sort(b)
    if a == b:
        return
    keyed = [{tuple(sorted((k, v or "") for k, v in row.items())) for row in rows} for rows in (a, b)]
    for name, only, other in ((names[0], keyed[0] - keyed[1], keyed[1]), (names[1], keyed[1] - keyed[0], keyed[0])):
        for row in sorted(only)[:SHOWN_MAX]:
            yield f"{what}: only {name} holds {json.dumps(dict(row), ensure_ascii=False)}"
    yield f"{what}: {len(a)} rows of {names[0]}, {len(b)} of {names[1]}"


def knows_more(life, clean):
    """Whether a life knows of every pull that a clean load does."""
    pulls = [json.loads(row["earlier_pulls"] or "[]") for row in (life, clean)]
    return all(pull in pulls[0] for pull in pulls[1])


def forgotten(life, clean):
    """What objects that were written over said before is known to the tables of a life, and to nobody else: gives the
    rows of the clean load with what the life knows, and the days of these rows."""
    known = {row["seq"]: row for row in life}
    rows, days = [], set()
    for row in clean:
        lived = known.get(row["seq"])
        if lived and lived["earlier_pulls"] != row["earlier_pulls"] and knows_more(lived, row):
            days.add(row["usage_date"])
            row = {**row, "earlier_pulls": lived["earlier_pulls"]}
        rows.append(row)
    return rows, days


def compare(place):
    forgotten_days = set()
    life, clean = os.path.join(place, "life"), os.path.join(place, "clean")
    read = {}
    for table in ("liveness_detail", "daily_charge", "rejects", "inputs"):
        for name, output in (("life", life), ("clean", clean)):
            folder = os.path.join(output, table)
            log, found = of_delta(folder), of_folder(folder)
            yield from differences(f"{table} of {name}", found, log, ("the folder", "the log"))
            read[table, name] = log
        a, b = read[table, "life"], read[table, "clean"]
        if table == "inputs":
            a, b = newest(a), newest(b)
            listed = {(row["key"], row["size"]) for row in read["inputs", "clean"]}
            stored = {(key, str(size)) for key, size in objects(place)}
            if listed != stored:
                yield f"inputs: {sorted(listed ^ stored)[:SHOWN_MAX]} are in the source or in inputs, not in both"
        if table == "liveness_detail":
            b, forgotten_days = forgotten(a, b)
        dropped = OF_THE_WAY.get(table, set())
        yield from differences(table, without(a, dropped), without(b, dropped), ("life", "clean"))
    hashes = [
        {path: hashlib.sha256(open(os.path.join(output, "liveness_detail", path), "rb").read()).hexdigest()
         for path in files(os.path.join(output, "liveness_detail"))}
        for output in (life, clean)
    ]
    for path in sorted(set(hashes[0]) | set(hashes[1])):
        if path.split(os.sep)[0].removeprefix("usage_date=") in forgotten_days:
            continue
        if hashes[0].get(path) != hashes[1].get(path):
            yield f"liveness_detail: the bytes of {path} differ ({[path in h for h in hashes]})"
    seqs = [row["seq"] for row in read["liveness_detail", "life"]]
    if len(seqs) != len(set(seqs)):
        yield "liveness_detail: a Seq twice"
    COUNTS.update(
        rows=len(seqs),
        days_of_the_same_bytes=len({path.split(os.sep)[0] for path in hashes[1]}) - len(forgotten_days),
        days=len({row["usage_date"] for row in read["liveness_detail", "life"]}),
        rejects=len(read["rejects", "life"]),
        inputs=len(newest(read["inputs", "life"])),
    )


COUNTS = {}


def objects(place):
    source = os.path.join(place, "source")
    return [(path.replace(os.sep, "/"), os.path.getsize(os.path.join(source, path))) for path in files(source)]


def main(places):
    wrong = False
    for place in places:
        seed = os.path.basename(place)
        found = list(compare(place))
        wrong |= bool(found)
        for line in found:
            print(f"{seed}: {line}")
        if not found:
            print(f"{seed} same: {json.dumps(COUNTS)}")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
