# make demo   install what a run needs, compare pruning methods on the embedded data set
# make test-versions   the part that depends on them, on the lowest and the newest versions
# make docs   the documentation as a site, in docs/_build/html
# make test   install what development needs, then lint, types, import contracts, tests
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
# Half of a core is what XLA gains from a second one on small networks: two workers gain more.
WORKERS ?= 2

# What changes most between versions of jax, flax and optax; the experiments only put it together.
FAST := tests/test_any_pytree.py tests/test_masks.py tests/allocation tests/test_checkpoint.py \
  tests/test_pruning.py tests/test_imports.py tests/training tests/criteria/test_criteria.py \
  tests/network/test_tracing.py tests/network/test_plan.py tests/data \
  tests/solvers/backends tests/neurons tests/spiking/test_layouts.py tests/spiking/test_measuring.py \
  tests/topology/test_metrics.py tests/topology/test_encoding.py

.PHONY: install demo test test-slow test-versions lint format bench docs gallery clean

install: .venv/.dev

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "prunejax needs Python >= 3.11; none was found on PATH. Name one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "making .venv with $(PYTHON) ..."
	@$(PYTHON) -m venv .venv

.venv/.runtime: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing prunejax (about half a minute) ..."
	@$(PIP) --editable '.[experiments]'
	@$(BIN)/python -m prunejax.sparse.native || true  # without a compiler all works, slower
	@touch $@

.venv/.dev: .venv/.runtime
	@echo "installing the development tools ..."
	@$(PIP) --editable '.[dev]'
	@touch $@

demo: .venv/.runtime
	@$(BIN)/prunejax compare

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# Tests of one file stay in one process, which makes what they share once. (Groups of tests would do
# it too, but pytest-xdist 3.8 does not see them under pytest 9.2, without a word.)
# Most of the tests' time is compiling, for which JAX has a switch of its own. Tests of what XLA's
# rewriting could change, rounding and ties above all, compile as users do.
BY_FILE := --dist loadfile --no-loadscope-reorder
AS_USERS := tests/filters tests/allocation

test: lint
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(BIN)/pytest -n $(WORKERS) $(BY_FILE) \
	  $(AS_USERS:%=--ignore=%)
	$(BIN)/pytest -n $(WORKERS) $(BY_FILE) $(AS_USERS)

# What takes longer: first the tests of some seconds (tests/long.txt), then those of minutes.
test-slow: .venv/.dev
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(BIN)/pytest -m "long and not slow" -n $(WORKERS) $(BY_FILE) \
	  $(AS_USERS:%=--ignore=%)
	$(BIN)/pytest -m "long and not slow" -n $(WORKERS) $(BY_FILE) $(AS_USERS)
	$(BIN)/pytest -m slow

NEWEST ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)

# The lowest versions that pyproject.toml allows, and the newest for the newest Python on PATH.
test-versions: .venv/.dev
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet uv
	@for each in lowest-direct highest; do \
	  python=$(BIN)/python; [ $$each = highest ] && python=$(NEWEST); \
	  echo "== $$each, $$($$python --version)"; \
	  $(BIN)/uv venv --quiet --clear --python "$$(command -v $$python)" .venv-$$each && \
	  VIRTUAL_ENV=.venv-$$each $(BIN)/uv pip install --quiet --resolution $$each --editable '.[dev]' && \
	  .venv-$$each/bin/python -c "import jax, flax, optax, numpy; from flax import nnx; \
	    print(*(f'{one.__name__} {one.__version__}' for one in (jax, flax, optax, numpy)))" && \
	  .venv-$$each/bin/python -m pytest -q $(FAST) || exit 1; \
	done

bench: .venv/.dev
	$(BIN)/python -m benchmarks

.venv/.docs: .venv/.runtime
	@$(PIP) --editable '.[docs]'
	@touch $@

# Notebooks run as the site is built; a warning is an error.
docs: .venv/.docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

# The site's figures, from their commands: half an hour on one core where nothing is recorded yet.
gallery: .venv/.runtime
	$(BIN)/python docs/gallery.py

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-* build dist *.egg-info
