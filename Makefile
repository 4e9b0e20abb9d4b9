# Two commands for a fresh machine: `make run` serves, `make test` tests. Both install what they need first.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: help install run test lint bench lock clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

install: .venv/.installed  ## the environment, from requirements.lock as it is

.venv/.installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

run: install  ## serve on this machine
	@$(BIN)/mediaverse serve serve_config.yaml

lint: install  ## ruff, mypy, the import contracts, the shipped configuration
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mediaverse check serve_config.yaml

# Two at a time: the tests of the real service mostly wait, the others mostly compute.
test: lint  ## lint and test
	$(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder

bench: install  ## the measurements of docs/benchmarks.md; slow
	$(BIN)/python -m tests.benchmarks

lock: install  ## resolve pyproject.toml into requirements.lock anew
	$(BIN)/uv pip compile pyproject.toml --extra dev --generate-hashes --no-annotate --no-header -q -p 3.11 -o requirements.lock

clean:  ## remove the environment
	rm -rf .venv
