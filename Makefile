# Failback. What boots a lab runs as root on Debian 12; `make doctor` says what a machine lacks for it.
#
#   LAB=name     the lab's name: several labs can be up at once       (default: failback)
#   ONLY=tests/unit/decisions/test_plan.py::test_x    for make test: one test, file or folder; RELEASE=3006
#   SUITES='unit functional'    for make test: only these             (default: all but bench)
#   RELEASE=trixie    for make test and what boots a lab: all hosts have this Debian, or bookworm
#   KEEP=1       for make test: the labs stay up afterwards, for a look
#   REQUIRE=all  for make test: what this machine cannot run is a failure, not a skip
#   N=300 SEED=7 SINCE=v0.1.0 IN=state/ JOBS=2    for make mutants: how many, which, in what has changed, in which
#                files, how many at a time (default: one for each processor); TESTS='tests/unit/state' only with these
#   N=50 SEED=7  for make faults: so many runs, chosen at random from that seed  (default: all there are)
#   BRIEF=1      for make faults: every fault once in every phase; MINUTES=60: begin no other run after that
#   SITE=salt    which site lab-up builds: salt, or dalma (19 hosts)   (default: salt)
#   PAIRS='mgmt slurm'    of a site only these pairs, and the masters  (default: all)
#   FAILBACK_CACHE=folder    image, wheels, virtual environments       (default: /var/cache/failback)

LAB ?= failback
SITE ?= salt
PAIRS ?=
HOST ?= salt1
PYTHON := /usr/bin/python3
DEBIAN := $(filter bookworm trixie,$(RELEASE))
TESTS = $(PYTHON) -m lab.testing $(if $(ONLY),--only '$(ONLY)') $(addprefix --release ,$(filter-out $(DEBIAN),$(RELEASE)))
export LAB REQUIRE
export FAILBACK_KEEP ?= $(KEEP)
export FAILBACK_DEBIAN ?= $(DEBIAN)

# What the machine itself needs. gcc and the headers compile one small library that Salt wants.
PACKAGES := \
    python3 python3-venv python3-dev gcc libc6-dev git openssh-client rsync lsyncd acl attr \
    mmdebstrap systemd-container iproute2 procps util-linux

.DEFAULT_GOAL := help
.PHONY: help demo test check test-thorough mutants doctor faults bench lint reference release image lab-up lab-down lab-status \
    lab-push shell deps

help:               ## this list
	@awk -F ':.*## *' '/^[a-z-]+:.*##/ { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: deps          ## the story: a primary dies, and comes home; SITE=vm: virtual machines
	@$(PYTHON) -m lab demo --site $(SITE)

test: deps          ## all tests, or those that load Salt on RELEASE=3007; exits non-zero if any fails
	@$(TESTS) $(SUITES)

check: deps         ## the inner loop: lint, unit and functional tests on one release
	@$(TESTS) --check

test-thorough: deps ## the properties again, with 20 times as many examples; SEED=7 makes the same again
	@$(TESTS) --thorough $(if $(SEED),--seed $(SEED)) $(or $(SUITES),unit functional bench)

mutants: deps       ## what the suite does not see: N=300 SEED=7 things made wrong, one at a time
	@$(PYTHON) -m lab.mutants $(if $(N),-n $(N)) $(if $(SEED),--seed $(SEED)) \
		$(if $(SINCE),--since '$(SINCE)') $(if $(IN),--only '$(IN)') $(if $(JOBS),--jobs $(JOBS)) $(if $(TESTS),--tests $(TESTS))

doctor: deps        ## what this machine lacks for a lab, and what to do about it
	@$(PYTHON) -m lab doctor

faults: deps        ## faults at every step of every orchestration; a table; or N=50 SEED=7, BRIEF=1
	@$(PYTHON) -m lab.faults $(if $(N),-n $(N)) $(if $(SEED),--seed $(SEED)) \
		$(if $(BRIEF),--brief --missing) $(if $(MINUTES),--minutes $(MINUTES)) \
		$(foreach operation,$(OPERATION),--operation $(operation))

bench: deps         ## beside keepalived, pacemaker and a script: docs/benchmarks.md (QUICK=1: does it work?)
	@$(PYTHON) -m benchmarks $(if $(QUICK),--quick) $(if $(ROWS),--only $(ROWS))

lint: deps          ## ruff, salt-lint, and whether docs/reference.md is current
	@$(TESTS) lint

reference: $(PYTHON) ## write docs/reference.md from the docstrings
	@$(PYTHON) -m lab.reference

release: deps       ## a tarball, a Debian package, a wheel and their checksums, in artifacts/release
	@$(PYTHON) -m lab.release

image: deps         ## the image that the lab's hosts are copies of (cached)
	@$(PYTHON) -m lab image --site $(SITE)

lab-up: deps        ## boot the lab's hosts
	@$(PYTHON) -m lab up --site $(SITE) --pairs '$(PAIRS)'

lab-down: $(PYTHON) ## remove the lab: hosts, mounts, namespaces, control groups
	@$(PYTHON) -m lab down

lab-status: $(PYTHON) ## which hosts are on
	@$(PYTHON) -m lab status

lab-push: $(PYTHON) ## copy this checkout's salt/ and pillar/ to the lab's running masters
	@$(PYTHON) -m lab push

shell: $(PYTHON)    ## a shell in a host: make shell HOST=salt2
	@$(PYTHON) -m lab shell $(HOST)

deps:               ## install what the machine needs, if it is missing
	@missing=; \
	for package in $(PACKAGES); do \
	    dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' \
	        || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" != 0 ]; then \
	    echo "==> not here, and only root may install them:$$missing"; \
	elif [ -n "$$missing" ]; then \
	    echo "==> apt-get install$$missing"; \
	    export DEBIAN_FRONTEND=noninteractive; \
	    apt-get -qq update && apt-get -qq install -y --no-install-recommends $$missing >/dev/null; \
	fi
