# terrace: `make demo` shows the whole system on this machine, `make test` checks it. Both install what they need into .venv.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := .venv-bench/.installed
TORCH := $(shell sed -n 's/^torch==//p' constraints/all.txt)
TEST_ARGS ?=
# Three at a time, even on two cores: tests mostly wait for processes. A file's tests stay together, since they share what they start.
PYTEST := $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --ignore=tests/arch

.PHONY: help demo test test-long check size bench models install broker constraints clean

help: ## what can be made here
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

# One recipe for both environments. Without an NVIDIA driver the CPU build of torch is asked for first: it saves several GB.
define install_into
	@command -v $(PYTHON) >/dev/null || { echo "terrace: $(PYTHON) is missing. Type: sudo apt-get install -y git make python3-venv"; exit 17; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "terrace: the whole system needs Python 3.11 or newer (devices: 3.10)."; exit 17; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "terrace: the venv module is missing. Type: sudo apt-get install -y python3-venv"; exit 17; }
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	@echo "terrace: installing into $(1) (the first time takes a few minutes)" >&2
	@if [ -e /proc/driver/nvidia/version ]; then echo "terrace: NVIDIA driver found, installing torch $(TORCH) with CUDA" >&2; \
	   $(1)/bin/pip install -q --disable-pip-version-check "torch==$(TORCH)"; \
	 else $(1)/bin/pip install -q --disable-pip-version-check "torch==$(TORCH)+cpu" 2>/dev/null && echo "terrace: no GPU here, took the CPU build of torch" >&2 \
	   || { echo "terrace: no GPU here, but the package index has no CPU build of torch; taking the default build, which is large" >&2; \
	        $(1)/bin/pip install -q --disable-pip-version-check "torch==$(TORCH)"; }; fi
	@$(1)/bin/pip install -q --disable-pip-version-check -c $(2) -e '.[$(3)]'
	@touch $(1)/.installed
endef

$(STAMP): pyproject.toml constraints/all.txt
	$(call install_into,$(VENV),constraints/all.txt,all$(COMMA)dev)

$(BENCH_STAMP): pyproject.toml constraints/bench.txt
	$(call install_into,.venv-bench,constraints/bench.txt,bench$(COMMA)dev)

COMMA := ,

install: $(STAMP) ## create .venv and install terrace with all extras

# The region daemon supervises a mosquitto of its own; the service that Debian's package starts on port 1883 is not wanted.
broker:
	@if ! PATH="$$PATH:/usr/sbin" command -v mosquitto >/dev/null; then \
	   if [ "$$(id -u)" = 0 ]; then as=""; elif sudo -n true 2>/dev/null; then as="sudo -n"; \
	   else echo "terrace: mosquitto is missing. Type: sudo apt-get install -y mosquitto && sudo systemctl disable --now mosquitto"; exit 17; fi; \
	   command -v apt-get >/dev/null || { echo "terrace: mosquitto is missing. Install it with your system's package manager."; exit 17; }; \
	   echo "terrace: installing mosquitto" >&2; \
	   { $$as apt-get install -y -qq mosquitto || { $$as apt-get update -qq && $$as apt-get install -y -qq mosquitto; }; } >/dev/null 2>&1 \
	     || { echo "terrace: mosquitto could not be installed. Type: sudo apt-get install -y mosquitto"; exit 17; }; \
	   $$as systemctl disable --now mosquitto >/dev/null 2>&1 || true; fi

demo: $(STAMP) broker ## run the whole system on this machine as a story in five acts (ARGS='--act 2 ...')
	@$(BIN)/terrace demo $(ARGS)

check: $(STAMP) ## style, types, architecture
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "terrace: type: ruff format ."; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/mypy --python-version 3.10 -p shared -p edge
	@$(BIN)/lint-imports --no-logo
	@FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1 $(BIN)/flwr --version
	@$(BIN)/python -m pytest tests/arch

test: $(STAMP) broker check ## check and test (at most 12 minutes on two cores)
	@$(PYTEST) -m "not slow" $(TEST_ARGS)

test-long: $(STAMP) broker check ## also what is slow: wheels, clean extras, long kill and fuzz runs, models
	@TERRACE_LONG=1 $(PYTEST) $(TEST_ARGS)

size: $(STAMP) ## our row of the yardstick; fails when a value is missed
	@$(BIN)/python -m tests.arch.size

bench: $(BENCH_STAMP) broker ## a benchmark: make bench NAME=x [JSON=1] [FULL=1]
	@$(if $(NAME),,$(error say which: make bench NAME=x; the names are the files of tests/bench))
	@FULL=$(FULL) .venv-bench/bin/python -m tests.bench $(NAME) $(if $(JSON),--json)

models: $(STAMP) ## rebuild the shipped models (DATA=line|deeppcb|fashion-mnist|FOLDER, TASK=classification|detection|segmentation)
	@$(BIN)/terrace models build --data $(or $(DATA),line) --task $(or $(TASK),classification)

constraints: $(STAMP) ## pin again what each tier installs
	@for tier in edge:3.10 provision:3.10 region:3.11 cloud:3.11 all,dev:3.11 bench,dev:3.11; do \
	   extras=$${tier%%:*}; name=$${extras%%,*}; \
	   $(BIN)/uv pip compile pyproject.toml $$(for e in $${extras//,/ }; do printf -- '--extra %s ' $$e; done) --universal --python-version $${tier##*:} \
	     --no-annotate --no-header -q | grep -vE '^(nvidia-|triton|cuda-|setuptools)' | sed 's/^torch==.*/torch==$(TORCH)/' > constraints/$$name.txt; done

clean: ## remove the environments and caches of this folder
	rm -rf .venv .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
