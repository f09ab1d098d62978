# `make start` runs the demo, `make test` tests it, `make prove` proves it; each first sets up what it needs.

# The first of the pythons in $(2) that runs, is 3.$(1) or newer, and has venv. A shim of pyenv's can
# be there without a version behind it.
python_from = $(shell for python in $(2); do "$$python" -c \
	"import ensurepip, sys; sys.exit(sys.version_info < (3, $(1)))" 2>/dev/null && echo "$$python" && break; done)

PYTHON ?= $(or $(call python_from,11,python3.11 python3),python3.11)
VENV   ?= .venv
VENV_DBOS ?= .venv-dbos
VENV_PSYCOPG ?= .venv-psycopg
VENV_PATRONI ?= .venv-patroni
VENV_DOCS ?= .venv-docs
VENV_EXAMPLES ?= .venv-examples
VENV_AUDIT ?= .venv-audit
VENV_PRODUCTION ?= .venv-production
VENV_BROWSER ?= .venv-browser
DJANGO ?=
REQUIREMENTS ?= requirements.txt
STAMP  := $(VENV)/installed-$(DJANGO)

# Each tool by its path: a bare name would be another Python's where this one is not whole.
RUN := $(VENV)/bin/python -m
LINT_IMPORTS := $(VENV)/bin/python -c "from importlinter.cli import lint_imports_command as c; c()"

export PATH := $(abspath $(VENV))/bin:$(PATH)

# What a shell has for another project is not for this one; .env.example lists what is.
unexport $(filter PG% PYTHON% DJANGO_% PIP_USER PIP_TARGET PIP_PREFIX GRANIAN_% PYTEST_% MYPY%, $(.VARIABLES))

.PHONY: help start test prove drills ci test-newest test-matrix test-psycopg test-queue test-pgbouncer \
	test-failover chaos fuzz bugs evidence bench compare bench-draining bench-growth bench-profile rolling-restarts \
	stop checks static specification app-specification explorations practice on-this-driver brokers pgbouncer \
	debian-postgres haproxy prometheus ha-programs load-generator test-docs installed pages docs site test-examples example-wheel \
	lock audit production test-browser screenshots chromium in-chromium cells test-cells faketime

help:  ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /make \1	/p' Makefile | expand -t 22

start: $(STAMP)  ## run the demo until Ctrl-C; .env.example says what can be set
	@$(RUN) sandbox start

cells: $(STAMP) haproxy  ## four cells on three nodes of Citus, behind HAProxy, until Ctrl-C; CITUS=folder is a build of it
	@$(RUN) sandbox cells

test: $(STAMP)  ## lint, type-check, and run the specification
	@$(RUN) sandbox during $(MAKE) --no-print-directory checks

prove: $(STAMP)  ## the explorations: crashes at every boundary, the models, planted bugs
	@$(RUN) sandbox during $(MAKE) --no-print-directory explorations

drills: $(STAMP) haproxy prometheus  ## real processes killed, frozen, flooded and upgraded; whole demos, deploys and failovers
	@$(RUN) sandbox during $(MAKE) --no-print-directory practice

ci:  ## what the build server runs
	@$(MAKE) --no-print-directory test
	@$(MAKE) --no-print-directory prove
	@$(MAKE) --no-print-directory drills
	@$(MAKE) --no-print-directory test-docs
	@$(MAKE) --no-print-directory test-matrix CORNER=3.13-6.1-psycopg-debian
	@$(MAKE) --no-print-directory test-examples SHORT=1
	@$(MAKE) --no-print-directory test-browser SHORT=1
	@$(MAKE) --no-print-directory test-cells SHORT=1

NEWEST := $(foreach minor,13 14 12,python3.$(minor) $(wildcard $(HOME)/.pyenv/versions/3.$(minor).*/bin/python))
test-newest: PYTHON = $(call python_from,12,$(NEWEST))
test-newest:  ## the same on Python 3.12 or newer with the newest Django, in .venv-newest
	@test -n "$(PYTHON)" || { echo "This needs Python 3.12 or newer with venv, which was not found; name one:" \
		"make test-newest PYTHON=python3.x" >&2; exit 1; }
	@$(MAKE) --no-print-directory test VENV=.venv-newest PYTHON=$(PYTHON) DJANGO=Django==6.1.3

