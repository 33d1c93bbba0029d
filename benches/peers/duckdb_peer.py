"""DuckDB's part of the benchmark: result JSON to deduplicated rows of 14 columns, zstd Parquet by day, daily counts.

Run by bench.py; prints one line of JSON. See benches/README.md for what every contender must do.
"""

import peer

# Only the members that the rows need are named: the reader then skips the others, which is 2 to 4 times faster
# than letting it guess a schema of everything.
DETAIL = (
    "STRUCT(ReqTime VARCHAR, Seq VARCHAR, IsNeedCharge BOOLEAN, Errcode INTEGER, Errmsg VARCHAR, "
    "Livestatus INTEGER, Livemsg VARCHAR, Comparestatus INTEGER, Comparemsg VARCHAR, CompareLibType VARCHAR, "
    "Sim VARCHAR, LivenessMode TINYINT)"
)
TEXT = f"STRUCT(Extra VARCHAR, LivenessDetail {DETAIL}[])"
RESPONSE = f'STRUCT("Text" {TEXT})'
# The same, as json_transform wants it.
TEXT_TRANSFORM = (
    '{"Extra":"VARCHAR","LivenessDetail":[{"ReqTime":"VARCHAR","Seq":"VARCHAR","IsNeedCharge":"BOOLEAN",'
    '"Errcode":"INTEGER","Errmsg":"VARCHAR","Livestatus":"INTEGER","Livemsg":"VARCHAR","Comparestatus":"INTEGER",'
    '"Comparemsg":"VARCHAR","CompareLibType":"VARCHAR","Sim":"VARCHAR","LivenessMode":"TINYINT"}]}'
)

ROWS = """
SELECT CAST(make_timestamp_ms(CAST(d.ReqTime AS BIGINT) + 28800000) AS DATE) AS usage_date,
       make_timestamp_ms(CAST(d.ReqTime AS BIGINT)) AS req_time,
       d.Seq AS seq, extra AS channel, d.IsNeedCharge AS is_need_charge, d.Errcode AS errcode, d.Errmsg AS errmsg,
       d.Livestatus AS livestatus, d.Livemsg AS livemsg, d.Comparestatus AS comparestatus,
       d.Comparemsg AS comparemsg, d.CompareLibType AS compare_lib_type,
       TRY_CAST(d.Sim AS DECIMAL(5, 2)) AS sim, d.LivenessMode AS liveness_mode
FROM (SELECT t.Extra AS extra, unnest(t.LivenessDetail) AS d FROM ({texts}))
"""


def columns(data, pattern, form):
    """read_json with the wanted members as columns. Without auto_detect = false it looks for a schema that it
    does not need, and takes ten times as long."""
    return (
        f"SELECT Response.\"Text\" AS t FROM read_json('{data}/{pattern}', format = '{form}', auto_detect = false, "
        f"records = 'true', columns = {{Response: '{RESPONSE}'}})"
    )


def objects(data, pattern, form):
    """read_json_objects, then one from_json of Text."""
    return (
        f"SELECT from_json(json_extract(json, '$.Response.Text'), '{TEXT_TRANSFORM}') AS t "
        f"FROM read_json_objects('{data}/{pattern}', format = '{form}')"
    )


def whole_texts(data, pattern, _form):
    """read_text, then one json_transform of Text: for one result per object."""
    return (
        f"SELECT from_json(json_extract(content, '$.Response.Text'), '{TEXT_TRANSFORM}') AS t "
        f"FROM read_text('{data}/{pattern}')"
    )


READS = {"columns": columns, "objects": objects, "texts": whole_texts}
PATTERN = {"ndjson": "*/*/*.ndjson", "small": "*/*/*.json", "media": "*/*/*.json"}

# How a Seq is made unique.
DEDUPES = {
    "distinct_on": "SELECT DISTINCT ON (seq) * FROM ({rows})",
    "group": "SELECT unnest(r) FROM (SELECT any_value(r) AS r FROM ({rows}) AS r GROUP BY seq)",
}


def work(args):
    import duckdb

    read, dedupe, write = args.spelling.split("+")
    out = args.out.as_posix()
    form = "newline_delimited" if args.shape == "ndjson" else "auto"
    texts = READS[read](args.data.as_posix(), PATTERN[args.shape], form)
    rows = DEDUPES[dedupe].format(rows=ROWS.format(texts=texts))
    db = duckdb.connect(
        config={"threads": args.threads, "memory_limit": args.memory_max, "temp_directory": f"{out}.spill"}
    )
    db.execute("SET preserve_insertion_order = false")
    db.execute(f"CREATE TEMP TABLE detail AS {rows}")
    parquet = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3"
    if write == "by_day":
        for (day,) in db.execute("SELECT DISTINCT usage_date FROM detail ORDER BY 1").fetchall():
            folder = args.out / f"liveness_detail/usage_date={day}"
            folder.mkdir(parents=True)
            db.execute(
                f"COPY (SELECT * EXCLUDE usage_date FROM detail WHERE usage_date = DATE '{day}') "
                f"TO '{folder.as_posix()}/part.parquet' ({parquet})"
            )
    else:
        (args.out / "liveness_detail").mkdir(parents=True)
        db.execute(f"COPY detail TO '{out}/liveness_detail' ({parquet}, PARTITION_BY (usage_date), OVERWRITE_OR_IGNORE)")
    db.execute(
        f"""COPY (SELECT usage_date, channel, count(*) AS attempts,
                         count(*) FILTER (is_need_charge) AS charged,
                         count(*) FILTER (NOT is_need_charge) AS free,
                         count(*) FILTER (is_need_charge IS NULL) AS unknown
                  FROM detail GROUP BY ALL ORDER BY ALL) TO '{out}/daily.parquet' ({parquet})"""
    )


# The fastest of each shape when this was written; `bench.py --spellings all` tries the others.
BEST = {
    "ndjson": "columns+distinct_on+by_day",
    "small": "texts+distinct_on+by_day",
    "media": "texts+distinct_on+by_day",
}
OTHERS = {
    shape: [f"{read}+distinct_on+by_day" for read in ("columns", "objects", "texts") if (shape, read) != ("ndjson", "texts")]
    + [BEST[shape].replace("distinct_on", "group"), BEST[shape].replace("by_day", "partition")]
    for shape in BEST
}

if __name__ == "__main__":
    peer.main("duckdb", work, BEST, OTHERS)
