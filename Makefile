# Works with GNU make 3.81. Recipes quote what may hold spaces; targets are never paths with one.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
BIN = $(VENV)/bin
.PHONY: help setup setup-run run check test coverage bench bench-routing prove-money agents fuzz golden migrate lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: ## make the environment with everything that developing needs
	@PYTHON="$(PYTHON)" VENV="$(VENV)" bash tools/setup.sh dev

setup-run: ## make the environment with what running needs, no more
	@PYTHON="$(PYTHON)" VENV="$(VENV)" bash tools/setup.sh run

run: setup-run ## set up and start the whole product in test mode; ARGS="--port 9000" goes to it
	@exec "$(BIN)/jusinfer" serve $(ARGS)

check: setup ## format, lint, types, contracts, tidy and the quick tests: under a minute
	@VENV="$(VENV)" JOBS="$(JOBS)" bash tools/check.sh

test: setup ## every test
	@"$(BIN)/python" -m pytest tests -n "$(JOBS)"

coverage: setup ## every test, with branch coverage
	@"$(BIN)/python" -m coverage run -m pytest tests -n "$(JOBS)"
	@"$(BIN)/python" -m coverage combine --quiet && "$(BIN)/python" -m coverage report

bench: setup ## measure beside bare nginx; ARGS="--peers" adds other gateways, "--quick" is short
	@"$(BIN)/python" -m bench $(ARGS)

bench-routing: setup ## measure the router's rules on paired outcomes: ARGS="--data FOLDER"
	@"$(BIN)/python" -m bench.routing $(ARGS)

prove-money: setup ## three minutes of load, faults and kills, then the books; ARGS="--quick" is short
	@"$(BIN)/python" -m tools.prove_money $(ARGS)

agents: setup ## install real agents and run them against the product; ARGS="--all" or "--agent codex"
	@"$(BIN)/python" -m tools.agents $(ARGS)

fuzz: setup ## a minute of mutated upstream bytes, guided by what they reach; ARGS="--seconds 600"
	@"$(BIN)/python" -m tools.fuzz $(ARGS)

golden: setup ## write the golden files anew; the diff is the review
	@if [ -d tests/golden ]; then "$(BIN)/python" -m pytest tests/golden --golden; \
	else echo "golden: there are no golden files yet"; fi

migrate: setup-run ## bring the database to the present schema
	@"$(BIN)/jusinfer" migrate $(ARGS)

lock: ## pin every library anew, with hashes (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header pyproject.toml --extra build -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header pyproject.toml --extra build --extra dev -o requirements-dev.lock

clean: ## remove what commands made, except data and keys in .jusinfer
	@rm -rf -- "$(VENV)" .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis \
	  .coverage build dist
	@find src tests tools bench -name __pycache__ -type d -prune -exec rm -rf -- {} +