test-matrix: $(STAMP) debian-postgres  ## the app's tests on each Python, Django, driver and PostgreSQL at hand; CORNER=3.13-6.1-psycopg-debian is one
	@$(RUN) nox $(if $(CORNER),--session "matrix($(CORNER))",--session matrix)

test-psycopg:  ## specification, explorations and drills on psycopg 3, Django's other driver, in .venv-psycopg
	@$(MAKE) --no-print-directory on-this-driver VENV=$(VENV_PSYCOPG) REQUIREMENTS=requirements-psycopg.txt

on-this-driver: $(STAMP) haproxy prometheus
	@$(RUN) sandbox during $(MAKE) --no-print-directory specification explorations practice

IN_DOCS := $(MAKE) --no-print-directory VENV=$(VENV_DOCS) REQUIREMENTS=docs/requirements.txt
test-docs:  ## the pages: each block, command, link and name, the guides, the reference, the site, the wheel; in .venv-docs
	@$(IN_DOCS) installed
	@$(VENV_DOCS)/bin/python -m sandbox during $(IN_DOCS) pages

docs:  ## these pages as a site, in .local/docs
	@$(IN_DOCS) installed
	@$(IN_DOCS) site
	@echo "Open .local/docs/index.html"

installed: $(STAMP)

site:
	@$(RUN) sphinx --fail-on-warning --keep-going --quiet docs .local/docs

pages:
	$(PYTEST) docs/tests idempotency/tests/test_package.py proof/tests/test_guarantees.py

test-queue: export QUEUES ?= database redis rabbitmq
test-queue: export KILLS ?= 10
test-queue: $(VENV)/installed-queue brokers  ## the job queue on real brokers; KILLS=500 is the long form
	@$(RUN) sandbox during $(RUN) pytest -r s rides/tests/queues

test-pgbouncer: $(STAMP) pgbouncer  ## the tests with a PgBouncer in transaction mode before PostgreSQL
	@test ! -x $(PGBOUNCER) || $(RUN) sandbox pooled $(RUN) pytest -n 4 --dist loadfile \
		idempotency rides $(filter proof/%,$(EXPLORATIONS))

test-failover: export VENV_PATRONI := $(abspath $(VENV_PATRONI))
test-failover: SWITCHOVERS ?= 20
test-failover: $(STAMP) $(VENV_PATRONI)/installed ha-programs  ## PostgreSQL switched over SWITCHOVERS=20 times under load, in each way, and by Patroni; and as often with its last commits lost
	@echo address: && $(RUN) proof.failover --way address --switchovers $(SWITCHOVERS)
	@echo hosts: && $(RUN) proof.failover --way hosts --switchovers $(SWITCHOVERS)
	@echo patroni: && $(RUN) proof.failover --way patroni --switchovers 3
	@echo "lost commits:" && $(RUN) proof.losses --losses $(SWITCHOVERS)

test-cells: $(STAMP) haproxy faketime  ## the tests in a cell on Citus, then cells under load: moved, killed, added to, promoted; SHORT=1 for a build server
	@test -n "$(CITUS)" || { echo "NOT TESTED below: cells; CITUS=folder names a build of Citus, which takes half" \
		"a minute (docs/scaling.md)" >&2; exit 0; }; \
	$(RUN) proof.cells.suite $(if $(SHORT),--short,$(call ignoring,$(EXPLORATIONS) $(DRILLS) $(BY_THEMSELVES))) && \
	$(RUN) proof.cells $(if $(SHORT),--short)

