# Failback. Everything here runs as root on Debian 12; see docs/ for what it shows.
#
#   LAB=name     the lab's name: several labs can be up at once       (default: failback)
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
export LAB

# What the machine itself needs. gcc and the headers compile one small library that Salt wants.
PACKAGES := \
    python3 python3-venv python3-dev gcc libc6-dev git openssh-client rsync lsyncd acl attr \
    mmdebstrap systemd-container iproute2 procps util-linux

.DEFAULT_GOAL := help
.PHONY: help demo test faults bench lint image lab-up lab-down lab-status lab-push shell deps

help:               ## this list
	@awk -F ':.*## *' '/^[a-z-]+:.*##/ { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: deps          ## the story: a primary dies, and comes home; SITE=vm: virtual machines
	@$(PYTHON) -m lab demo --site $(SITE)

test: deps          ## all tests, on Salt 3006 and 3008; exits non-zero if any fails
	@$(PYTHON) -m lab.test_runner $(SUITES)

faults: deps        ## faults at every step of every orchestration; a table; or N=50 SEED=7, BRIEF=1
	@$(PYTHON) -m lab.faults $(if $(N),-n $(N)) $(if $(SEED),--seed $(SEED)) \
		$(if $(BRIEF),--brief --missing) $(if $(MINUTES),--minutes $(MINUTES))

bench: deps         ## beside keepalived, pacemaker and a script: docs/benchmarks.md (QUICK=1: does it work?)
	@$(PYTHON) -m benchmarks $(if $(QUICK),--quick) $(if $(ROWS),--only $(ROWS))

lint: deps          ## ruff and salt-lint
	@$(PYTHON) -m lab.test_runner lint

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
	@if [ "$$(id -u)" != 0 ]; then echo "Run make as root: the lab makes mounts and namespaces."; exit 1; fi
	@missing=; \
	for package in $(PACKAGES); do \
	    dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' \
	        || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	    echo "==> apt-get install$$missing"; \
	    export DEBIAN_FRONTEND=noninteractive; \
	    apt-get -qq update && apt-get -qq install -y --no-install-recommends $$missing >/dev/null; \
	fi
