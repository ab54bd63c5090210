# Development commands; `make` alone lists them.
#
# Paths are relative, because make splits words at spaces and a parent folder may have one in its name. The syntax is that of GNU make
# 3.81, which macOS ships. Slow steps run once and leave a stamp file, written last, so a failed or interrupted install runs again.

SHELL = /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup up test lint build bench chaos pictures clean stale

# The first suitable Python is used; `make setup PYTHON=python3.13` chooses one.
PYTHON = python3 python3.14 python3.13 python3.12 python3.11
ARGS =

PACKAGES = .venv/.runyard-installed
VENDOR = static/vendor/versions.json
TOOLS = node_modules/.package-lock.json

# The stamp contains the folder for which .venv was made: in a moved or copied checkout, .venv still points to the old folder.
STALE := $(shell [ -x .venv/bin/python ] && [ "$$(cat $(PACKAGES) 2>/dev/null)" = "$$(pwd -P)" ] || echo stale)

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(PACKAGES) $(VENDOR) ## install Python packages and browser code (run automatically by other commands)
	@:

# exec, so that Ctrl-C and SIGTERM reach Runyard itself. Make waits for it and prints nothing if it exits with status 0.
up: setup ## start Runyard; Ctrl-C stops it (ARGS="--port 9000")
	@exec .venv/bin/runyard up $(ARGS)

test: setup ## run all tests (ARGS="-k name" runs some)
	@.venv/bin/python -m tests.chromium
	@.venv/bin/python -m pytest $(ARGS)

lint: setup $(TOOLS) ## check style and types of Python and JavaScript
	@.venv/bin/python -m ruff check .
	@.venv/bin/python -m ruff format --check .
	@.venv/bin/python -m mypy
	@.venv/bin/python -m static.node lint

build: setup ## build the wheel and the source distribution into dist/
	@.venv/bin/python -m build --no-isolation

bench: setup ## run the benchmarks (ARGS="--help" lists them)
	@exec .venv/bin/python -m bench $(ARGS)

chaos: setup ## kill, freeze and cut off parts of a running Runyard (ARGS="--seed 7 --faults 200")
	@exec .venv/bin/python -m tests.chaos $(ARGS)

pictures: setup ## regenerate the diagram and screenshots in docs/
	@.venv/bin/python -m docs.architecture
	@exec .venv/bin/python -m docs.pictures

clean: ## remove build outputs, caches and installed packages; keeps data/
	rm -rf .venv .venv-bench node_modules static/vendor build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp has the time at which the install started, so that the next make installs changes made while pip ran.
$(PACKAGES): pyproject.toml constraints.txt $(STALE)
	@if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then \
	  chosen= ; bare= ; \
	  for python in $(PYTHON); do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	    if "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then chosen=$$python; break; fi; \
	    bare=$$python; \
	  done; \
	  if [ -z "$$chosen" ] && [ -n "$$bare" ]; then \
	    echo "Runyard: $$bare cannot create a virtual environment (no ensurepip). On Debian and Ubuntu, run: apt install python3-venv." >&2; \
	    exit 1; \
	  elif [ -z "$$chosen" ]; then \
	    echo "Runyard needs Python 3.11 or newer (tried: $(PYTHON))." >&2; \
	    exit 1; \
	  fi; \
	  echo "Runyard: creating .venv with $$("$$chosen" --version)"; \
	  "$$chosen" -m venv --clear .venv || exit 1; \
	fi
	@rm -f $(PACKAGES)
	@pwd -P > $(PACKAGES).started
	@echo "Runyard: installing Python packages into .venv (about 7 GB and a few minutes the first time)"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --config-settings editable_mode=compat -e '.[dev]' || { \
	  echo "Runyard: could not install the Python packages. Fix the error above and run make again." >&2; exit 1; }
	@mv $(PACKAGES).started $(PACKAGES)

$(VENDOR): package.json package-lock.json .npmrc static/vendor.py | $(PACKAGES)
	@.venv/bin/python static/vendor.py

# npm writes this file last, into node_modules: only `make lint` needs what is there.
$(TOOLS): package.json package-lock.json .npmrc | $(PACKAGES)
	@.venv/bin/python -m static.node install
