# The commands a person types. Everything runs in .venv, with the versions of requirements.lock.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup compare test test-quick test-all browser lint format docs prune lock

help:
	@echo "make compare      compare the baseline with the optimized variant on the sample that evbench carries"
	@echo "make test         run the tests"
	@echo "make test-quick   run those that take no more than some seconds each"
	@echo "make test-all     run the tests, and the long simulations"
	@echo "make lint         ruff, format check, mypy"
	@echo "make format       format the code"
	@echo "make docs         build the documentation into site/"
	@echo "make prune        remove from profiles/ what is not kept of recorded runs"

setup: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("evbench needs Python 3.11 or newer; try: make PYTHON=python3.12 compare" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

compare: setup
	$(BIN)/evbench compare --baseline baseline --optimized optimized

# Two at a time, each on cores of its own (tests/conftest.py).
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: setup browser
	$(PYTEST)

test-quick: setup
	$(PYTEST) -m 'not slow and not gpu and not long'

test-all: setup browser
	$(PYTEST) -m 'not gpu'

# For the tests that look at traces in Perfetto's own viewer, and at reports.
browser:
	@command -v chromium >/dev/null || (test "$$(id -u)" = 0 && apt-get --quiet=2 update && apt-get --quiet=2 install --yes \
		--no-install-recommends chromium) || echo "no Chromium, and it cannot be installed: test_viewer.py and test_page_in_browser.py are left out"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --scripts-are-modules evbench tests docs examples profiles/prune

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The variable: mkdocs-material warns of a later mkdocs, which the pinned versions keep out.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "open site/index.html, or for its search: $(BIN)/python -m mkdocs serve"

prune:
	profiles/prune --apply

# Needs uv. Keeps the versions that are pinned already; add --upgrade-package NAME==VERSION to move one.
lock:
	uv pip compile pyproject.toml --extra gpu --extra dev --extra docs --universal --python-version 3.11 --no-header --no-annotate --output-file requirements.lock
