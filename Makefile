# make demo   install what a run needs, compare pruning methods on the embedded data set
# make test   install what development needs, then lint, types, import contracts, tests
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
# Half of a core is what XLA gains from a second one on small networks: two workers gain more.
WORKERS ?= 2

.PHONY: install demo test test-slow lint format bench clean

install: .venv/.dev

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "prunejax needs Python >= 3.11; none was found on PATH. Name one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "making .venv with $(PYTHON) ..."
	@$(PYTHON) -m venv .venv

.venv/.runtime: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing prunejax (about half a minute) ..."
	@$(PIP) --editable .
	@touch $@

.venv/.dev: .venv/.runtime
	@echo "installing the development tools ..."
	@$(PIP) --editable '.[dev]'
	@touch $@

demo: .venv/.runtime
	@$(BIN)/python -m experiments.compare

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

test-slow: .venv/.dev
	$(BIN)/pytest -m slow

bench: .venv/.dev
	$(BIN)/python -m benchmarks

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist *.egg-info
