# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# `make demo` and `make test` are all that a newcomer needs; `make help` lists the rest. All that is made lies in .work.

SHELL := /bin/bash
WORK := $(CURDIR)/.work
VENV := $(WORK)/venv
TREE := $(WORK)/tree/ansible_collections/servos/ops
# Most tests wait more than they compute. One alone runs with plain pytest as well.
SIDE_BY_SIDE := -n $(shell expr $$(nproc) + 1) --dist worksteal
SOURCES := $(shell git ls-files -co --exclude-standard -- galaxy.yml README.md CHANGELOG.rst meta plugins roles playbooks extensions/eda docs 2>/dev/null)

# PYTHONDONTWRITEBYTECODE costs a second for every Ansible command.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(VENV)/bin:$(PATH)
export NO_COLOR := 1
export ANSIBLE_COLLECTIONS_PATH := $(WORK)/collections
export ANSIBLE_HOME := $(WORK)/ansible

# Of the tests that COVERAGE=1 is set for, each process notes which lines it runs.
export SERVOS_COLLECTION := $(WORK)/collections/ansible_collections/servos/ops
export SERVOS_COVERAGE := $(WORK)/coverage
MEASURED := $(if $(COVERAGE),coverage run --rcfile=tests/coverage.cfg -m,python -m)

# From the oldest supported one (meta/runtime.yml) to the newest that is released; matrix adds the next one's candidate by itself.
CORES := 2.18 2.19 2.20 2.21

# The oldest Python that control hosts may have, where this machine has it.
OLDEST_PYTHON := $(firstword $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.8.*/bin/python))

.PHONY: help awx browser demo test lint importer sanity matrix unit states coverage integration libsql reference faults faults-controller faults-hosts campaigns \
	faults-quick leaks leaks-quick molecule bench docs fleet apps mutation build release collection tree clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## demo         rotate the key of a small ServOS on this machine under traffic, both ways, and prove it (no Docker, no systemd)
demo: $(VENV)/.demo collection
	$(VENV)/bin/python tests/demo/demo.py --work $(WORK)/demo

## test         everything that must pass: lint, docs, unit, states, reference, integration, faults-quick, leaks-quick, molecule
test:
	$(MAKE) --jobs 2 --output-sync lint docs unit states reference
	$(MAKE) integration
	$(MAKE) --jobs 2 molecule faults-quick leaks-quick

## lint         ruff, mypy, yamllint, shellcheck, pipelines, licences, ansible-lint, documentation, ansible-test sanity, galaxy-importer
lint: $(VENV)/.test collection sanity importer
	ruff check .
	mypy
	cd $(TREE) && yamllint .
	shellcheck .ci/run .ci/release $$(git ls-files -co --exclude-standard tests/lab tests/leaks/node/prepare.sh 'tests/apps/*/setup' docs/examples/bin/install docs/examples/bin/servos-run)
	check-jsonschema --builtin-schema vendor.github-workflows docs/examples/github/servos.yml
	check-jsonschema --builtin-schema vendor.gitlab-ci docs/examples/gitlab/gitlab-ci.yml
	cd $(TREE) && reuse lint --lines
	cd $(TREE) && ansible-lint --profile production --offline
	cd $(TREE) && antsibull-docs lint-collection-docs --plugin-docs --skip-rstcheck .
	antsibull-changelog lint

## importer     the tarball as Galaxy takes it: no error and no warning
importer: $(WORK)/importer/.made collection
	cd $(WORK)/importer && PATH=$(WORK)/importer/bin:$$PATH python -m galaxy_importer.main $(WORK)/build/servos-ops-*.tar.gz 2>&1 | tee log
	cd $(WORK)/importer && grep -q 'completed successfully' log && ! grep -E '^(WARNING|ERROR)' log

## sanity       ansible-test sanity, on the ansible-core that is installed
sanity: $(VENV)/.test tree
	tests/lab/ansible-test sanity $(TREE)