test-examples: EXAMPLES ?= $(EXAMPLE_PROJECTS)
test-examples: example-wheel $(VENV_EXAMPLES)/installed  ## the projects of examples/, each from a copy with the built wheel; EXAMPLES=hotel is one, SHORT=1 for a build server
	@$(VENV_EXAMPLES)/bin/pip install --quiet --disable-pip-version-check --force-reinstall --no-deps \
		$(VENV_EXAMPLES)/wheel/*.whl
	@$(RUN) sandbox during $(RUN) examples --python $(VENV_EXAMPLES)/bin/python $(if $(SHORT),--short) $(EXAMPLES)
	@$(RUN) sandbox during $(RUN) pytest -q -s idempotency/tests/test_lines_of_adoption.py \
		$(if $(SHORT),,idempotency/tests/adopters)

# The service runs on what the browser's driver is installed beside.
IN_BROWSER := $(MAKE) --no-print-directory VENV=$(VENV_BROWSER) REQUIREMENTS=rides/tests/browser/requirements.txt
test-browser: chromium  ## the console and the rider's form in Debian's Chromium, in .venv-browser; SHORT=1 for a build server
	@test ! -x $(CHROMIUM) || $(IN_BROWSER) in-chromium

screenshots: export SCREENSHOTS = docs/images/console
screenshots: chromium  ## the pictures of the console in docs/images/console, by the tests of its incidents and of axe
	@test ! -x $(CHROMIUM) || $(IN_BROWSER) in-chromium PICTURED="-k 'incidents or simulator or axe'"

in-chromium: export DATABASE_SESSION_OPTIONS = $(TEST_SESSION)
in-chromium: $(STAMP)
	@$(RUN) sandbox during $(RUN) pytest -q rides/tests/browser $(if $(SHORT),-m short) $(PICTURED)

# What production runs on is the first section of requirements.txt.
AUDIT := $(VENV_AUDIT)/bin
AUDITED := .local/audit
locked_into = sed '/^$$/q' requirements.txt | $(AUDIT)/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --custom-compile-command "make lock" --output-file $(1) \
	$(if $(UPGRADE),--upgrade-package $(UPGRADE)) - >/dev/null
licences_into = { cat deploy/licences-head.md; $(AUDIT)/pip-licenses --python $(VENV_PRODUCTION)/bin/python \
	--from=mixed --format=markdown --allow-only "$$(grep -v '^\#' deploy/licences-allowed.txt | paste -s -d ';')"; } > $(1)

lock: $(VENV_AUDIT)/installed  ## requirements.lock anew from requirements.txt, and docs/licences.md of it; UPGRADE=urllib3 raises one that is only needed by others
	@$(call locked_into,requirements.lock)
	@$(MAKE) --no-print-directory production
	@mkdir -p $(AUDITED)
	@$(call licences_into,$(AUDITED)/licences.md) && cp $(AUDITED)/licences.md docs/

audit: $(VENV_AUDIT)/installed production  ## what production runs on: its lock is current, its licences are allowed, nothing is known against it; and its SBOM
	@mkdir -p $(AUDITED) && cp requirements.lock $(AUDITED)/
	@$(call locked_into,$(AUDITED)/requirements.lock) && diff -u requirements.lock $(AUDITED)/requirements.lock
	@$(call licences_into,$(AUDITED)/licences.md) && diff -u docs/licences.md $(AUDITED)/licences.md
	@echo "requirements.lock and docs/licences.md are current, and every licence is allowed"
	@$(AUDIT)/cyclonedx-py environment --output-reproducible --output-file $(AUDITED)/sbom.json $(VENV_PRODUCTION)
	@echo "$(AUDITED)/sbom.json is the SBOM, in CycloneDX"
	@$(AUDIT)/pip-audit --vulnerability-service osv --strict --progress-spinner off --disable-pip \
		--require-hashes --requirement requirements.lock > $(AUDITED)/advisories 2>&1; status=$$?; \
	grep -q "known vulnerabilit" $(AUDITED)/advisories || { tail -n 1 $(AUDITED)/advisories >&2; \
		echo "NOT AUDITED: the database of advisories could not be asked" >&2; exit 2; }; \
	cat $(AUDITED)/advisories; exit $$status

# As production is installed: by the hashes, and without pip.
production: $(VENV_AUDIT)/installed
	@rm -rf $(VENV_PRODUCTION) && "$(PYTHON)" -m venv --without-pip $(VENV_PRODUCTION)
	@$(AUDIT)/python -m pip --python $(VENV_PRODUCTION)/bin/python install --quiet --disable-pip-version-check \
		--require-hashes --requirement requirements.lock

chaos: MINUTES ?= 1
chaos: CLIENTS ?= 8
chaos: $(STAMP)  ## all that can happen, for MINUTES=1 with CLIENTS=8; SEED=14 repeats a run, NEMESES="kill Stripe" narrows it
	@$(RUN) proof.chaos --minutes $(MINUTES) --clients $(CLIENTS) $(if $(SEED),--seed $(SEED)) \
		$(if $(filter-out undefined,$(origin NEMESES)),--nemeses $(NEMESES))

fuzz: REQUESTS ?= 10000
fuzz: $(STAMP)  ## the service asked what none should ask, by its contract and by the byte: REQUESTS=100000 is the long form, SEED=2 asks other things
	@$(RUN) proof.fuzz --requests $(REQUESTS) $(if $(SEED),--seed $(SEED))

rolling-restarts: export RESTARTS ?= 20
rolling-restarts: $(STAMP) haproxy  ## two instances restarted in turn under load, RESTARTS=20 times: no client notices
	@$(RUN) proof.rolling --restarts $(RESTARTS)

bugs: $(STAMP)  ## plant the known bugs one at a time, and say which check caught which
	@$(RUN) sandbox during $(RUN) pytest -q $(BUGS)

evidence: export DATABASE_SESSION_OPTIONS = $(TEST_SESSION)
evidence: $(STAMP)  ## all proofs in their long form, an hour and a half, into docs/evidence.md
	@$(RUN) sandbox during $(RUN) proof.evidence

bench: $(STAMP) $(VENV)/installed-bench $(VENV_DBOS)/installed $(VENV_PSYCOPG)/installed load-generator  ## what safety costs, beside an unsafe view, DBOS and the floor; FULL=1 is the long form
	@VENV_DBOS=$(abspath $(VENV_DBOS)) VENV_PSYCOPG=$(abspath $(VENV_PSYCOPG)) $(RUN) bench $(if $(FULL),--full)
	@$(RUN) bench.http_clients

compare: $(STAMP) $(VENV)/installed-compared  ## what packages for idempotency keys do when they are killed, for docs/compared.md
	@$(RUN) sandbox during $(RUN) bench.packages
	@$(RUN) sandbox during $(RUN) bench.packages.conforming

bench-draining: $(STAMP)  ## after an outage: keys a second of one completer, and what a client notices
	@$(RUN) bench.draining

bench-profile: $(STAMP)  ## where a ride's time in Python goes, part by part, beside the unsafe view's
	@$(RUN) bench.profile

bench-growth: $(STAMP)  ## what grows from 10 thousand finished keys to 1 and 10 million: nothing should
	@$(RUN) bench.growth

stop: $(STAMP)  ## end the PostgreSQL that a bare manage.py left running
	@$(RUN) sandbox stop

# As the settings have it, but that a commit does not wait for the disk: what the tests write need
# not survive a power cut, only the death of processes.
TEST_SESSION := -c idle_in_transaction_session_timeout=30s -c lock_timeout=10s -c synchronous_commit=off

BUGS := $(wildcard */tests/test_planted_bugs.py)
# Explorations, whose failures are read by themselves.
EXPLORATIONS := $(wildcard */tests/test_every_boundary*.py */tests/test_model.py */tests/test_model_of_*.py \
	$(BUGS))
