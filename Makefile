# Salience. Every target sets up what it needs: a virtual environment in .venv, nothing outside this folder.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
PY := $(VENV)/bin/python
TORCH := torch==2.13.0
PIP := $(PY) -m pip --disable-pip-version-check --quiet --quiet
HOST ?= 127.0.0.1
PORT ?= 8080

export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
export OMP_WAIT_POLICY := PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test test-crash lint format docs bench lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## make the virtual environment in .venv

demo: setup ## index the docstrings of Python's standard library, then search, steer and explain
	@$(VENV)/bin/salience demo

serve: setup ## serve the HTTP API (HOST=127.0.0.1 PORT=8080)
	@$(VENV)/bin/salience serve --host $(HOST) --port $(PORT)

test: setup ## run all tests (ARGS=--require-all: none may be skipped for want of something)
	@$(PY) -m pytest -q -n auto --maxprocesses 4 --max-worker-restart 0 --dist loadfile $(ARGS)

test-crash: setup ## kill processes and cut the power, hundreds of times, and look for what was lost (half an hour)
	@$(PY) -m tests.crash $(ARGS)
	@$(PY) -m pytest -q --thorough tests/crash tests/store/test_statemachine.py

lint: setup ## check style, formatting, types and the direction of imports
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports

format: setup ## put the sources into the one format
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

docs: setup ## write docs/configuration.md and docs/api.md out of the program
	@$(PY) -m app.reference docs

bench: setup ## measure steering and the seed example
	@$(PY) -m bench.steering
	@$(PY) -m bench.seed_example

lock: setup ## resolve the dependencies anew (needs the network) and write requirements.lock
	@$(PIP) install uv==0.13.8
	@echo "$(TORCH)" | $(VENV)/bin/uv pip compile pyproject.toml - --quiet --upgrade --extra dev --extra tracing --extra milvus --universal --python-version 3.11 \
		--generate-hashes --no-annotate --no-header --no-emit-package torch --no-emit-package openvino-telemetry --output-file build-lock.tmp > /dev/null
	@$(PY) -c "import pathlib, re; \
	head = '# All packages but torch and its CUDA libraries, pinned with hashes. Written by: make lock\n'; \
	text = pathlib.Path('build-lock.tmp').read_text(); \
	text = re.sub(r'(?m)^(triton|nvidia-[\w-]+|cuda-[\w-]+)==.*\n(?:    --hash.*\n)*', '', text); \
	pathlib.Path('requirements.lock').write_text(head + text)"
	@rm build-lock.tmp

clean: ## remove the virtual environment and every cache
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# torch comes last and by version only: its wheel differs from platform to platform (CPU, CUDA), so no list of hashes fits.
# What it needs besides CUDA's own libraries is in the lock already.
$(VENV)/.ready: requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "Salience needs Python 3.11 or newer, and none was found. Install one, or name it: make PYTHON=/path/to/python3.11 ..." >&2; \
		exit 1; fi
	@if [ ! -x $(PY) ]; then echo "Making .venv with $$($(PYTHON) --version) ..."; $(PYTHON) -m venv $(VENV); fi
	@echo "Installing the pinned packages (a few minutes the first time) ..."
	@$(PIP) install --require-hashes --no-deps --only-binary :all: -r requirements.lock
	@$(PIP) install --only-binary :all: $(TORCH)
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
