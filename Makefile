# The verbs of the house. `make run` and `make test` work as the first command on a fresh clone.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PEERS ?=

.PHONY: help install run test check docs parity soak bench clean

help:  ## list the verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

install: $(VENV)/ready  ## make .venv with the phi command in it (EXTRAS=json,gpu adds extras)
	@test -z "$(EXTRAS)" || $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS)]'

run: $(VENV)/ready  ## walk the whole road of recipe tiny into runs/tiny (about ten minutes)
	$(BIN)/phi run

test: $(VENV)/ready-test  ## the tests (PyPI packages alone, at most twelve minutes on two cores)
	$(BIN)/python -m pytest -n 2 --durations=15 $(ARGS)

check: $(VENV)/ready-test  ## style, types, layers, and that generated docs are fresh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check
	$(BIN)/python docs/site_pages.py

docs: $(VENV)/ready-test  ## generate the reference pages and the site of all pages (site/index.html)
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/site_pages.py

parity: $(VENV)/ready-test  ## the same answers as other tools, where those are at hand (docs/benchmarks.md says how)
	$(BIN)/python -m pytest -m parity -rs $(ARGS)

soak: $(VENV)/ready-test  ## the long checks: two whole runs of minute, many kills
	$(BIN)/python -m pytest -m slow $(ARGS)

bench: $(VENV)/ready-test  ## speed against peers: make bench PEERS="--peer nanogpt=PATH"
	$(BIN)/phi bench train $(PEERS)

clean:  ## remove the environment
	rm -rf $(VENV)

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(VENV)/ready-test: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
