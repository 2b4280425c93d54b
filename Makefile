# Everything here needs only Python 3.11 or newer, make, bash and git; the rest is installed.
# PYTHON=python3.13 chooses the Python. ARGS="-k merkle" goes to pytest or the bench.

PYTHON ?=
ARGS ?=
export PYTHON

BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help venv demo test bench simulate traces screenshots pyz lock clean
.PHONY: check check-format check-lint check-types check-source

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' Makefile

demo: ## two village boxes on this computer trade with each other (ONCE=1: one trade, then stop)
	@build/venv runtime
	@$(BIN)/village-edge demo $(if $(ONCE),--once) $(ARGS)

test: ## all tests, as CI runs them
	@build/system-packages chromium curl systemd golang-go golang-golang-x-mod-dev
	@build/venv dev
	@$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile $(ARGS)

check: check-format check-lint check-types check-source ## format, lint, types, and the source as text

check-format: venv
	@$(BIN)/ruff format --check

check-lint: venv
	@$(BIN)/ruff check

check-types: venv
	@$(BIN)/mypy

check-source: venv
	@$(BIN)/python -m pytest --quiet tests/unit/test_architecture.py

bench: venv ## how fast it is, against its aims
	-@build/system-packages wrk
	@$(BIN)/python -m tests.bench $(ARGS)

simulate: venv ## hostile federations in one process, each from a seed (SEEDS=2000; SEED=123 TRACE=1)
	@SEEDS=$(SEEDS) SEED=$(SEED) PLAN='$(PLAN)' TRACE=$(TRACE) $(BIN)/python -m tests.simulation

traces: venv ## the same seeds on another Python (OTHER=python3.13) must be the same stories
	@build/traces $(or $(OTHER),python3.13)

screenshots: ## a picture of every page, for a phone and a screen, light and dark, in screenshots/
	@build/system-packages chromium
	@build/venv dev
	@$(BIN)/python -m tests.browser.screenshots screenshots $(ARGS)

pyz: venv ## the box as one file in dist/, for this Python and this kind of machine
	@build/pyz

venv: ## bring .venv up to date with the locks
	@build/venv dev

lock: ## remake the locks after a change of dependencies (UPGRADE=1: newest of everything)
	@PYTHON=$$(build/python) UPGRADE=$(UPGRADE) build/lock

clean: ## remove what the other targets made
	rm -rf .venv .venv-other .bench .hypothesis .mypy_cache .pytest_cache .ruff_cache dist screenshots
	find edge tests -name __pycache__ -prune -exec rm -rf {} +
