# Vafa. `make` alone lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help run test check proto protos format lint types bench bench-peers bench-latency bench-scale soak fuzz migrate k8s lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): requirements.lock pyproject.toml client/pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e client -e .
	@touch $@

run: $(INSTALLED) ## Start the suite here, load the sample if it is new, print its figures, serve
	@$(BIN)/vafa up --sample

test: $(INSTALLED) ## Run all tests
	@# In the order of the folders: the files that take long come first, and no process waits for one.
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(INSTALLED) ## Run all that CI runs: lint, types, contract, tests
	@$(MAKE) --no-print-directory lint types test

proto: $(INSTALLED) ## Renew what is made from proto/: the stubs in client/, the references in docs/
	@$(BIN)/buf format -w proto
	@$(BIN)/python scripts/contract.py generate
	@$(BIN)/python scripts/reference.py
	@$(BIN)/python -m scripts.openapi

protos: $(INSTALLED) ## Pack the contract for other languages into .build/vafa-protos.tar.gz
	@$(BIN)/python scripts/protos.py

format: $(INSTALLED) ## Format the code and the contract
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .
	@$(BIN)/buf format -w proto

lint: $(INSTALLED) ## Check style, imports and the contract
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/contract.py lint
	@$(BIN)/python scripts/contract.py check
	@$(BIN)/python scripts/contract.py breaking
	@$(BIN)/python scripts/reference.py --check
	@$(BIN)/python -m scripts.openapi --check
	@$(BIN)/python scripts/kubernetes.py --check
	@mkdir -p .build && echo '{"keys": []}' > .build/jwks.json
	@VAFA_EDGE_JWKS_FILE=.build/jwks.json VAFA_EDGE_CONFIGURATION_FILE=.build/edge.json \
		$(BIN)/python -m services.gateway.edge --validate

types: $(INSTALLED) ## Check types
	@$(BIN)/mypy

bench: $(INSTALLED) ## Measure, and print tables with ratios
	@$(BIN)/python -m bench

bench-peers: $(INSTALLED) ## Measure the same calls here, at Django REST and at FastAPI, from PyPI
	@$(BIN)/python -m bench.peers

bench-latency: $(INSTALLED) ## Measure how soon another service has what happened, with 500 orders a second
	@$(BIN)/python -m bench.latency

bench-scale: $(INSTALLED) ## Measure whether calls take longer with 1,000,000 contacts than with 10,000
	@$(BIN)/python -m bench.scale

soak: $(INSTALLED) ## Call through the edge at half of its peak for five minutes, and watch its memory
	@$(BIN)/python -m bench.edge --soak-seconds 300

fuzz: $(INSTALLED) ## Call the edge with 10,000 cases and more that its OpenAPI document allows or forbids
	@$(BIN)/python -m tests.fuzz

migrate: $(INSTALLED) ## Bring the databases of the services to the present schema
	@$(BIN)/vafa migrate

k8s: $(INSTALLED) ## Renew what is made under k8s/: the roles, the configuration of the edge
	@$(BIN)/python scripts/kubernetes.py

lock: $(INSTALLED) ## Renew requirements.lock, and requirements-run.lock for the image
	@$(BIN)/uv pip compile pyproject.toml client/pyproject.toml --extra dev --universal \
		--python-version 3.11 --no-emit-package vafa --no-emit-package vafa-server \
		--generate-hashes --no-annotate --no-emit-index-url --no-header --quiet -o requirements.lock
	@$(BIN)/uv pip compile pyproject.toml client/pyproject.toml --extra telemetry --universal \
		--python-version 3.11 --no-emit-package vafa --no-emit-package vafa-server \
		--constraint requirements.lock \
		--generate-hashes --no-annotate --no-emit-index-url --no-header --quiet -o requirements-run.lock

clean: ## Remove what was built here, but not the data
	@rm -rf .venv .build .mypy_cache .ruff_cache .pytest_cache
