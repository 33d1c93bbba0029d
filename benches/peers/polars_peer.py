"""Polars' part of the benchmark: result JSON to deduplicated rows of 14 columns, zstd Parquet by day, daily counts.

Run by bench.py; prints one line of JSON. See benches/README.md for what every contender must do.
"""

import concurrent.futures
import os

import peer


def schemas(pl):
    """Only the members that the rows need: Polars skips what a schema does not name."""
    detail = pl.Struct(
        {
            "ReqTime": pl.String,
            "Seq": pl.String,
            "IsNeedCharge": pl.Boolean,
            "Errcode": pl.Int32,
            "Errmsg": pl.String,
            "Livestatus": pl.Int32,
            "Livemsg": pl.String,
            "Comparestatus": pl.Int32,
            "Comparemsg": pl.String,
            "CompareLibType": pl.String,
            "Sim": pl.String,
            "LivenessMode": pl.Int8,
        }
    )
    text = pl.Struct({"Extra": pl.String, "LivenessDetail": pl.List(detail)})
    return text, pl.Struct({"Text": text})


def scan(pl, files, _threads):
    """scan_ndjson over the files; a compact object is one line too. Three times slower than `lines`."""
    _, response = schemas(pl)
    frame = pl.scan_ndjson(files, schema={"Response": response}, low_memory=True)
    return frame.select(pl.col("Response").struct.field("Text"))


def lines(pl, files, _threads):
    """scan_lines, then str.json_decode."""
    _, response = schemas(pl)
    document = pl.Struct({"Response": response})
    return pl.scan_lines(files).select(
        pl.col("line").str.json_decode(document).struct.field("Response").struct.field("Text")
    )


def read(pl, files, threads):
    """Python reads the objects on as many threads, then str.json_decode. For many objects: Polars opens files
    one by one, and slowly."""
    _, response = schemas(pl)
    document = pl.Struct({"Response": response})

    def parse(batch):
        contents = []
        for path in batch:
            with open(path, "rb") as file:
                contents.append(file.read())
        line = pl.Series("line", contents, dtype=pl.Binary).cast(pl.String)
        return line.str.json_decode(document).struct.unnest().select(pl.col("Response").struct.field("Text"))

    # Batches of about 64 MB bound the memory.
    mean = sum(map(os.path.getsize, files[:: max(1, len(files) // 20)])) // 20 + 1
    step = max(1, min(len(files) // threads + 1, (64 << 20) // mean))
    batches = [files[at : at + step] for at in range(0, len(files), step)]
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        frames = list(pool.map(parse, batches))
    return pl.concat(frames).lazy()


READS = {"lines": lines, "read": read, "scan": scan}


def rows(pl, texts):
    field = pl.col("LivenessDetail").struct.field
    ms = field("ReqTime").cast(pl.Int64)
    return (
        texts.unnest("Text")
        .explode("LivenessDetail")
        .select(
            usage_date=(ms + 28_800_000).cast(pl.Datetime("ms")).dt.date(),
            req_time=ms.cast(pl.Datetime("ms")),
            seq=field("Seq"),
            channel="Extra",
            is_need_charge=field("IsNeedCharge"),
            errcode=field("Errcode"),
            errmsg=field("Errmsg"),
            livestatus=field("Livestatus"),
            livemsg=field("Livemsg"),
            comparestatus=field("Comparestatus"),
            comparemsg=field("Comparemsg"),
            compare_lib_type=field("CompareLibType"),
            sim=field("Sim").cast(pl.Decimal(5, 2), strict=False),
            liveness_mode=field("LivenessMode"),
        )
        .unique("seq", keep="any")
    )


def work(args):
    import polars as pl

    how, _, rest = args.spelling.partition("+")
    engine, _, write = rest.partition("+")
    end = ".ndjson" if args.shape == "ndjson" else ".json"
    files = [
        os.path.join(folder, name)
        for folder, _, names in os.walk(args.data)
        for name in names
        if name.endswith(end)
    ]
    frame = rows(pl, READS[how](pl, sorted(files), args.threads)).collect(engine=engine)
    options = {"compression": "zstd", "compression_level": 3}
    base = args.out / "liveness_detail"
    base.mkdir()
    if write == "sink":
        frame.lazy().sink_parquet(pl.PartitionBy(base, key="usage_date", include_key=False), **options)
    else:
        for (day,), part in frame.partition_by("usage_date", as_dict=True, include_key=False).items():
            folder = base / f"usage_date={day}"
            folder.mkdir()
            part.write_parquet(folder / "part.parquet", **options)
    charge = pl.col("is_need_charge")
    frame.group_by("usage_date", "channel").agg(
        attempts=pl.len().cast(pl.Int64),
        charged=charge.sum().cast(pl.Int64),
        free=(~charge).sum().cast(pl.Int64),
        unknown=charge.is_null().sum().cast(pl.Int64),
    ).sort("usage_date", "channel").write_parquet(args.out / "daily.parquet", **options)


# The fastest of each shape when this was written; `bench.py --spellings all` tries the others.
BEST = {"ndjson": "lines+streaming+days", "small": "read+streaming+days", "media": "lines+streaming+days"}
OTHERS = {
    "ndjson": ["lines+streaming+days", "lines+streaming+sink", "lines+in-memory+days", "scan+streaming+days"],
    "small": ["read+streaming+days", "read+in-memory+days", "lines+streaming+days", "scan+streaming+days"],
    "media": ["lines+streaming+days", "read+streaming+days", "scan+streaming+days"],
}

if __name__ == "__main__":
    peer.main("polars", work, BEST, OTHERS)
