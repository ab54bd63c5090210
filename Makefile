# Everything that is done with this checkout, one word each; `make` alone lists it.
#
# Only relative paths stand here, because make splits words at spaces and the folder above may have one in its name. The syntax is that
# of GNU make 3.81, which macOS ships. What takes long runs once and leaves a stamp; a stamp is written last, so that an install that
# failed or was interrupted is done again.

SHELL = /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup up test lint bench pictures clean stale

# Tried in this order; `make setup PYTHON=python3.13` takes that one.
PYTHON = python3 python3.14 python3.13 python3.12 python3.11
BROWSERS = chromium chromium-browser google-chrome google-chrome-stable
ARGS =

PACKAGES = .venv/.runyard-installed
VENDOR = static/vendor/versions.json
TOOLS = node_modules/.package-lock.json

# The stamp holds the folder for which .venv was made: in a checkout that was moved or copied, .venv still points to the old place.
STALE := $(shell [ -x .venv/bin/python ] && [ "$$(cat $(PACKAGES) 2>/dev/null)" = "$$(pwd -P)" ] || echo stale)

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(PACKAGES) $(VENDOR) ## install what is missing: .venv and the browser code (the others do this first)
	@:

# exec: Ctrl-C and SIGTERM reach Runyard itself. Make waits for it, and is silent as long as it ends with status 0.
up: setup ## start Runyard, stop it with Ctrl-C (ARGS="--port 9000")
	@exec .venv/bin/runyard up $(ARGS)

test: setup ## run all tests (ARGS="-k name": some of them)
	@for browser in $(BROWSERS); do command -v $$browser >/dev/null 2>&1 && exit 0; done; \
	[ -d "/Applications/Chromium.app" ] || [ -d "/Applications/Google Chrome.app" ] || \
	  echo "The browser tests need Chromium and find none: apt install chromium (Debian, Ubuntu), dnf install chromium (Fedora)," \
	    "brew install --cask chromium (macOS)." >&2
	@.venv/bin/python -m pytest $(ARGS)

lint: setup $(TOOLS) ## check style and types of Python and JavaScript
	@.venv/bin/python -m ruff check .
	@.venv/bin/python -m ruff format --check .
	@.venv/bin/python -m mypy
	@.venv/bin/python -m static.node lint

bench: setup ## measure this machine (ARGS="--help": what there is)
	@exec .venv/bin/python -m bench $(ARGS)

pictures: setup ## draw docs/screenshots anew, every page
	@exec .venv/bin/python -m docs.pictures

clean: ## remove what setup and the tools made; data/ stays
	rm -rf .venv .venv-bench node_modules static/vendor build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The new stamp carries the time of the start, so that a change made while pip ran is installed by the next make.
$(PACKAGES): pyproject.toml constraints.txt $(STALE)
	@if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then \
	  chosen= ; bare= ; \
	  for python in $(PYTHON); do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	    if "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then chosen=$$python; break; fi; \
	    bare=$$python; \
	  done; \
	  if [ -z "$$chosen" ] && [ -n "$$bare" ]; then \
	    echo "Runyard: $$bare cannot make a virtual environment (no ensurepip): on Debian and Ubuntu, apt install python3-venv." >&2; \
	    exit 1; \
	  elif [ -z "$$chosen" ]; then \
	    echo "Runyard needs Python 3.11 or newer, and none of these is one: $(PYTHON)." >&2; \
	    exit 1; \
	  fi; \
	  echo "Runyard: making .venv with $$("$$chosen" --version)"; \
	  "$$chosen" -m venv --clear .venv || exit 1; \
	fi
	@rm -f $(PACKAGES)
	@pwd -P > $(PACKAGES).started
	@echo "Runyard: installing Python packages into .venv (about 5 GB and a few minutes the first time)"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --config-settings editable_mode=compat -e '.[dev]' || { \
	  echo "Runyard: the Python packages could not be installed, for the reason above; run make again once it is gone." >&2; exit 1; }
	@mv $(PACKAGES).started $(PACKAGES)

$(VENDOR): package.json package-lock.json .npmrc static/vendor.py | $(PACKAGES)
	@.venv/bin/python static/vendor.py

# npm writes this file last, into node_modules: only `make lint` needs what is there.
$(TOOLS): package.json package-lock.json .npmrc | $(PACKAGES)
	@.venv/bin/python -m static.node install
