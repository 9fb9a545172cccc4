# The daily habits. Uses the python of the current environment: activate one with `pip install -e '.[dev]'`.
.DEFAULT_GOAL := help
.PHONY: help check test slow bench demo lock

PYTHON ?= python

help: ## what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

check: ## lint, format, types, import rules
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	PYTHONPATH=. lint-imports

test: ## the tests that need nothing but this environment (under 2 minutes)
	$(PYTHON) -m pytest

slow: ## the tests with real parts: Prometheus, PostgreSQL, systemd, an image
	$(PYTHON) -m pytest -m slow

bench: ## measure side by side with the floors and the peers
	$(PYTHON) -m benchmarks

demo: ## a cloud, a daemon and a few incidents on this machine
	$(PYTHON) -m nexusd demo

# One resolution for every platform and every supported Python, with hashes and without index addresses.
# Needs uv (`pip install uv`). To take newer versions: make lock UPGRADE=--upgrade
COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command "make lock" $(UPGRADE)

lock: ## write the lock files anew
	$(COMPILE) --extra postgres --extra apprise --output-file requirements.lock pyproject.toml
	$(COMPILE) --all-extras --constraints requirements.lock --output-file requirements-dev.lock pyproject.toml
	echo 'hatchling>=1.26' | $(COMPILE) --constraints requirements-dev.lock --output-file requirements-build.lock -
