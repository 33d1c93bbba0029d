"""Holds a FOCUS CSV against the official validator (focus-validator, FOCUS 1.2); fails with what it finds.

A CSV has no types, and the validator's reader takes an account's digits for a number. So the file is read here with the
types that the specification gives its columns, exactly, and handed on as Parquet.
"""

import contextlib
import csv
import io
import os
import re
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

# Whether a charge has an invoice yet is not in the file: the validator wants one named as if it always had.
NOT_KNOWN = {"InvoiceId-C-005-C"}

DECIMAL = re.compile(r"(Cost|UnitPrice|Quantity)$")
TIME = re.compile(r"Period(Start|End)$")


def table(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows, "no rows"
    columns = {}
    for name in rows[0]:
        cells = [row[name] or None for row in rows]
        if DECIMAL.search(name):
            cells = [None if cell is None else Decimal(cell) for cell in cells]
            columns[name] = pa.array(cells, pa.decimal128(38, 8))
        else:
            assert not TIME.search(name) or all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", c) for c in cells)
            columns[name] = pa.array(cells, pa.string())
    return pa.table(columns)


def main():
    import focus_validator
    from focus_validator import main as validator

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "focus.parquet"
        pq.write_table(table(sys.argv[1]), file)
        # It looks for its list of currencies below the working folder.
        os.chdir(Path(focus_validator.__file__).parent.parent)
        sys.argv = ["focus-validator", "--data-file", str(file), "--validate-version", "1.2", "--focus-dataset",
                    "CostAndUsage", "--block-download", "--show-violations"]
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            try:
                validator.main()
                status = 0
            except SystemExit as ended:
                status = ended.code or 0
    text = said.getvalue()
    passed = len(re.findall(r": PASS\b", text))
    failed = [line for line in text.splitlines() if re.search(r": (FAIL|ERROR)\b", line)]
    failed = [line for line in failed if not any(f"{rule}:" in line for rule in NOT_KNOWN)]
    print(f"{passed} passed, {len(failed)} failed")
    if failed or status not in (0, 1) or passed < 100:
        print("\n".join(failed) or text)
        sys.exit(1)


main()
