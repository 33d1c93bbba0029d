"""What the job costs at least, step by step: reading every byte, parsing it, encoding the rows. Run by bench.py.

    python benches/floor.py --data FOLDER/results --rows OUT/liveness_detail

Each on one thread, in CPU seconds, so that the sum stands beside the CPU seconds of a contender whatever its threads.
Prints one line of JSON. It is a floor of this way of doing it and no law: who skips media unread reads less than all,
who looks at the wanted members alone parses less than all.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import time

import pyarrow as pa
import pyarrow.parquet as pq

# Large enough that calls count for nothing.
CHUNK_BYTES = 16 << 20
ROW_GROUP_ROWS = 131_072


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="the folder with the result objects")
    parser.add_argument("--rows", type=pathlib.Path, help="Parquet that a contender wrote; without it encode is left out")
    args = parser.parse_args()
    paths = sorted(os.path.join(folder, name) for folder, _, names in os.walk(args.data) for name in names)
    found = {"read_cpu_seconds": read(paths), "parse_cpu_seconds": parse(paths)}
    if args.rows:
        found["encode_cpu_seconds"] = encode(args.rows)
    versions = {name: importlib.metadata.version(name) for name in ("pyarrow", "pysimdjson")}
    print(json.dumps({**found, "versions": versions}))


def read(paths):
    """Open, read to the end, close; into one buffer that stays where it is."""
    buffer = bytearray(CHUNK_BYTES)
    began = time.process_time()
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.process_time() - began


def parse(paths):
    """simdjson over each document: every byte is checked and every value is on its tape, none becomes an object of
    Python. The reading is not in it, finding the lines is."""
    import simdjson

    parser, seconds, documents = simdjson.Parser(), 0.0, 0
    for path in paths:
        for chunk in chunks(path):
            began = time.process_time()
            for line in chunk.split(b"\n") if path.endswith(".ndjson") else [chunk]:
                if line:
                    # Dropped at once: the parser takes no second document while the first is in use.
                    parser.parse(line)
                    documents += 1
            seconds += time.process_time() - began
    assert documents, "documents to parse"
    return seconds


def chunks(path):
    """The whole of an object, or whole lines of about CHUNK_BYTES."""
    with open(path, "rb", buffering=0) as file:
        if not path.endswith(".ndjson"):
            yield file.readall()
            return
        rest = b""
        while chunk := file.read(CHUNK_BYTES):
            end = chunk.rfind(b"\n") + 1
            if end:
                yield rest + chunk[:end]
                rest = chunk[end:]
            else:
                rest += chunk
        if rest:
            yield rest


def encode(folder):
    """pyarrow writes the same rows again, with the encodings that the files have, into memory."""
    seconds = 0.0
    for path in sorted(folder.glob("*/*.parquet")):
        file = pq.ParquetFile(path)
        columns = [file.metadata.row_group(0).column(at) for at in range(file.metadata.num_columns)]
        dictionary = [column.path_in_schema for column in columns if "RLE_DICTIONARY" in column.encodings]
        others = {}
        for column in columns:
            delta = [encoding for encoding in column.encodings if encoding.startswith("DELTA")]
            if column.path_in_schema not in dictionary and delta:
                others[column.path_in_schema] = delta[0]
        table = file.read()
        sink = pa.BufferOutputStream()
        began = time.process_time()
        pq.write_table(
            table,
            sink,
            compression="zstd",
            use_dictionary=dictionary,
            column_encoding=others or None,
            row_group_size=ROW_GROUP_ROWS,
        )
        seconds += time.process_time() - began
    return seconds


if __name__ == "__main__":
    main()
