"""chDB's part of the benchmark (ClickHouse in the process): result JSON to deduplicated rows of 14 columns, zstd
Parquet by day, daily counts.

Run by bench.py; prints one line of JSON. See benches/README.md for what every contender must do.
"""

import concurrent.futures
import os

import peer

PATTERN = {"ndjson": "*/*/*.ndjson", "small": "*/*/*.json", "media": "*/*/*.json"}


def text_type(words):
    """Of Text only the members that the rows need; ClickHouse skips what a type does not name. `words` is the type
    of strings with few values."""
    return (
        f"Tuple(Extra {words}, LivenessDetail Array(Tuple(ReqTime String, Seq String, IsNeedCharge Nullable(Bool), "
        f"Errcode Nullable(Int32), Errmsg {words}, Livestatus Nullable(Int32), Livemsg {words}, "
        f"Comparestatus Nullable(Int32), Comparemsg {words}, CompareLibType {words}, Sim Nullable(String), "
        "LivenessMode Nullable(Int8))))"
    )


def extracted(source, words):
    return f"SELECT JSONExtract(json, 'Response', 'Text', '{text_type(words)}') AS t FROM {source}"


def lines(args, words):
    """A line is a String, then one JSONExtract of Text. A compact object is one line too."""
    return extracted(f"file('{args.data}/{PATTERN[args.shape]}', LineAsString, 'json String')", words)


def documents(args, words):
    """The same over JSONAsString, which finds the end of each document by its brackets."""
    return extracted(f"file('{args.data}/{PATTERN[args.shape]}', JSONAsString, 'json String')", words)


def blobs(args, words):
    """The same over RawBLOB: an object is one String, whatever is in it."""
    return extracted(f"file('{args.data}/{PATTERN[args.shape]}', RawBLOB, 'json String')", words)


def columns(args, words):
    """JSONEachRow with the wanted members as nested tuples: what the manual shows first."""
    return (
        f"SELECT Response.Text AS t FROM file('{args.data}/{PATTERN[args.shape]}', JSONEachRow, "
        f"'Response Tuple(Text {text_type(words)})')"
    )