# What starts, kills, floods, freezes or upgrades real processes and databases, a second and more a test.
DRILLS := idempotency/tests/adopters $(addprefix idempotency/tests/test_,clocks.py completing_many.py deploys.py indexes.py old_snapshots.py \
		package.py phases_that_the_database_stops.py printing.py stricter_sessions.py tutorial.py worker_commands.py) \
	$(addprefix rides/tests/,queues $(patsubst %,test_%.py,bad_input canaries canaries_of_a_run crashes creating_a_ride endless_retries \
		defects_of_the_original haproxy haproxy_limits haproxy_tls lost_history many_payments metrics original other_sites \
		overload pinned_workers pool prometheus raise_error \
		reconciling_many roles seed seen_from_outside shared_signins silence simulator slow_clients stopping who_may_do_what_by_http)) \
	$(addprefix rocketrides/tests/test_,configuration.py debug_page.py) \
	sandbox/tests bench/tests proof/tests/test_pair.py proof/tests/test_fuzz.py
# Whole demos, deploys and failovers are held to seconds, so they have the machine to themselves.
BY_THEMSELVES := sandbox/tests/test_start.py \
	$(patsubst %,proof/tests/test_%.py,chaos failover losses old_snapshots restarts rolling two_releases)

PYTEST := DATABASE_SESSION_OPTIONS="$(TEST_SESSION)" $(RUN) pytest
# More at a time than there are cores, since they wait a lot.
IN_PARALLEL := -n 3 --dist loadfile
ignoring = $(patsubst %,--ignore=%,$(1))

