# Everything here works from a fresh clone with nothing set up: the first target that needs the environment
# makes it, later ones find it. `make help` lists the targets.

VENV      := .venv
PY        := $(VENV)/bin/python
QIST      := $(VENV)/bin/qist
PACKAGES  := ledger network chaincode nodes clients
PYTHON    ?=
PIP       := $(PY) -m pip --disable-pip-version-check --no-input -q
NODE_DIR  := tests/node-client
# Two workers suit the two cores we measure on.
WORKERS   ?= 2

REHEARSED := build/rehearsal
# solo, or cometbft, which is installed first.
ORDERING  ?= solo
REHEARSAL := $(QIST) rehearse examples/repayment --until 2026-09-30 --ordering $(ORDERING) \
             --expect examples/repayment/expected_arrears.csv --story --output $(REHEARSED)

FAST_TESTS := tests/unit tests/vectors tests/property tests/contract tests/structure

RUN_STAMP  := $(VENV)/.stamp-run
DEV_STAMP  := $(VENV)/.stamp-dev
NODE_STAMP := $(NODE_DIR)/node_modules/.stamp
# The consensus engine's program, built from its pinned module.
COMETBFT  := $(VENV)/bin/cometbft
# The official clients for Go and Java, fetched and built.
CLIENTS_STAMP := build/clients/.stamp
CLIENTS   := $(NODE_STAMP) $(CLIENTS_STAMP)

.DEFAULT_GOAL := help
.PHONY: help run test check lint bench profile fmt docs crash chaos cometbft messages setup lock clean
.DELETE_ON_ERROR:

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 9

run: $(RUN_STAMP) $(if $(filter cometbft,$(ORDERING)),$(COMETBFT)) ## four members live through six months (a rehearsal)
	@rm -rf $(REHEARSED)
	$(REHEARSAL)

test: lint $(CLIENTS) $(COMETBFT) ## everything: style, types, imports and every test there is
	@tools/install_test_packages.sh
	$(PY) -m pytest -n $(WORKERS) --dist loadfile tests

check: lint $(COMETBFT) ## style, types, imports and the fast tests; before every commit
	HYPOTHESIS_PROFILE=quick $(PY) -m pytest -n $(WORKERS) -m "not slow" -q $(wildcard $(FAST_TESTS))

crash: $(DEV_STAMP) $(COMETBFT) ## only the tests that kill a node at every write
	$(PY) -m pytest -n $(WORKERS) -q $(wildcard tests/crash)

# MINUTES and SEED may be given.
chaos: $(DEV_STAMP) $(COMETBFT) ## perturb four members by chance, for twenty minutes or MINUTES
	@tools/install_test_packages.sh
	$(PY) tools/chaos.py $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

lint: $(DEV_STAMP) ## style, types and the direction of imports
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

# QUICK=1: what there are targets for. FULL=1: everything. AGAINST=<commit>: both commits by turns.
bench: $(NODE_STAMP) $(COMETBFT) ## measure what Fabric was measured with (QUICK=1, FULL=1, AGAINST=commit)
	$(PY) -m tests.bench $(if $(QUICK),--quick) $(if $(FULL),--full) \
	    $(if $(AGAINST),--against $(AGAINST)) $(BENCH_OPTIONS)

profile: $(NODE_STAMP) $(COMETBFT) ## show where the processor time of a payment goes, function by function
	$(PY) -m tests.bench.profiling $(PROFILE_OPTIONS)

fmt: $(DEV_STAMP) ## put the code in shape
	$(PY) -m ruff check --fix-only --quiet .
	$(PY) -m ruff format .

docs: $(DEV_STAMP) ## check what the documentation says
	$(PY) -m pytest -q tests/structure

cometbft: $(COMETBFT) ## the program of the ordering engine CometBFT, pinned, in the environment

messages: $(DEV_STAMP) ## write CometBFT's protobuf modules anew from its published protocol files
	@go=$$(tools/find_go.sh $(VENV)) && $(PY) tools/make_messages.py "$$go"

setup: $(DEV_STAMP) $(CLIENTS) $(COMETBFT) ## make the environment and do nothing else

lock: $(DEV_STAMP) ## write the lock files anew from pyproject.toml and package.json
	tools/lock.sh $(VENV) $(NODE_DIR)

clean: ## remove what the other targets made, the environment too
	rm -rf $(VENV) $(NODE_DIR)/node_modules build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache \
	    .hypothesis .import_linter_cache

$(PY):
	@python=$$(PYTHON='$(PYTHON)' tools/find_python.sh) || exit 1; \
	echo "making $(VENV) with $$python"; "$$python" -m venv $(VENV)

# The project is installed in place, without build isolation: setuptools is in the lock.
$(RUN_STAMP): requirements/run.txt pyproject.toml | $(PY)
	@echo "installing what Qist needs to run (pinned, with hashes)"
	@$(PIP) install --require-hashes -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV_STAMP): requirements/dev.txt $(RUN_STAMP)
	@echo "installing what the tests and checks need (pinned, with hashes)"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

$(COMETBFT): requirements/cometbft.sum tools/install_cometbft.sh tools/find_go.sh | $(RUN_STAMP)
	@tools/install_cometbft.sh $(VENV)
	@touch $@

$(NODE_STAMP): $(NODE_DIR)/package-lock.json $(DEV_STAMP)
	@PYTHON=$(PY) tools/node_client.sh $(NODE_DIR)
	@touch $@

$(CLIENTS_STAMP): requirements/go.txt $(wildcard tests/go-client/*) $(wildcard tests/go-config/*) \
    tests/java-client/pom.xml tests/java-client/artifacts.sha256 $(wildcard tests/java-client/src/main/java/*) $(DEV_STAMP)
	@$(PY) -m tests.support.toolchains
	@touch $@
