# `make start` runs the demo, `make test` proves it; each first sets up what it needs.

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
VENV   ?= .venv
DJANGO ?=
STAMP  := $(VENV)/installed-$(DJANGO)

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help start test test-newest bench-draining bench-reaping stop checks

help:  ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /make \1	/p' Makefile | expand -t 18

start: $(STAMP)  ## run the demo until Ctrl-C; .env.example says what can be set
	@python -m sandbox start

test: $(STAMP)  ## lint, type-check and test
	@python -m sandbox during $(MAKE) --no-print-directory checks

test-newest: PYTHON := python3.13
test-newest:  ## the same on Python 3.13 with the newest Django, in .venv-newest
	@$(MAKE) --no-print-directory test VENV=.venv-newest PYTHON=$(PYTHON) DJANGO=Django==6.1.3

bench-draining: $(STAMP)  ## after an outage: keys a second of one completer, and what a client notices
	@python -m bench.draining

bench-reaping: $(STAMP)  ## a reaper's batch at 10 thousand, 1 and 10 million keys
	@python -m bench.reaping

stop: $(STAMP)  ## end the PostgreSQL that a killed demo or a bare manage.py left running
	@python -m sandbox stop

checks:
	ruff check .
	ruff format --check .
	DATABASE_URL=postgres://none/none STRIPE_API_KEY=none mypy
	python manage.py makemigrations --check --dry-run
	python manage.py check
	python -m pytest -n 2 --dist loadfile

$(STAMP): requirements.txt
	@test -w . || { echo "This folder is not writable: $(CURDIR)" >&2; exit 1; }
	@"$(PYTHON)" -c "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null || \
		{ echo "$(PYTHON) is not Python 3.11 or newer with venv; name one: make PYTHON=python3.x" >&2; exit 1; }
	@echo "Installing into $(VENV)"
	@rm -f $(VENV)/installed-*
	@test -x $(VENV)/bin/pip || "$(PYTHON)" -m venv $(VENV)
	@pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@test -z "$(DJANGO)" || pip install --quiet --disable-pip-version-check "$(DJANGO)"
	@touch $@
