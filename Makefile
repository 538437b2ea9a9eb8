.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON := .venv/bin/python
.PHONY: help setup demo demo-down check test scenarios bench faults attacks words lock

help: ## show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

setup: ## install what is missing: Debian packages, .venv, Docker engine, base images
	@python3 setup/setup.py --quiet-when-done

demo: setup ## stand up a vendor and a school, publish 1.0.1 and update the school to it
	@$(PYTHON) -m tests.stand demo

demo-down: ## stop and remove what demo made, and nothing else
	@test -x $(PYTHON) || { echo "There is no demo: 'make demo' was never run here."; exit 0; }; $(PYTHON) -m tests.stand down

check: $(PYTHON) ## lint, types and unit tests; no Docker engine needed
	@$(PYTHON) tests/run.py lint types unit

test: setup ## what `make check` does, then everything on real containers, with a part of faults and attacks
	@$(PYTHON) tests/run.py

scenarios: setup ## do in a real browser what people do on the page of a real school, from sign-in to the end of updates
	@$(PYTHON) tests/run.py scenarios

bench: setup ## measure against a plain shell script; writes build/bench.json
	@$(PYTHON) -m tests.bench $(BENCH_ARGS)

faults: setup ## break everything there is to break in the middle of updates; writes build/faults.json
	@$(PYTHON) -m tests.faults $(FAULTS_ARGS)

attacks: setup ## attack a school and its vendor in every way of the threat table; writes build/attacks.json
	@$(PYTHON) -m tests.attacks $(ATTACKS_ARGS)

words: $(PYTHON) ## write the catalogues of the school's page anew after a change of its words
	@$(PYTHON) -m setup.words

lock: $(PYTHON) ## write requirements.lock anew after a change in pyproject.toml
	@CUSTOM_COMPILE_COMMAND="make lock" .venv/bin/pip-compile --quiet --all-extras --allow-unsafe --generate-hashes \
	  --strip-extras --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --no-emit-options --output-file requirements.lock pyproject.toml

$(PYTHON):
	@python3 setup/setup.py --no-engine