## matrix       ansible-test sanity and units on every supported ansible-core and Python that this machine has (no part of test; 40 minutes)
matrix: $(VENV)/.test $(CORES:%=$(WORK)/core-%/.made) tree
	set -e; next=$$(tests/lab/core-candidate $(lastword $(CORES)) $(WORK)/core-candidate); \
	echo "matrix: after $(lastword $(CORES)) there is $${next:-nothing yet, not even a candidate}"; \
	for command in sanity units; do for core in $(CORES) $${next:+candidate}; do \
	  echo "matrix: $$command on ansible-core $$core"; \
	  PATH=$(WORK)/core-$$core/bin:$$PATH tests/lab/ansible-test $$command $(TREE); done; done

## unit         pure parts, files, and each module's front door. ARGS=tests/unit/PATH: that alone; the same for integration
unit: $(VENV)/.test collection
	$(MEASURED) pytest --ansible-unit-inject-only $(or $(ARGS),tests/unit)

## states       every mixture of keys, and rotations as a game: stopped before any write, nothing lost (SERVOS_STATES_EXAMPLES=2000: longer)
states: $(VENV)/.test collection
	$(MEASURED) pytest --ansible-unit-inject-only tests/states

## coverage     the lines of module_utils that unit, states and integration run, at least 95 % of them (no part of test; half an hour)
coverage: $(VENV)/.test collection
	rm -rf $(SERVOS_COVERAGE) && mkdir -p $(SERVOS_COVERAGE)
	$(MAKE) unit states integration COVERAGE=1
	coverage combine --rcfile=tests/coverage.cfg --quiet
	coverage report --rcfile=tests/coverage.cfg --fail-under=95

## reference    the reference applications' own tests
reference: $(VENV)/.test
	python -m pytest --ansible-unit-inject-only tests/reference_apps

## integration  modules and playbooks against the reference applications, on this machine
integration: $(VENV)/.test collection $(WORK)/core-2.18/.made $(OLDEST_PYTHON:%=$(WORK)/python-3.8/.made)
	SERVOS_OLDEST_CORE=$(WORK)/core-2.18/bin SERVOS_OLDEST_PYTHON=$(OLDEST_PYTHON:%=$(WORK)/python-3.8/bin/python) $(MEASURED) pytest --ansible-unit-inject-only $(SIDE_BY_SIDE) --durations 25 $(or $(ARGS),tests/integration)

## libsql       the same on a real libSQL server (sqld, from a package on PyPI), as nobody
libsql: $(VENV)/.test collection
	SERVOS_SQLD=$$(tests/lab/sqld) && export SERVOS_SQLD && \
	  python -m pytest --ansible-unit-inject-only tests/integration/test_integration_libsql.py

## faults       stop a rotation everywhere and in every way, and judge; ARGS go to tests/faults/faults.py. Long
faults: $(VENV)/.test collection
	python tests/faults/faults.py $(ARGS)
	$(if $(ARGS),,$(MAKE) faults-controller faults-hosts campaigns)

## campaigns    all that breaks one request after the other, of which integration runs every third
campaigns: $(VENV)/.test collection
	SERVOS_CAMPAIGNS=1 python -m pytest --ansible-unit-inject-only $(SIDE_BY_SIDE) -m campaign tests/integration

## faults-controller  the same for the controller of a real ansible-playbook
faults-controller: $(VENV)/.test collection
	python tests/faults/controller.py $(ARGS)

## faults-hosts the same for two control hosts on one database; and one of the hosts is lost. ARGS="--piece 1/20 --jobs 2" is a sample
faults-hosts: $(VENV)/.test collection
	python tests/faults/control_hosts.py $(ARGS)

## faults-quick every kind of boundary once, a sample of the rest, and the harness itself against planted defects
faults-quick: $(VENV)/.test collection
	python tests/faults/faults.py --quick
	python tests/faults/controller.py --quick
	python tests/faults/control_hosts.py --quick
	python -m pytest --ansible-unit-inject-only tests/faults

