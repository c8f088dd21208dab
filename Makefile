# The daily commands. All of them work on a fresh clone: Python 3.11 or newer, pip and make are enough.
# `make demo PYTHON=python3.12` takes another interpreter, VENV=folder another virtual environment.

PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --quiet --disable-pip-version-check
PYTEST := $(PY) -m pytest
BENCH_VENV ?= .venv-bench
BENCH_PY := $(BENCH_VENV)/bin/python
BENCH_PIP := $(BENCH_PY) -m pip --quiet --disable-pip-version-check
# Bytecode is kept, that of the tests too: without, each of the processes that run tests spends seconds on making it.
export PYTHONDONTWRITEBYTECODE :=
# These need the machine for themselves, or share what they install.
ALONE := tests/chaos tests/conformance tests/schemathesis
# The longest of the others, a model of the dispatcher, is begun early: all else fits beside it.
OTHERS := tests/runpod_flash $(filter-out tests/runpod_flash $(ALONE),$(patsubst %/,%,$(wildcard tests/*/)))

.PHONY: help demo test test-full test-all check fix bench bench-table profile bench-scaling soak wheel clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST)

demo: $(VENV)/.stamp  ## the example of the README: palettes of two photographs, computed on two workers
	$(PY) examples/01_colour_palettes.py

test: $(VENV)/.stamp-dev  ## all tests but the slow ones, real control plane and workers included
	$(PYTEST) -n 3 --dist loadfile -m "not slow"

test-full: $(VENV)/.stamp-dev  ## the slow tests, and the acceptance tests once more by the published API alone
	$(PYTEST) -m slow $(ALONE)
	$(PYTEST) -m slow -n 2 --dist loadfile --no-loadscope-reorder $(OTHERS)
	$(PYTEST) tests/acceptance --published-only -n 3 --dist loadfile

test-all: $(VENV)/.stamp-dev  ## `make test` on every supported Python that this machine has
	@set -e; found=; \
	for version in 3.11 3.12 3.13; do \
	  python=$$($(PY) -m tests.support.pythons $$version) || { echo "Python $$version: not installed"; continue; }; \
	  echo "Python $$version: $$python"; found=1; \
	  $(MAKE) --no-print-directory test PYTHON=$$python VENV=.venv-$$version; \
	done; test -n "$$found"

check: $(VENV)/.stamp-dev  ## style, types, floors, import weight
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(PYTEST) -q tests/architecture/test_import_weight.py

fix: $(VENV)/.stamp-dev  ## what ruff can mend by itself
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

bench: $(BENCH_VENV)/.stamp  ## figures beside those of others, in about a quarter of an hour; ROWS=latency,arrays: some
	$(BENCH_PIP) install --force-reinstall --no-deps .
	$(BENCH_PY) -m benchmarks $(if $(ROWS),--rows $(ROWS))

bench-table: $(VENV)/.stamp-dev  ## table and pictures of docs/performance.md from benchmarks/results/bench.json; measures nothing
	$(PY) -m benchmarks --table

profile: $(BENCH_VENV)/.stamp  ## where the time of one call goes; writes docs/images/waterfall.svg
	$(BENCH_PIP) install --force-reinstall --no-deps .
	$(BENCH_PY) -m benchmarks.profile

bench-scaling: $(VENV)/.stamp-dev  ## the scaling rule under a million jobs, simulated; writes benchmarks/results
	$(PY) -m benchmarks.simulation

soak: $(VENV)/.stamp-dev  ## ten minutes of mixed load; writes docs/soak.md
	$(PY) -m tests.chaos.soak --minutes 10 --out docs

wheel: $(VENV)/.stamp-dev  ## build the wheel, install it into a fresh environment, make a call from outside the repository
	rm -rf dist
	$(PIP) wheel --no-deps --wheel-dir dist .
	$(PY) -m tests.support.wheels dist

clean:  ## remove what the other commands made here
	rm -rf $(VENV) $(BENCH_VENV) .venv-3.* dist examples/output .conformance .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.stamp: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else \
	  "Python 3.11, 3.12 or 3.13 is needed and this is " + sys.version.split()[0] + "; say: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --editable .
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp
	$(PIP) install --editable '.[dev]'
	@touch $@

# What is measured, and those that stand beside it. torch only where pip's find-links have a build: others are gigabytes.
$(BENCH_VENV)/.stamp: pyproject.toml benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_PIP) install --requirement benchmarks/requirements.txt .
	$(BENCH_PIP) install --no-index --no-deps torch 2>/dev/null && $(BENCH_PIP) install torch || \
	  echo "torch: no build is at hand, so its row will not be measured"
	@touch $@