checks:
	@$(MAKE) --no-print-directory -j 2 static specification

static:
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(LINT_IMPORTS) --no-logo --no-cache
	DATABASE_URL=postgres://none/none STRIPE_API_KEY=none $(RUN) mypy
	$(VENV)/bin/python manage.py makemigrations --check --dry-run
	$(VENV)/bin/python manage.py check

specification:
	$(PYTEST) $(IN_PARALLEL) $(call ignoring,$(EXPLORATIONS) $(DRILLS) $(BY_THEMSELVES))

app-specification:
	$(PYTEST) $(IN_PARALLEL) idempotency $(call ignoring,$(EXPLORATIONS) $(DRILLS) $(BY_THEMSELVES))

explorations:
	$(PYTEST) $(IN_PARALLEL) $(EXPLORATIONS)

practice:
	$(PYTEST) $(IN_PARALLEL) $(DRILLS) $(call ignoring,$(BY_THEMSELVES))
	$(PYTEST) $(BY_THEMSELVES)

# Debian's packages. The tests run the programs themselves and leave the system's services alone.
PGBOUNCER := /usr/sbin/pgbouncer
debian = test "$$(id -u)" = 0 && command -v apt-get >/dev/null || \
		{ echo "NOT TESTED below, because only root can install it: $(1)" >&2; exit 0; }; \
	echo "Installing $(1)"; \
	apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
		--no-install-recommends $(1) >/dev/null

brokers:
	@command -v redis-server >/dev/null && test -x /usr/lib/rabbitmq/bin/rabbitmq-server && exit 0; \
	$(call debian,redis-server rabbitmq-server)

ha-programs:
	@command -v etcd >/dev/null && command -v haproxy >/dev/null && exit 0; \
	$(call debian,etcd-server haproxy)

pgbouncer:
	@test -x $(PGBOUNCER) && exit 0; $(call debian,pgbouncer)

CHROMIUM := /usr/bin/chromium
chromium:
	@test -x $(CHROMIUM) && exit 0; $(call debian,chromium) || \
		echo "NOT TESTED below: the pages in a browser, since chromium could not be installed" >&2

debian-postgres:
	@command -v pg_virtualenv >/dev/null && exit 0; \
	$(call debian,postgresql)

haproxy:
	@command -v haproxy >/dev/null && exit 0; \
	$(call debian,haproxy) || echo "NOT TESTED below: HAProxy, which could not be installed" >&2

prometheus:
	@command -v prometheus >/dev/null && command -v promtool >/dev/null && exit 0; \
	$(call debian,prometheus) || echo "NOT TESTED below: Prometheus, which could not be installed" >&2

faketime:
	@ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 && exit 0; \
	$(call debian,libfaketime) || echo "NOT TESTED below: a node whose clock is wrong" >&2

load-generator:
	@command -v wrk >/dev/null && exit 0; \
	$(call debian,wrk) || echo "NOT MEASURED below: what wrk asks, which could not be installed" >&2

# An alternative that cannot be had is left out of the table, which says so.
$(VENV)/installed-bench: $(STAMP) bench/requirements.txt
	@$(RUN) pip install --quiet --disable-pip-version-check --requirement bench/requirements.txt && touch $@ || \
		echo "NOT MEASURED below: an alternative that could not be installed" >&2

$(VENV)/installed-compared: $(STAMP) bench/packages/requirements.txt
	@$(RUN) pip install --quiet --disable-pip-version-check --requirement bench/packages/requirements.txt && touch $@

$(VENV_DBOS)/installed: bench/requirements-dbos.txt
	@echo "Installing into $(VENV_DBOS)"
	@test -x $(VENV_DBOS)/bin/pip || "$(PYTHON)" -m venv $(VENV_DBOS)
	@$(VENV_DBOS)/bin/pip install --quiet --disable-pip-version-check --requirement $< && touch $@ || \
		echo "NOT MEASURED below: DBOS, which could not be installed" >&2

