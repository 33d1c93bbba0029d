# faceledger: `make help` lists what can be done here. CI calls the same targets.
.DEFAULT_GOAL := help
.PHONY: help run test soak check fmt bench bench-quick bench-s3 golden clean-out

# A fresh machine needs Rust (stable) and make. Python 3.9 or later is needed by the tests that read the
# tables with other programs; `make test` sets up what it needs of it in .venv.
VENV := .venv
PYTHON := $(VENV)/bin/python
REQUIREMENTS := tests/requirements.txt benches/requirements.txt
# Airflow pins its own hundred packages, so it has a folder of its own.
AIRFLOW_VENV := .venv-airflow
AIRFLOW_PYTHON := $(AIRFLOW_VENV)/bin/python

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: ## build, load sample-data, show the daily charges
	cargo build --release --bin faceledger
	./target/release/faceledger run pipelines/sample.toml

test: $(VENV)/.ready $(AIRFLOW_VENV)/.ready ## all tests, their own set-up included
	FACELEDGER_PYTHON=$(abspath $(PYTHON)) FACELEDGER_AIRFLOW_PYTHON=$(abspath $(AIRFLOW_PYTHON)) cargo test --locked

soak: $(VENV)/.ready ## many more of the thirty-day lives that `test` lives 20 of: SOAK_SEEDS of them, 200 unless told
	SOAK_SEEDS=$${SOAK_SEEDS:-200} FACELEDGER_PYTHON=$(abspath $(PYTHON)) cargo test --locked --test it -- --nocapture soak

check: ## formatting, lints, docs: warnings refused
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

fmt: ## format the code
	cargo fmt

bench: $(VENV)/.ready ## ours against DuckDB and Polars on the same data: medians, ratios, totals checked
	cargo build --release --bin faceledger --example generate
	$(PYTHON) benches/bench.py $(BENCH_ARGS)

bench-quick: $(VENV)/.ready ## the same on tiny data: does the benchmark itself work?
	cargo build --release --bin faceledger --example generate
	$(PYTHON) benches/bench.py --quick $(BENCH_ARGS)

bench-s3: ## many small objects over s3://, from a store on this machine that answers after 20 ms
	cargo build --release --bin faceledger --example slow_store
	python3 benches/s3.py $(BENCH_ARGS)

golden: ## rewrite what the tests expect (schemas/pipeline.schema.json, tests/cases/*): review the diff like code
	GOLDEN=1 cargo test --locked --test it -- golden the_schema_in_the_folder

clean-out: ## delete what `make run` wrote
	rm -rf out

$(VENV)/.ready: $(REQUIREMENTS)
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check $(addprefix -r ,$(REQUIREMENTS))
	touch $@

$(AIRFLOW_VENV)/.ready: tests/airflow-requirements.txt
	python3 -m venv $(AIRFLOW_VENV)
	$(AIRFLOW_PYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	touch $@
