# Everything a contributor runs. `make` alone lists the targets.
# Needs: GNU make, git, Python 3.11 or later. Uses uv where it is installed, else venv and pip.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# Many organisations sign the traffic with an authority of their own; pip asks the system too.
export UV_SYSTEM_CERTS ?= 1
# Hubs of the demo and the tests are on this machine, and gRPC would ask a proxy of the environment for them too.
COMMA := ,
DIRECT := $(or $(no_proxy),$(NO_PROXY))
export no_proxy := localhost,127.0.0.1,::1$(if $(DIRECT),$(COMMA)$(DIRECT))
unexport no_grpc_proxy
.SUFFIXES:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV := $(shell command -v uv 2>/dev/null)
PROTOS := $(sort $(wildcard proto/exchange/v1/*.proto))
PROJECTS := pyproject.toml clients/python/pyproject.toml
# For make fuzz: how long for each target, and which; all without.
SECONDS ?= 30
TARGET ?=
# For make oracle: the first seed, how many, and how many steps each.
SEED ?= 1
SEEDS ?= $(if $(filter command line,$(origin SEED)),1,50)
STEPS ?= 1000
# Extra arguments for pytest: make test ARGS='-k merkle'
ARGS ?=

PROTOC = $(BIN)/python -m grpc_tools.protoc -Iproto --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
  --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
  --python_out=$(1) --grpc_python_out=$(1) --mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) $(PROTOS)

.PHONY: help setup test e2e oracle faults load demo bench bench-growth bench-matching bench-privacy lint lint-types lint-all-but-types format gen check-gen lock clean fuzz

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# What is installed is compiled, and what is here too: where PYTHONDONTWRITEBYTECODE is set, each process would do it anew.
setup: $(STAMP)  ## Make .venv from requirements.lock and install both packages (editable); does nothing when up to date

$(STAMP): requirements.lock $(PROJECTS) Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Signal Exchange needs Python 3.11 or later; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1 || true)" >&2; \
	  echo "Name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@rm -f $@
ifneq ($(UV),)
	@echo "setup: making $(VENV) with uv"
	@$(UV) venv --quiet --allow-existing --python "$$(command -v $(PYTHON))" $(VENV)
	@echo "setup: installing the locked packages"
	@$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes --only-binary :all: requirements.lock
	@echo "setup: installing signal-exchange and signal-exchange-client"
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --no-sources \
	  -e . -e clients/python
else
	@echo "setup: making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV) || { \
	  echo "Python's venv module does not work here; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "setup: installing $$(grep -c == requirements.lock) locked packages (a minute or two the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps \
	  --require-hashes --only-binary :all: -r requirements.lock
	@echo "setup: installing signal-exchange and signal-exchange-client"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps \
	  --no-build-isolation -e . -e clients/python
endif
	@$(BIN)/python -m compileall -q -j 2 exchange clients/python/src tests
	@touch $@
	@echo "setup: done"

test: setup  ## The quick tests: no hub as a process and no browser; some start a server of Redis's protocol, or a child
	$(BIN)/python -m pytest -q -n auto --dist worksteal -m "not e2e" --ignore=tests/e2e --ignore=tests/faults --ignore=tests/load $(ARGS)

e2e: setup  ## The slow tests: real processes, real TLS, real stores, a real browser
	@if [ -n "$${CI:-}" ] && ! command -v chromium chromium-browser google-chrome >/dev/null; then \
	  echo "e2e: installing chromium"; apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; fi
	@if compgen -G 'tests/e2e/**/test_*.py' >/dev/null || compgen -G 'tests/e2e/test_*.py' >/dev/null; then \
	  $(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder -m "not faults or short" \
	    tests/oracle tests/faults tests/e2e/browser tests/e2e tests/conformance tests/load $(ARGS); \
	else echo "e2e: tests/e2e holds no test yet"; fi

load: setup  ## A flood, 200 back at once, 10,000 cancelled streams, who never reads; prints figures, holds their gates
	LOAD=long $(BIN)/python -m pytest -q -s tests/load $(ARGS)

oracle: setup  ## Simulated platforms against an independent model: make oracle SEEDS=200 STEPS=1000, or one again by its SEED=n
	$(BIN)/python -m tests.oracle --seed $(SEED) --seeds $(SEEDS) --steps $(STEPS) $(ARGS)

faults: setup  ## Kill, cut, flip, fill and stop a hub under load; prints what each cost (one: ARGS='-k after-append')
	$(BIN)/python -m pytest -q -n 2 --dist worksteal tests/faults $(ARGS)

fuzz: setup  ## Every reader of bytes from outside under a coverage-guided fuzzer: make fuzz SECONDS=60 TARGET=note
	$(BIN)/python -m tests.fuzz.run --seconds $(SECONDS) $(TARGET)

demo: setup  ## A whole exchange on this machine: hub, pseudonyms, three platforms, real photographs, a SIGKILL
	$(BIN)/python clients/python/examples/demo/run.py $(ARGS)

bench: setup  ## Measure beside Redis Streams, bare gRPC, NATS and threatexchange: make bench, or ARGS=--quick for some minutes
	$(BIN)/python -m tests.bench $(ARGS)

bench-growth: setup  ## Cost as ledger, subscribers and communities grow: make bench-growth, or ARGS=--quick for a few minutes
	$(BIN)/python -m tests.bench.growth $(ARGS)

bench-matching: setup  ## The SDK's index of PDQ hashes beside threatexchange's, which is installed under build/
	$(BIN)/python -m tests.bench.matching $(ARGS)

bench-privacy: setup  ## What each party can reverse of shared account identifiers: ARGS=--quick for some seconds
	$(BIN)/python -m tests.bench.privacy $(ARGS)

lint: setup  ## Style, types, architecture, wire contract, generated code
	@$(MAKE) --jobs 2 --output-sync lint-types lint-all-but-types

lint-types:
	$(BIN)/mypy

lint-all-but-types:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/buf lint
	@for kept in tests/compat/*/protos.binpb; do echo "buf breaking: $$kept"; $(BIN)/buf breaking --against "$$kept"; done
	@$(MAKE) check-gen

format: setup  ## Rewrite the code in the house format, with the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

gen: setup  ## Regenerate exchange/v1 from proto/ (keeps its __init__.py)
	@rm -f exchange/v1/*_pb2*.py exchange/v1/*_pb2*.pyi
	$(call PROTOC,.)

check-gen: setup  ## Fail when exchange/v1 is not what proto/ generates
	@out="$$(mktemp -d)"; trap 'rm -rf "$$out"' EXIT; \
	$(call PROTOC,"$$out"); \
	diff -r --exclude=__init__.py --exclude=__pycache__ exchange/v1 "$$out/exchange/v1" \
	  || { echo "exchange/v1 is stale: run 'make gen' and commit" >&2; exit 1; }; \
	echo "check-gen: exchange/v1 is up to date"

# What runs alone, and what builds the two projects, are of the first file: nothing is installed that the tests have not met.
lock:  ## Resolve again and rewrite requirements.lock (every extra, group and platform; nothing younger than a week), and -run, -build
	@tools="$$(mktemp -d)"; trap 'rm -rf "$$tools"' EXIT; \
	$(PYTHON) -m venv "$$tools"; "$$tools/bin/pip" install --quiet --disable-pip-version-check uv; \
	compile() { "$$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
	  --exclude-newer "7 days" --no-emit-index-url --no-annotate --no-header \
	  --no-emit-package signal-exchange --no-emit-package signal-exchange-client "$$@"; }; \
	compile --all-extras --group bench --group browser --group build --group demo --group fuzz --group lint --group test \
	  $(PROJECTS) --output-file requirements.lock; \
	compile --constraint requirements.lock --extra cli $(PROJECTS) --output-file requirements-run.lock; \
	compile --constraint requirements.lock --group build --output-file requirements-build.lock
	@echo "lock: $$(grep -c == requirements.lock) packages, $$(grep -c == requirements-run.lock) to run; run 'make setup' and the tests"

clean:  ## Remove .venv, caches and build output
	rm -rf $(VENV) .fuzz .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist clients/python/dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
