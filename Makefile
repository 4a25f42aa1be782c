# Everything here is a short name for something that can be typed without make; `run.py` needs only Python.

PYTHON ?= python3
COMPILE = uv pip compile --universal --generate-hashes --python-version 3.11 --extra embedded --extra demo \
	--no-annotate --custom-compile-command "make lock" pyproject.toml

.PHONY: help up check lint test demo lock

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## start everything on this machine
	$(PYTHON) run.py up

check: lint test ## all that has to pass before a change is merged

lint: ## ruff, mypy, import contracts, system checks, missing migrations
	$(PYTHON) run.py check

test: ## the whole test suite against real PostgreSQL and real Valkey
	$(PYTHON) run.py test

demo: ## drive a real MCP client through the running gateway
	$(PYTHON) run.py demo

lock: ## resolve pyproject.toml into the two lock files, with hashes
	$(COMPILE) -o requirements.lock
	$(COMPILE) --group dev -o requirements-dev.lock