def read(args, words):
    """Python reads the objects on as many threads and hands an Arrow table over. For many objects: file() opens
    each with a pipeline of its own."""
    import pyarrow as pa

    def contents(paths):
        found = []
        for path in paths:
            with open(path, "rb") as file:
                found.append(file.read())
        return pa.array(found, pa.binary()).cast(pa.string())

    paths = sorted(
        os.path.join(folder, name) for folder, _, names in os.walk(args.data) for name in names if name.endswith(".json")
    )
    step = max(1, -(-len(paths) // (8 * args.threads)))
    with concurrent.futures.ThreadPoolExecutor(args.threads) as pool:
        parts = list(pool.map(contents, (paths[at : at + step] for at in range(0, len(paths), step))))
    # chDB finds the table by its name among the globals.
    globals()["objects_read"] = pa.table({"json": pa.chunked_array(parts)})
    return extracted("Python(objects_read)", words)


READS = {"blobs": blobs, "columns": columns, "documents": documents, "lines": lines, "read": read}
# The type of strings with few values.
WORDS = {"plain": "Nullable(String)", "dictionary": "LowCardinality(Nullable(String))"}

ROWS = """
SELECT CAST(intDiv(toInt64(d.ReqTime) + 28800000, 86400000) AS Date32) AS usage_date,
       fromUnixTimestamp64Milli(toInt64(d.ReqTime), 'UTC') AS req_time,
       d.Seq AS seq, t.Extra AS channel, d.IsNeedCharge AS is_need_charge, d.Errcode AS errcode, d.Errmsg AS errmsg,
       d.Livestatus AS livestatus, d.Livemsg AS livemsg, d.Comparestatus AS comparestatus,
       d.Comparemsg AS comparemsg, d.CompareLibType AS compare_lib_type,
       toDecimal32OrNull(d.Sim, 2) AS sim, d.LivenessMode AS liveness_mode
FROM ({texts}) ARRAY JOIN t.LivenessDetail AS d
"""
NAMES = (
    "usage_date req_time seq channel is_need_charge errcode errmsg livestatus livemsg comparestatus comparemsg "
    "compare_lib_type sim liveness_mode"
).split()

# How a Seq is made unique.
DEDUPES = {
    "limit_by": "SELECT * FROM ({rows}) LIMIT 1 BY seq",
    "any": "SELECT "
    + ", ".join(f"r.{at} AS {name}" for at, name in enumerate(NAMES, 1))
    + " FROM (SELECT any(tuple("
    + ", ".join(NAMES)
    + ")) AS r FROM ({rows}) GROUP BY seq)",
}


def work(args):
    from chdb import session

    how, words, dedupe = args.spelling.split("+")
    memory_bytes = peer.bytes_of(args.memory_max)
    out = args.out.as_posix()
    db = session.Session()
    # toDecimal32OrNull of a null is null; the rest of the settings is about resources and files.
    for setting in (
        f"max_threads = {args.threads}",
        f"max_insert_threads = {args.threads}",
        f"max_memory_usage = {memory_bytes}",
        f"max_bytes_before_external_group_by = {memory_bytes // 2}",
        "output_format_parquet_compression_method = 'zstd'",
        "engine_file_allow_create_multiple_files = 0",
    ):
        db.query(f"SET {setting}")
    rows = DEDUPES[dedupe].format(rows=ROWS.format(texts=READS[how](args, WORDS[words])))
    db.query("CREATE DATABASE IF NOT EXISTS bench ENGINE = Atomic")
    db.query(f"CREATE TABLE bench.detail ENGINE = Memory AS {rows}")
    base = args.out / "liveness_detail"
    base.mkdir()
    days = str(db.query("SELECT DISTINCT usage_date FROM bench.detail ORDER BY 1", "TSV")).split()
    for day in days:
        (base / f"usage_date={day}").mkdir()
        # PARTITION BY would do it in one statement, but writes usage_date into the files as well.
        db.query(
            f"INSERT INTO FUNCTION file('{out}/liveness_detail/usage_date={day}/part.parquet', Parquet) "
            f"SELECT * EXCEPT usage_date FROM bench.detail WHERE usage_date = '{day}'"
        )
    db.query(
        f"""INSERT INTO FUNCTION file('{out}/daily.parquet', Parquet)
            SELECT usage_date, channel, toInt64(count()) AS attempts,
                   toInt64(countIf(is_need_charge)) AS charged, toInt64(countIf(NOT is_need_charge)) AS free,
                   toInt64(countIf(is_need_charge IS NULL)) AS unknown
            FROM bench.detail GROUP BY usage_date, channel ORDER BY usage_date, channel"""
    )


# The fastest of each shape when this was written; `bench.py --spellings all` tries the others. `blobs` over small
# objects takes 40 times as long as `read` and is left out of them.
BEST = {"ndjson": "lines+dictionary+limit_by", "small": "read+dictionary+limit_by", "media": "columns+plain+limit_by"}
OTHERS = {
    "ndjson": [
        "lines+dictionary+limit_by",
        "lines+plain+limit_by",
        "columns+plain+limit_by",
        "columns+dictionary+limit_by",
        "documents+dictionary+limit_by",
        "lines+dictionary+any",
    ],
    "small": ["read+dictionary+limit_by", "read+plain+limit_by", "read+dictionary+any"],
    "media": [
        "columns+plain+limit_by",
        "lines+plain+limit_by",
        "blobs+plain+limit_by",
        "columns+plain+any",
        "read+plain+limit_by",
    ],
}

if __name__ == "__main__":
    peer.main("chdb", work, BEST, OTHERS, also=["pyarrow"])
