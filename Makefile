SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python
export UV_PYTHON_DOWNLOADS := never

.PHONY: help setup tools test-tools demo test lint format unit integration soak bench lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv from the lock (the other targets do it by themselves)
	@.ci/setup

tools: setup
	@.ci/tools

test-tools: setup
	@.ci/tools tests

demo: tools ## Run the whole platform on this machine, from raw events to a live prediction
	@.venv/bin/reprise demo $(DEMO)

test: test-tools lint ## Lint, types, import contracts; unit, property and integration tests
	@$(PY) -m pytest $(PYTEST)

lint: setup ## Check style, formatting, types and import contracts
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check --quiet .
	@.venv/bin/mypy libs feature_repo/src services jobs
	@.venv/bin/lint-imports --no-logo

format: setup ## Format the code and sort its imports
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

unit: setup ## Only the unit tests
	@$(PY) -m pytest tests/unit $(PYTEST)

integration: test-tools ## Only the integration tests
	@$(PY) -m pytest tests/integration $(PYTEST)

soak: test-tools ## The proofs at their full dose: kills, restarts, parity and fuzzing (takes long)
	@REPRISE_SOAK=1 REPRISE_PARITY_EXAMPLES=500 $(PY) -m pytest tests/integration tests/unit/predictor $(PYTEST)

bench: tools ## Measure, against stated baselines, into build/bench.json
	@PYTHONPATH=tests $(PY) tests/bench/run.py $(BENCH)

lock: setup ## Pin every dependency anew: requirements/*.txt (LOCK=--upgrade for the newest)
	@.ci/lock $(LOCK)

clean: ## Remove everything that was made here
	@rm -rf build .venv .mypy_cache .ruff_cache .hypothesis .pytest_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
