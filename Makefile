# Every target sets up what it needs: `make test` in a fresh clone is enough.

# The first Python that really runs, is 3.11 or newer and can make an environment. (A name on the PATH may be a stub that
# only fails when it is run, so running it is the test.) Give PYTHON=... to choose another, VENV=... to keep several.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$python && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.waymail-setup
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-interop lint format bench serve constraints reference clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

setup: $(STAMP)  ## an environment with everything, in .venv

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "waymail needs Python 3.11 or newer with venv (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --require-hashes -r constraints.txt
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: setup  ## two real servers, one message from the one to the other
	$(BIN)/python demo/demo.py

test: setup  ## all tests but those that need other mail programs or minutes
	$(BIN)/python -m pytest

test-interop: setup  ## the tests against other mail programs (root; `tests/interop/peers.sh install` gets them), and kill -9 under load
	@tests/interop/peers.sh check
	$(BIN)/python -m pytest -m interop

lint: setup  ## style, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: setup  ## put the code into its form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: setup  ## measure, beside Postfix (root, and Debian's postfix): fails where it is slower or heavier than docs/performance.md says
	$(BIN)/python -m bench.store_rate
	$(BIN)/python -m bench.relay --at-least-reused 4 --at-least-single 3
	$(BIN)/python -m bench.idle
	$(BIN)/python -m bench.large
	$(BIN)/python -m bench.trace_cost
	$(BIN)/python -m bench.fairness
	$(BIN)/python -m bench.senderauth --at-least 10 --at-least-kept 3
	$(BIN)/python -m bench.inbound --at-least 0.5
	$(BIN)/python -m bench.client --at-least-single 3 --at-least-pool 2 --at-least-far 3

serve: setup  ## a server on loopback to try things out (CONFIG=waymail.toml: the server of that file)
	$(BIN)/waymail serve $(if $(CONFIG),--config $(CONFIG))

# Without this machine's own pip settings, so that the files are the same wherever they are made.
COMPILE = env -u PIP_FIND_LINKS PIP_CONFIG_FILE=/dev/null build/pip-tools/bin/pip-compile --quiet --generate-hashes --strip-extras \
	--allow-unsafe --no-header --no-emit-options --no-emit-index-url --no-emit-find-links --no-emit-trusted-host

constraints:  ## write constraints.txt and constraints-server.txt anew from pyproject.toml (UPGRADE=1: newest versions)
	$(PYTHON) -m venv build/pip-tools
	build/pip-tools/bin/python -m pip --disable-pip-version-check install --quiet pip-tools
	$(COMPILE) --extra server --extra dev $(if $(UPGRADE),--upgrade) --output-file constraints.txt pyproject.toml
	$(COMPILE) --extra server --constraint constraints.txt --output-file constraints-server.txt pyproject.toml
	sed -i '1i # What waymail is built, run and tested with, pinned by hash. Written by `make constraints` from pyproject.toml.' \
		constraints.txt
	sed -i '1i # What a server needs to run: a part of constraints.txt. Written by `make constraints` from pyproject.toml.' \
		constraints-server.txt

reference: setup  ## write docs/reference.md anew from signatures and docstrings
	$(BIN)/python tests/docs/reference.py

clean:  ## remove what was built
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
