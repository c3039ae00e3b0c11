# crossborder: `make demo` and `make test` need nothing done before them but Python >= 3.11, Java >= 17, Maven and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url \
	--no-emit-trusted-host --no-emit-find-links --no-emit-options --resolver=backtracking

# What starts neither broker nor database runs on every core.
ALONE := tests/unit tests/contract tests/simulation
PARALLEL = $(BIN)/python -m pytest -q -n auto --dist worksteal

COMPOSE := docker compose -f docker-compose.yml $(if $(filter 3,$(BROKERS)),-f docker-compose.three-brokers.yml) \
	$(if $(TLS),-f docker-compose.tls.yml)

.PHONY: help demo test quick check lock bench faults simulate up down compose-test secrets audit clean preflight jars
.DEFAULT_GOAL := help

help: ## what each target does
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

preflight:
	@$(PYTHON) deploy/preflight.py

$(INSTALLED): requirements-dev.txt pyproject.toml | preflight
	@echo "Installing the locked requirements into $(VENV) …"
	@test -x $(BIN)/python || $(PYTHON) deploy/environment.py $(VENV) $(if $(filter-out default file,$(origin PYTHON)),--as-named)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

jars: $(INSTALLED)
	@$(BIN)/python -m deploy.embedded.jars

demo: preflight jars ## the whole way of 300 orders of every kind, on real Kafka and PostgreSQL, in a minute
	@$(BIN)/crossborder demo

test: preflight jars ## the whole suite, against the same real Kafka and PostgreSQL
	@$(BIN)/python -m pytest -q

quick: preflight $(INSTALLED) ## while working: unit, contract and simulation tests in short, on every core, in a minute
	@$(PARALLEL) -m "not slow" --hypothesis-profile quick $(ALONE)

check: preflight $(INSTALLED) ## lint, format, types, imports, tidiness
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/unit/test_tidy.py tests/unit/test_structure.py

lock: $(INSTALLED) ## resolve the requirements anew
	@CUSTOM_COMPILE_COMMAND="make lock" $(COMPILE) -o requirements.txt pyproject.toml
	@CUSTOM_COMPILE_COMMAND="make lock" $(COMPILE) --extra dev -c requirements.txt -o requirements-dev.txt pyproject.toml
	@CUSTOM_COMPILE_COMMAND="make lock" $(COMPILE) --only-build-deps --build-deps-for wheel -c requirements-dev.txt \
		-o requirements-build.txt pyproject.toml
	@CUSTOM_COMPILE_COMMAND="make lock" $(COMPILE) -o requirements-audit.txt requirements-audit.in

bench: preflight jars ## throughput, latency, memory, beside the raw limits of broker and database
	@$(BIN)/crossborder bench

faults: preflight jars ## N=25 kills and pauses of everything under load, then verify; SEED=n does the same harm again
	@FAULTS=$(or $(N),25) FAULTS_SEED=$(SEED) $(BIN)/python -m pytest -q -s -m faults tests/faults

simulate: preflight $(INSTALLED) ## the domains under a virtual clock: SEEDS=n of them, or SEED=n replayed
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),20000) --start $(or $(START),0))

secrets: ## random passwords and certificates for the containers, in ./secrets, where they are missing
	@$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -P deploy/secrets.py secrets

audit: preflight $(INSTALLED) ## what the product is made of (build/crossborder.cdx.json), and its known weaknesses
	@$(BIN)/python -m deploy.audit

up: secrets ## the stack in containers; PROFILE=minimal, load or tools for less or more of it, BROKERS=3, TLS=1
	@$(if $(PROFILE),COMPOSE_PROFILES=$(PROFILE)) $(COMPOSE) up --detach --wait --build
	@$(COMPOSE) ps --format 'table {{.Service}}\t{{.Status}}\t{{.Ports}}'
	@echo "commands: docker compose run --rm cli --help"

down: ## stop the containers; the data stays
	@$(COMPOSE) --profile '*' down

compose-test: preflight $(INSTALLED) ## bring the containers up with Docker and do them harm; some twenty minutes
	@$(BIN)/python -m pytest -q -s -m compose tests/compose

clean: ## delete the environment and everything a run left behind, except the fetched Kafka jars; not while a stack runs
	@$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m deploy.embedded.clean
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