$(VENV_PSYCOPG)/installed: requirements-psycopg.txt requirements.txt
	@echo "Installing into $(VENV_PSYCOPG)"
	@test -x $(VENV_PSYCOPG)/bin/pip || "$(PYTHON)" -m venv $(VENV_PSYCOPG)
	@$(VENV_PSYCOPG)/bin/pip install --quiet --disable-pip-version-check --requirement $< && touch $@ || \
		echo "NOT MEASURED below: the service on psycopg 3, which could not be installed" >&2

example-wheel: $(STAMP)
	@rm -rf $(VENV_EXAMPLES)/wheel
	@$(RUN) hatchling build -t wheel -d $(VENV_EXAMPLES)/wheel >/dev/null

# The same versions as here, where both have one; with what the extras of the wheel ask for.
EXAMPLE_PROJECTS := $(patsubst examples/%/requirements.txt,%,$(wildcard examples/*/requirements.txt))
$(VENV_EXAMPLES)/installed: $(EXAMPLE_PROJECTS:%=examples/%/requirements.txt) requirements.txt pyproject.toml | example-wheel
	@echo "Installing into $(VENV_EXAMPLES)"
	@test -x $(VENV_EXAMPLES)/bin/pip || "$(PYTHON)" -m venv $(VENV_EXAMPLES)
	@$(VENV_EXAMPLES)/bin/pip install --quiet --disable-pip-version-check --constraint requirements.txt \
		$(EXAMPLE_PROJECTS:%=--requirement examples/%/requirements.txt) "$$(echo $(VENV_EXAMPLES)/wheel/*.whl)[drf,ninja,testing]"
	@touch $@

$(VENV_AUDIT)/installed: deploy/requirements-audit.txt
	@echo "Installing into $(VENV_AUDIT)"
	@test -x $(VENV_AUDIT)/bin/pip || "$(PYTHON)" -m venv $(VENV_AUDIT)
	@$(VENV_AUDIT)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(VENV_PATRONI)/installed: proof/requirements-patroni.txt
	@echo "Installing into $(VENV_PATRONI)"
	@test -x $(VENV_PATRONI)/bin/pip || "$(PYTHON)" -m venv $(VENV_PATRONI)
	@$(VENV_PATRONI)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(VENV)/installed-queue: $(STAMP) requirements-queue.txt
	@$(RUN) pip install --quiet --disable-pip-version-check --requirement requirements-queue.txt
	@touch $@

# The Python of an environment is a link, and gone when that Python is removed or renamed: then the
# environment is built anew. It is looked first whether anything can be run from the folder.
$(VENV)/bin/python:
	@test -w . || { echo "This folder is not writable: $$PWD" >&2; exit 1; }
	@"$(PYTHON)" -c "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null || \
		{ echo "$(PYTHON) is not Python 3.11 or newer with venv; name one: make PYTHON=python3.x" >&2; exit 1; }
	@mkdir -p $(VENV) && printf '#!/bin/sh\n' > $(VENV)/probe && chmod +x $(VENV)/probe
	@$(VENV)/probe 2>/dev/null || { echo "Nothing can be run from $(VENV), whose file system is mounted noexec;" \
		"name a folder elsewhere: make VENV=/path/to/a/folder start" >&2; exit 1; }
	@echo "Making $(VENV)"
	@"$(PYTHON)" -m venv $(if $(wildcard $(VENV)/pyvenv.cfg),--clear) $(VENV)

$(STAMP): requirements.txt $(REQUIREMENTS) $(VENV)/bin/python
	@test -w $(VENV) || { echo "This folder is not writable: $(VENV) in $$PWD" >&2; exit 1; }
	@echo "Installing into $(VENV)"
	@rm -f $(VENV)/installed-*
	@$(RUN) pip --version >/dev/null 2>&1 || $(RUN) ensurepip >/dev/null  # it was broken off in between
	@$(RUN) pip install --quiet --disable-pip-version-check --requirement $(REQUIREMENTS)
	@test -z "$(DJANGO)" || $(RUN) pip install --quiet --disable-pip-version-check "$(DJANGO)"
	@touch $@