## molecule     the playbooks on real hosts: systemd, sshd, traffic
molecule: $(VENV)/.test collection
	tests/lab/engine-up
	tests/lab/node-image
	SERVOS_COLLECTIONS_PATH=$(WORK)/collections molecule test --all

## apps         real applications from their package registries, rotated by the playbooks and read back by their own code (no part of test)
apps: $(VENV)/.test collection
	set -e; for setup in tests/apps/*/setup; do \
	  folder=$${setup%/setup}; $$setup $(WORK)/apps/$${folder##*/} "$$(readlink -f $(VENV)/bin/python)"; done
	python -m pytest --ansible-unit-inject-only tests/apps

## awx          playbooks/awx_setup.yml by awx.awx against a stand-in of AWX, and every job template under ansible-runner (no part of test)
awx: $(VENV)/.test collection $(WORK)/awx/.made
	python -m pytest --ansible-unit-inject-only tests/awx
	SERVOS_AWX=$(WORK)/awx python -m pytest --ansible-unit-inject-only tests/integration/test_integration_awx.py

## browser      a report in Chromium: edges, contrast, paper; pictures to look at in .work/browser (no part of test)
browser: $(VENV)/.test collection
	python -m pytest --ansible-unit-inject-only tests/browser

## leaks        the most talkative runs that Ansible can do, by both methods, on the oldest and the newest ansible-core: no key and no
##              plaintext outside its place; and each planted leak is caught
leaks: $(VENV)/.test collection $(WORK)/core-2.18/.made $(WORK)/core-2.19/.made
	tests/lab/engine-up
	python -m pytest --ansible-unit-inject-only tests/leaks --oldest $(WORK)/core-2.18/bin --between $(WORK)/core-2.19/bin

## leaks-quick  one such run, on the ansible-core that is installed here; and all planted leaks
leaks-quick: $(VENV)/.test collection
	tests/lab/engine-up
	python -m pytest --ansible-unit-inject-only tests/leaks --quick

## docs         the site, guides and generated reference, in .work/docs/html: no warning, and nothing that it or its reader fetches
docs: $(WORK)/docs-venv/.made collection
	rm -rf $(WORK)/docs && install -d -m 755 $(WORK)/docs/source/reference
	cp -r README.md CONTRIBUTING.md CHANGELOG.rst LICENSE docs docs/docsite/index.rst $(WORK)/docs/source
	PATH=$(WORK)/docs-venv/bin:$$PATH antsibull-docs collection --use-current --squash-hierarchy --fail-on-error \
	  --dest-dir $(WORK)/docs/source/reference servos.ops
	$(WORK)/docs-venv/bin/python -m sphinx -q -W --keep-going -b html -c docs/docsite -d $(WORK)/docs/doctrees $(WORK)/docs/source $(WORK)/docs/html
	! grep -rE '<(script|link|img)[^>]* (src|href)="https?:' --include='*.html' $(WORK)/docs/html

## bench        figures against their floors in the same run, a table and a plot in .work/bench; ARGS="--only postgres --values 1000 100000"
bench: $(VENV)/.test collection
	python tests/benchmarks/bench.py $(ARGS)

## fleet        50 installations on this machine, rotated batch by batch and checked (no part of test). ARGS go to tests/fleet/fleet.py
fleet: $(VENV)/.test collection
	python tests/fleet/fleet.py $(ARGS)

## mutation     small defects planted in _sealing, _keys and _rotation, a sample of them, and the share that the tests notice (no part of
##              test; 90 minutes). ARGS go to tests/mutation/mutation.py
mutation: $(WORK)/mutation-venv/.made
	nice -n 19 $(WORK)/mutation-venv/bin/python tests/mutation/mutation.py --work $(WORK)/mutation $(ARGS)

## build        the tarball, in .work/build
build: $(VENV)/.demo
	ansible-galaxy collection build --force --output-path $(WORK)/build

