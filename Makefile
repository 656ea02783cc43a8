# Two commands matter: `make demo` shows the whole life of a deployment, `make test` runs the tests.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$p; break; }; done)
BIN := .venv/bin
LAB ?= default
MEASURED := $(BIN)/coverage run -m pytest

.DEFAULT_GOAL := help
.PHONY: help install lock check-python demo demo-svg lab lab-load lab-down format lint types test test-all test-long \
	coverage chaos more-versions test-versions docs-resources bench bench-replication bench-switch bench-network clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-18s %s\n", $$1, $$2}'

check-python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed (with venv); none was found: install it, or call make PYTHON=/path/to/python3"; exit 1; }

install: .venv/.installed ## install the pinned dependencies and the command `bluegreen` into .venv

.venv/.installed: requirements.lock pyproject.toml | check-python
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Versions that the lock has stay as they are unless UPGRADE names the package; `--universal` and the
# lowest Python that pyproject.toml allows make one lock for every platform and version.
lock: install ## pin what pyproject.toml asks for, with hashes; UPGRADE="moto rich" takes newer ones
	@$(BIN)/uv pip compile --quiet pyproject.toml --group lab --group dev --group build --group lock \
		--universal --python-version 3.11 --generate-hashes $(addprefix --upgrade-package ,$(UPGRADE)) \
		--custom-compile-command "make lock" --output-file requirements.lock

demo: check-python ## the life of a deployment in the lab, under load, in a few minutes; DNS_DELAY=5 as Route 53 takes
	@started=$$(date +%s); lab/check && $(MAKE) --no-print-directory install && \
	LAB_SETUP_STARTED=$$started $(BIN)/python -m lab.demo --name demo $(if $(DNS_DELAY),--dns-delay $(DNS_DELAY))

demo-svg: install ## the demo, its output drawn into docs/demo.svg
	@$(BIN)/python -m lab.demo --name svg --svg docs/demo.svg

lab: install ## start a lab that stays; prints the line that enters it
	@$(BIN)/python -m lab up --name $(LAB)

lab-load: install ## seed that lab and put clients on its writer, until Ctrl-C
	@$(BIN)/python -m lab load --name $(LAB)

lab-down: install ## end the lab that `make lab` started
	@$(BIN)/python -m lab down --name $(LAB)

format: install ## format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: install ## check format, lint and the order of imports
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/lint-imports --no-logo

types: install ## check types, strictly
	@$(BIN)/mypy

test: lint types ## lint, types and every test that is not slow
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not long"

chaos: install ## random faults in switches without end: SECONDS=3600, SEED= replays
	@$(BIN)/python -m tests.chaos --seconds $(or $(SECONDS),3600) --seed $(or $(SEED),0)

# Breadth over versions and names, most of it written for a master user who is a superuser, as it is
# on 14 and 15 anyway; `make test` is in Aurora mode.
test-all: more-versions ## fetch those, then the slow tests; what measures runs by itself
	@LAB_AURORA=$${LAB_AURORA:-off} $(BIN)/python -m pytest -n 2 --dist worksteal -m "slow and not alone and not long"
	@LAB_AURORA=$${LAB_AURORA:-off} $(BIN)/python -m pytest -m "slow and alone"

# Measured, all is slower, so what measures times may fail here: the report is made all the same.
coverage: more-versions ## run both again, measured: fails under 95 % of the lines and branches where rows could be lost
	@rm -rf .coverage
	-@$(MEASURED) -n 2 --dist worksteal -m "not slow and not long"
	-@$(MEASURED) -n 2 --dist worksteal -m "slow and not alone and not long"
	-@$(MEASURED) -m "slow and alone"
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report
	@$(BIN)/coverage report --include "bluegreen/switch/*,bluegreen/register/*,bluegreen/replication/*" --fail-under 95

test-long: install ## every fault at every step, in both directions, and other breadth: an hour and more
	@$(BIN)/python -m pytest -m long

more-versions: install ## fetch PostgreSQL 14, 15 and 17 (apt and npm) into the cache
	@$(BIN)/python -m lab.postgres.more_versions

test-versions: more-versions ## whole deployments between every pair of PostgreSQL 14 to 18; PAIRS=15-to-16 chooses
	@$(BIN)/python -m pytest -n 2 --dist worksteal tests/versions $(if $(PAIRS),-k "$(PAIRS)")

docs-resources: install ## make docs/resources.md and docs/probe.md anew
	@$(BIN)/python -m docs.make_resources
	@$(BIN)/python -m docs.make_probe

bench: bench-replication bench-switch bench-network ## every bench

bench-replication: install ## how publication, slot, subscription and sequences grow
	@$(BIN)/python -m bench.replication

bench-switch: install ## a switch through `pulumi up` and by every other way; N=, SEQUENCES=, DATABASES=
	@$(BIN)/python -m bench.switch

bench-network: install ## the same over a slow network; N=, DELAYS=
	@$(BIN)/python -m bench.network

clean: ## remove the virtual environment and every lab's files
	@rm -rf .venv .lab .coverage
