"""DataFusion's part of the benchmark: result JSON to deduplicated rows of 14 columns, zstd Parquet by day, daily counts.

Run by bench.py; prints one line of JSON. See benches/README.md for what every contender must do.
"""

import concurrent.futures
import os

import peer

END = {"ndjson": ".ndjson", "small": ".json", "media": ".json"}


def schema():
    """Only the members that the rows need: Arrow's JSON reader skips what a schema does not name."""
    import pyarrow as pa

    detail = pa.struct(
        {
            "ReqTime": pa.string(),
            "Seq": pa.string(),
            "IsNeedCharge": pa.bool_(),
            "Errcode": pa.int32(),
            "Errmsg": pa.string(),
            "Livestatus": pa.int32(),
            "Livemsg": pa.string(),
            "Comparestatus": pa.int32(),
            "Comparemsg": pa.string(),
            "CompareLibType": pa.string(),
            "Sim": pa.string(),
            "LivenessMode": pa.int8(),
        }.items()
    )
    text = pa.struct([("Extra", pa.string()), ("LivenessDetail", pa.list_(detail))])
    return pa.schema([("Response", pa.struct([("Text", text)]))])


def json(context, args):
    """register_json over the folder. A compact object is one line too."""
    context.register_json("results", f"{args.data}/", schema=schema(), file_extension=END[args.shape])


def paths(args):
    return sorted(
        os.path.join(folder, name)
        for folder, _, names in os.walk(args.data)
        for name in names
        if name.endswith(END[args.shape])
    )


def arrow(context, args):
    """Python reads the objects on as many threads, and pyarrow parses them, batch by batch. For many objects:
    DataFusion opens each by itself."""
    import pyarrow as pa
    import pyarrow.json

    wanted = schema()
    found = paths(args)
    # Batches of about 16 MB bound the memory; pyarrow's own threads would come on top of ours.
    mean = sum(map(os.path.getsize, found[:: max(1, len(found) // 20)])) // 20 + 1
    step = max(1, min(len(found) // args.threads + 1, (16 << 20) // mean))

    def parse(batch):
        contents = []
        for path in batch:
            with open(path, "rb") as file:
                contents.append(file.read())
        text = b"\n".join(contents)
        table = pa.json.read_json(
            pa.BufferReader(text),
            read_options=pa.json.ReadOptions(use_threads=False, block_size=len(text) + 1),
            parse_options=pa.json.ParseOptions(explicit_schema=wanted, unexpected_field_behavior="ignore"),
        )
        return table.to_batches()

    batches = [found[at : at + step] for at in range(0, len(found), step)]
    with concurrent.futures.ThreadPoolExecutor(args.threads) as pool:
        parsed = list(pool.map(parse, batches))
    # One partition a thread, so that both work.
    partitions = [[batch for part in parsed[thread :: args.threads] for batch in part] for thread in range(args.threads)]
    context.register_record_batches("results", [partition for partition in partitions if partition])


READS = {"arrow": arrow, "json": json}

ROWS = """
SELECT arrow_cast(CAST((CAST(d['ReqTime'] AS BIGINT) + 28800000) / 86400000 AS INT), 'Date32') AS usage_date,
       arrow_cast(CAST(d['ReqTime'] AS BIGINT), 'Timestamp(Millisecond, None)') AS req_time,
       d['Seq'] AS seq, extra AS channel, d['IsNeedCharge'] AS is_need_charge, d['Errcode'] AS errcode,
       d['Errmsg'] AS errmsg, d['Livestatus'] AS livestatus, d['Livemsg'] AS livemsg,
       d['Comparestatus'] AS comparestatus, d['Comparemsg'] AS comparemsg, d['CompareLibType'] AS compare_lib_type,
       TRY_CAST(d['Sim'] AS DECIMAL(5, 2)) AS sim, d['LivenessMode'] AS liveness_mode
FROM (SELECT "Response"['Text']['Extra'] AS extra, unnest("Response"['Text']['LivenessDetail']) AS d FROM results)
"""
# How a Seq is made unique.
DEDUPES = {
    "distinct_on": "SELECT DISTINCT ON (seq) * FROM every",
    "row_number": "SELECT * EXCLUDE (n) FROM (SELECT *, row_number() OVER (PARTITION BY seq) AS n FROM every) WHERE n = 1",
    # The rows are kept in memory with a number each, and the least of a Seq says which of them stay.
    "semi": "SELECT * EXCLUDE (n) FROM every WHERE n IN (SELECT min(n) FROM every GROUP BY seq)",
}


def work(args):
    import datafusion

    how, dedupe, write = args.spelling.split("+")
    memory_bytes = peer.bytes_of(args.memory_max)
    config = (
        datafusion.SessionConfig({"datafusion.execution.parquet.compression": "zstd(3)"})
        .with_target_partitions(args.threads)
        .with_create_default_catalog_and_schema(True)
    )
    runtime = datafusion.RuntimeEnvBuilder().with_disk_manager_os().with_fair_spill_pool(memory_bytes)
    context = datafusion.SessionContext(config, runtime)
    READS[how](context, args)
    if dedupe == "semi":
        every = context.sql(f"SELECT *, row_number() OVER () AS n FROM ({ROWS})").cache()
    else:
        every = context.sql(ROWS)
    context.register_table("every", every)
    context.register_table("detail", context.sql(DEDUPES[dedupe]).cache())
    base = args.out / "liveness_detail"
    base.mkdir()
    if write == "by_day":
        days = context.sql("SELECT DISTINCT usage_date FROM detail ORDER BY 1").to_pydict()["usage_date"]
        for day in days:
            folder = base / f"usage_date={day}"
            folder.mkdir()
            context.sql(
                f"COPY (SELECT * EXCLUDE (usage_date) FROM detail WHERE usage_date = DATE '{day}') "
                f"TO '{folder}/' STORED AS PARQUET"
            ).collect()
    else:
        context.sql(f"COPY detail TO '{base}/' STORED AS PARQUET PARTITIONED BY (usage_date)").collect()
    context.sql(
        f"""COPY (SELECT usage_date, channel, count(*) AS attempts,
                         count(*) FILTER (WHERE is_need_charge) AS charged,
                         count(*) FILTER (WHERE NOT is_need_charge) AS free,
                         count(*) FILTER (WHERE is_need_charge IS NULL) AS unknown
                  FROM detail GROUP BY usage_date, channel ORDER BY usage_date, channel)
            TO '{args.out}/daily.parquet' STORED AS PARQUET"""
    ).collect()


# The fastest of each shape when this was written; `bench.py --spellings all` tries the others. `json` over 100,000
# small objects was not done after two minutes, and is left out of them.
BEST = {"ndjson": "json+semi+by_day", "small": "arrow+row_number+by_day", "media": "json+row_number+by_day"}
OTHERS = {
    "ndjson": [
        "json+row_number+by_day",
        "json+semi+by_day",
        "json+row_number+partition",
    ],
    "small": ["arrow+row_number+by_day", "arrow+semi+by_day", "arrow+distinct_on+by_day"],
    "media": ["json+row_number+by_day", "json+semi+by_day", "json+distinct_on+by_day", "arrow+row_number+by_day"],
}

if __name__ == "__main__":
    peer.main("datafusion", work, BEST, OTHERS, also=["pyarrow.json"])
