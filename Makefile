# Each target does all that it needs on a new machine, from pip alone (kafka needs Java and Maven).
PYTHON ?= python3
BIN := .venv/bin
LOCKS := infra/requirements
COMPILE := $(BIN)/uv pip compile -q pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate
PINS := $(LOCKS)/.pins
LEFT := -q -rfE --passed=.venv/passed
# One process more than processors: a third of a fast test's time is waiting.
MORE = $(shell $(PYTHON) -c 'import os; print(os.cpu_count() + 1)')
COV := --cov --cov-report= --cov-fail-under=0

# Images of containers set it; here it would compile every test anew, in each process, each time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo fast format check test bench kafka lock
help: ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: .venv/compiled.done ## the virtual environment, from the lock, hashes checked; networks compiled for this CPU

.venv/installed: $(LOCKS)/dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Vigie needs Python 3.11 or newer: make PYTHON=…")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --require-hashes -r $(LOCKS)/dev.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# About a minute on two cores. Without a C++ compiler serving is eager, and slower; the command says so.
.venv/compiled.done: .venv/installed $(wildcard triage/models/*/model.toml) triage/packages/architectures.py triage/inference/compile.py
	$(BIN)/vigie models compile || echo 'networks run eagerly: see the lines above'
	touch $@

demo: setup ## a department's day, embedded, in one command
	$(BIN)/vigie demo

fast: .venv/installed ## style, imports and the tests that need no database, broker, torch or browser
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/lint-imports
	$(BIN)/pytest --fast -q -rfE --durations=5 -n $(MORE) --dist worksteal

format: .venv/installed ## layout and order of imports
	$(BIN)/ruff check --quiet --select I --fix .
	$(BIN)/ruff format .

check: .venv/installed ## style, layout, types, the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What has passed runs no more: first the fast set, with all the examples of its properties; then what is left, in the
# order of the files: those that wait for brokers and processes stand among those that compute. Days come last, alone.
# What failed among these is tried once more with nothing beside it, and must pass (decision 0045).
test: ## everything that CI runs, with coverage
	$(MAKE) -j2 setup check
	$(BIN)/pytest --fast $(LEFT) -n $(MORE) --dist worksteal --max-worker-restart=0 $(COV)
	$(BIN)/pytest $(LEFT) -m 'not alone' -n auto --dist loadfile --no-loadscope-reorder --max-worker-restart=0 $(COV) --cov-append \
		|| $(BIN)/pytest $(LEFT) -m 'not alone' $(COV) --cov-append
	$(BIN)/pytest $(LEFT) -m alone $(COV) --cov-append || $(BIN)/pytest $(LEFT) -m alone $(COV) --cov-append
	$(BIN)/coverage report --skip-covered

bench: setup ## ours beside the bare libraries, as ratios
	$(BIN)/vigie bench

kafka: setup ## a real Apache Kafka on loopback; prints its address
	$(BIN)/vigie kafka

lock: setup ## renew the locks: versions and hashes, never an address
	$(COMPILE) --upgrade --extra triage --extra onnx --extra train --extra simulate --extra dev -o $(LOCKS)/dev.lock
	sed -E '/--hash/d; s/ *\\$$//' $(LOCKS)/dev.lock > $(PINS)
	$(COMPILE) --extra triage -c $(PINS) -o $(LOCKS)/triage.lock
	$(COMPILE) -c $(PINS) -o $(LOCKS)/base.lock
	rm $(PINS)