## release      changelog, tarball and its signature: VERSION=1.2.0 KEY=~/.ssh/id_ed25519 (docs/releasing.md)
release: $(VENV)/.test
	.ci/release '$(VERSION)' '$(KEY)'

collection: $(WORK)/collections/.installed

# Every target runs on what a user would install, not on the checkout.
$(WORK)/collections/.installed: $(SOURCES) $(VENV)/.demo
	rm -rf $(WORK)/build $(WORK)/collections
	ansible-galaxy collection build --force --output-path $(WORK)/build
	ansible-galaxy collection install $(WORK)/build/servos-ops-*.tar.gz -p $(WORK)/collections --no-deps --force
	touch $@

# ansible-test and ansible-lint want the collection in a folder of its own name, and no link.
tree:
	rm -rf $(TREE) && mkdir -p $(TREE)
	git ls-files -co --exclude-standard -z | xargs -0 -I{} sh -c 'test -e "{}" && printf "%s\0" "{}"' | xargs -0 cp --parents -t $(TREE)

$(VENV)/bin/uv:
	"$$(tests/lab/python)" -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet uv

$(VENV)/.demo: tests/requirements-demo.txt | $(VENV)/bin/uv
	VIRTUAL_ENV=$(VENV) uv pip install --quiet --compile-bytecode -r $<
	touch $@

$(VENV)/.test: tests/requirements.txt tests/requirements-demo.txt | $(VENV)/bin/uv
	VIRTUAL_ENV=$(VENV) uv pip install --quiet --compile-bytecode -r $<
	touch $@ $(VENV)/.demo

$(WORK)/docs-venv/.made: docs/docsite/requirements.txt | $(VENV)/bin/uv
	$(VENV)/bin/uv venv --quiet --clear --python $(VENV)/bin/python $(@D)
	VIRTUAL_ENV=$(@D) $(VENV)/bin/uv pip install --quiet --compile-bytecode -r $<
	touch $@

# Its requirements hold others back, so it has an environment of its own.
$(WORK)/importer/.made: | $(VENV)/bin/uv
	$(VENV)/bin/uv venv --quiet --clear --python "$$(readlink -f $(VENV)/bin/python)" $(@D)
	VIRTUAL_ENV=$(@D) $(VENV)/bin/uv pip install --quiet --compile-bytecode galaxy-importer ansible-core
	touch $@

$(WORK)/mutation-venv/.made: tests/mutation/requirements.txt tests/requirements-demo.txt | $(VENV)/bin/uv
	$(VENV)/bin/uv venv --quiet --clear --python $(VENV)/bin/python $(@D)
	VIRTUAL_ENV=$(@D) $(VENV)/bin/uv pip install --quiet --compile-bytecode -r $<
	touch $@

# An ansible-core of another line, alone.
$(WORK)/core-%/.made: | $(VENV)/bin/uv
	$(VENV)/bin/uv venv --quiet --clear --python "$$(readlink -f $(VENV)/bin/python)" $(@D)
	VIRTUAL_ENV=$(@D) $(VENV)/bin/uv pip install --quiet --compile-bytecode 'ansible-core==$*.*' pip
	touch $@

# A Python with what a control host needs, and nothing else.
$(WORK)/python-3.8/.made: | $(VENV)/bin/uv
	$(VENV)/bin/uv venv --quiet --clear --python "$(OLDEST_PYTHON)" $(@D)
	VIRTUAL_ENV=$(@D) $(VENV)/bin/uv pip install --quiet cryptography
	touch $@

# The last line of the ansible package that brings awx.awx along.
$(WORK)/awx/.made: | $(VENV)/bin/uv
	$(VENV)/bin/uv venv --quiet --clear --python "$$(readlink -f $(VENV)/bin/python)" $(@D)
	VIRTUAL_ENV=$(@D) $(VENV)/bin/uv pip install --quiet 'ansible==13.*'
	touch $@

## clean        remove all that was made here
clean:
	tests/lab/engine-down || true
	rm -rf $(WORK)
