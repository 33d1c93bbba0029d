# faceledger: `make help` lists what can be done here. CI calls the same targets.
.DEFAULT_GOAL := help
.PHONY: help run demo test soak check fmt bench bench-quick bench-reconcile bench-scale bench-start bench-s3 bench-check bench-baseline golden focus-check clean-out

# A fresh machine needs Rust (stable) and make. Python 3.9 or later is needed by the tests that read the
# tables with other programs; `make test` sets up what it needs of it in .venv. Node 18 or later and Chromium are needed
# by the test that opens the HTML report.
VENV := .venv
PYTHON := $(VENV)/bin/python
# Airflow pins its own hundred packages, so it has a folder of its own.
AIRFLOW_VENV := .venv-airflow
AIRFLOW_PYTHON := $(AIRFLOW_VENV)/bin/python
# The HTML report is opened in a headless Chromium, driven from Node 18 or later.
BROWSER := tests/browser/node_modules/.ready

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: ## build, load sample-data, show the daily charges
	cargo build --release --bin faceledger
	./target/release/faceledger run pipelines/sample.toml

demo: ## load the sample month, hold it against its bill, name the report
	cargo build --release --bin faceledger
	./target/release/faceledger run pipelines/demo.toml > /dev/null
	./target/release/faceledger reconcile pipelines/demo.toml --as-of 2025-01-01T09:00:00+08:00 \
		--bill sample-data/month/bill/100012345678-20241231-by_used_time-bill_details.zip \
		--bill sample-data/month/bill/wechat-bill-details.ndjson || test $$? -eq 4
	@echo "The report: out/demo/_reports/reconciliation-2024-12.html"

test: $(VENV)/.ready $(AIRFLOW_VENV)/.ready $(BROWSER) ## all tests, their own set-up included
	FACELEDGER_PYTHON=$(abspath $(PYTHON)) FACELEDGER_AIRFLOW_PYTHON=$(abspath $(AIRFLOW_PYTHON)) cargo test --locked

soak: $(VENV)/.ready ## many more of the thirty-day lives that `test` lives 20 of: SOAK_SEEDS of them, 200 unless told
	SOAK_SEEDS=$${SOAK_SEEDS:-200} FACELEDGER_PYTHON=$(abspath $(PYTHON)) cargo test --locked --test it -- --nocapture soak

check: ## formatting, lints, docs: warnings refused
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

fmt: ## format the code
	cargo fmt

# What is timed is the program as `make run` builds it. The data come from examples/generate.rs as `make test` builds it.
bench: $(VENV)/.ready-bench ## ours against chDB, DataFusion, DuckDB and Polars on the same data: medians, targets, totals checked
	cargo build --release --bin faceledger
	$(PYTHON) benches/bench.py $(BENCH_ARGS)

bench-quick: $(VENV)/.ready-bench ## the same on tiny data: does the benchmark itself work?
	cargo build --release --bin faceledger
	$(PYTHON) benches/bench.py --quick $(BENCH_ARGS)

bench-s3: target/slow_store ## many small objects over s3://, from a store on this machine that answers after 20 ms
	cargo build --release --bin faceledger
	python3 benches/s3.py $(BENCH_ARGS)

# By itself: as an example of the release build it would have the dependencies of the tests built anew.
target/slow_store: examples/slow_store.rs
	rustc -O --edition 2024 $< -o $@

bench-reconcile: $(VENV)/.ready-bench ## 10 M rows against 300,000 bill lines: seconds, peak memory; 12 GB of disk for a while
	cargo build --release --bin faceledger
	cargo build --example generate
	$(PYTHON) benches/reconcile.py $(BENCH_ARGS)

bench-scale: $(VENV)/.ready-bench ## ours at 1 and 10 times the data, with 1 and 2 threads, and over 1 M objects: 20 GB of disk for a while
	cargo build --release --bin faceledger
	$(PYTHON) benches/scale.py scale $(BENCH_ARGS)

bench-start: $(VENV)/.ready-bench ## how long --help takes, and a run over 100,000 known objects
	cargo build --release --bin faceledger
	$(PYTHON) benches/scale.py start $(BENCH_ARGS)

# These two need valgrind and any Python 3, no package.
bench-check: ## instructions on small fixed inputs against benches/baseline.json: fails if slower; needs valgrind
	cargo build --release --bin faceledger
	python3 benches/check.py $(BENCH_ARGS)

bench-baseline: ## make the counts of this build the baseline of `bench-check`: commit it with the reason
	cargo build --release --bin faceledger
	python3 benches/check.py --write $(BENCH_ARGS)

# Not part of `test`: the validator needs Python 3.12 or newer (FOCUS_BASE_PYTHON=…; seen to pass with 3.13.5) and packages older than the other tests'.
FOCUS_VENV := .venv-focus
FOCUS_BASE_PYTHON ?= python3.12
focus-check: $(FOCUS_VENV)/.ready ## hold `export --format focus` against the official FOCUS 1.2 validator; needs Python 3.12 or newer
	FACELEDGER_FOCUS_PYTHON=$(abspath $(FOCUS_VENV)/bin/python) cargo test --locked --test it -- --ignored the_official_validator

golden: ## rewrite what the tests expect (schemas/pipeline.schema.json, tests/cases/*): review the diff like code
	GOLDEN=1 cargo test --locked --test it -- golden the_schema_in_the_folder

clean-out: ## delete what `make run` wrote
	rm -rf out

$(VENV)/.ready: tests/requirements.txt
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

# Apart from those of the tests: the engines of the benchmark are 1 GB.
$(VENV)/.ready-bench: benches/requirements.txt $(VENV)/.ready
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

$(FOCUS_VENV)/.ready: tests/focus-requirements.txt
	$(FOCUS_BASE_PYTHON) -m venv $(FOCUS_VENV)
	$(FOCUS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

# Chromium and fonts where they are missing (as root on Debian), then `npm ci`.
$(BROWSER): tests/browser/package-lock.json tests/browser/setup.sh
	tests/browser/setup.sh
	touch $@

$(AIRFLOW_VENV)/.ready: tests/airflow-requirements.txt
	python3 -m venv $(AIRFLOW_VENV)
	$(AIRFLOW_PYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	touch $@
