# make demo    everything from nothing to a scored night
# make test    set up what is missing and pass every check and test
# make deploy  put the flows of prefect.yaml on the server at PREFECT_API_URL
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
DEMO ?= demo-workspace

.PHONY: demo test check setup deploy faults quality public-night bench bench-check operations places clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; say which: make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): 2 GB, one to four minutes"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

demo: setup
	@$(BIN)/gradeline --home $(DEMO) demo

test: check

check: setup
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest

deploy: setup
	@test -n "$$PREFECT_API_URL" || \
		{ echo "Say where: make deploy PREFECT_API_URL=http://127.0.0.1:4200/api"; exit 1; }
	@for pool in gradeline gradeline-shards; do \
		$(BIN)/prefect work-pool inspect $$pool > /dev/null 2>&1 || \
		$(BIN)/prefect --no-prompt work-pool create $$pool --type process || exit 1; done
	$(BIN)/prefect --no-prompt deploy --all

# hours on two cores; what it found is kept in docs/faults.md
faults: setup
	cd tests && ../$(BIN)/python -m faults --kills 50 --keep ../docs/faults.json

quality: setup
	$(BIN)/python -m benchmarks.quality
	$(BIN)/python -m benchmarks.depths

public-night: setup
	$(BIN)/python -m benchmarks.public_night

$(BENCH_STAMP): $(STAMP)
	@echo "installing the rivals of the benchmark into $(VENV): 0.4 GB"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[bench]'
	@touch $(BENCH_STAMP)

bench: $(BENCH_STAMP)
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.sharing
	$(BIN)/python -m benchmarks.distillation

# a backfill of up to a million responses, and a night of 50,000: a quarter of an hour
operations: setup
	$(BIN)/python -m benchmarks.operations

# one plan scored in every place that can score; needs the extras ray and dask
places: setup
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[ray,dask]'
	$(BIN)/python -m benchmarks.places

bench-check: setup
	$(BIN)/python -m benchmarks.engine.check

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
