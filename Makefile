SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python
# Bytecode of our own modules too, whatever the shell says: tests start hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: audit sbom dashboards docs observe help setup tools test-tools demo test lint format unit integration soak bench golden images e2e e2e-images e2e-tests e2e-upgrade e2e-spark cluster-prepare cluster-demo chart lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Create .venv from requirements.txt (the other targets run this)
	@.ci/setup

tools: setup
	@.ci/tools

test-tools: setup
	@.ci/tools tests

demo: tools ## Run the whole platform on this machine, from raw events to a live prediction
	@.venv/bin/reprise demo $(DEMO)

# Tests that share a broker, a Redis Cluster or a platform run in one worker, and so do the tests of one file. Long groups
# start first (tests/support/collection.py). One worker more than processors, because tests of services wait.
WORKERS ?= 3

test: test-tools ## Lint, types, import contracts; unit, property and integration tests (WORKERS=0: one at a time)
	@.ci/test --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder --ignore tests/e2e $(PYTEST)

lint: setup ## Check style, formatting, types and import contracts
	@.ci/lint

format: setup ## Format the code and sort its imports
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

unit: setup ## Only the unit tests
	@$(PY) -m pytest tests/unit $(PYTEST)

integration: test-tools ## Only the integration tests
	@$(PY) -m pytest tests/integration $(PYTEST)

soak: test-tools ## Run the tests with full doses: kills, faults, parity, fuzzing, memory (takes long)
	@REPRISE_SOAK=1 REPRISE_PARITY_EXAMPLES=1000 $(PY) -m pytest tests/unit tests/integration tests/charts $(PYTEST)

bench: setup ## Measure speed against baselines and write the README's section on speed (BENCH=predictor for one part)
	@.ci/tools tests bench
	@PYTHONPATH=tests $(PY) tests/bench/run.py $(BENCH); status=$$?; $(PY) tests/bench/page.py && exit $$status

golden: tools ## Rewrite the frozen contracts in tests/golden after a deliberate change
	@PYTHONPATH=tests:charts $(PY) -m golden $(GOLDEN)

# The program of a local cluster next to this folder, if there is one; KUBECONFIG takes precedence.
CLUSTER := REPRISE_CLUSTER=$(abspath $(wildcard ../shared/cluster/cluster)) k8s/with-cluster
export TAG ?= dev

images: ## Build the image of every component and load it into the cluster (TAG=dev)
	@$(CLUSTER) k8s/images all

e2e: e2e-images e2e-tests ## Build the images and test the platform on the cluster of KUBECONFIG, or on a new one

e2e-images: setup
	@$(CLUSTER) k8s/images all
	@$(CLUSTER) k8s/images e2e

E2E ?= tests/e2e/test_platform_on_a_cluster.py tests/e2e

e2e-tests: test-tools
	@$(CLUSTER) env REPRISE_E2E_TAG=$(TAG) $(PY) -m pytest $(E2E) -m e2e --maxfail 1 --durations 0 --durations-min 1 $(PYTEST)

# Before events said who posted them and bundles had a model of users.
UPGRADE_FROM ?= 7839d9989be85f70010c6d228c6dd217d7cb4f04
EARLIER := $(abspath build/earlier)

e2e-upgrade: e2e-images ## Upgrade the platform on the cluster from the commit UPGRADE_FROM to this one and back, under load
	@rm -rf $(EARLIER) && git worktree prune && git worktree add --quiet --detach $(EARLIER) $(UPGRADE_FROM)
	@cd $(EARLIER) && TAG=earlier $(CLUSTER) k8s/images all
	@REPRISE_E2E_EARLIER=$(EARLIER) $(MAKE) --no-print-directory e2e-tests E2E=tests/e2e/test_upgrade_on_a_cluster.py

e2e-spark: setup ## Train on the cluster with executors of Spark
	@SPARK=1 TAG=$(TAG)-spark $(CLUSTER) k8s/images trainer datagen
	@$(CLUSTER) k8s/images e2e-redis e2e-s3
	@REPRISE_E2E_SPARK=1 $(MAKE) --no-print-directory e2e-tests E2E=tests/e2e/test_spark_on_a_cluster.py

cluster-prepare: setup ## Install Strimzi, an Ingress controller and metrics-server in a kind or minikube cluster (PREPARE=--keda)
	@k8s/prepare $(PREPARE)

cluster-demo: setup ## Install the platform on the cluster and print how to reach it
	@$(CLUSTER) k8s/images all
	@$(CLUSTER) k8s/images e2e
	@$(CLUSTER) k8s/demo

chart: setup ## Generate the chart's values schema, README and topics from the code
	@$(PY) charts/generator

observe: test-tools ## Run the platform under a real Prometheus and print what panels and alerts show (OBSERVE=--incidents)
	@PYTHONPATH=tests:charts $(PY) tests/observe $(OBSERVE)

docs: setup ## Build the documentation site in build/site; fails on a broken link
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

dashboards: setup ## Generate the chart's Grafana dashboards
	@PYTHONPATH=charts $(PY) -m dashboards

sbom: setup ## Write build/sbom/<component>.cdx.json, the packages of each image as CycloneDX
	@$(PY) .ci/sbom build/sbom

audit: setup ## Look the lock up in the database of Python advisories (needs the Internet)
	@.venv/bin/uv tool run pip-audit --strict --disable-pip --require-hashes --requirement requirements.txt

lock: setup ## Pin every dependency in requirements.txt (LOCK=--upgrade for the newest versions)
	@.ci/lock $(LOCK)

clean: ## Remove everything that these targets created
	@rm -rf build .venv .mypy_cache .ruff_cache .hypothesis .pytest_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
