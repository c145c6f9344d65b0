# `make help` tells what there is. Set-up is by itself: see scripts/setup-venv.
BIN := .venv/bin
CONFIG := pbxrouter.toml
TESTS :=
REPORTER := text
need-number = $(if $(NUMBER),,$(error which number? try: make $@ NUMBER=21 FROM=33))
# PINs go from the environment to standard input by the shell's own printf: they are in no list of processes.
export PIN
feed = $(if $(PIN),set -f; printf '%s\n' $$PIN |,exec)

.DEFAULT_GOAL := help
.PHONY: help run call explain test test-latest hosts starpy coverage check format mutants shapes fuzz chaos soak cacti prometheus audit bench lab lock catalogue screenshots wheel clean ready ready-dev

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ready $(CONFIG) ## Start the gateway on sample rules (LISTEN=tcp:5573:interface=127.0.0.1 WEB=tcp:8181:interface=127.0.0.1)
	@test -e pbxrouter.sqlite || $(BIN)/pbxrouter init --sample --config $(CONFIG)
	@exec $(BIN)/twistd -n --pidfile= pbxrouter --config $(CONFIG) $(if $(LISTEN),--listen '$(LISTEN)') $(if $(WEB),--web '$(WEB)')

call: ready $(CONFIG) ## Play a call to the gateway (NUMBER=21 FROM=33 CONNECT=127.0.0.1:5573; PIN="000000 123456" before make)
	$(need-number)
	@$(feed) $(BIN)/pbxrouter call --config $(CONFIG) --from '$(FROM)' $(foreach pin,$(PIN),--pin -) \
		$(if $(CONNECT),--connect '$(CONNECT)') -- '$(NUMBER)'

explain: ready $(CONFIG) ## Say what the rules decide, and why (NUMBER=21 FROM=33; PIN=123456 before make)
	$(need-number)
	@$(feed) $(BIN)/pbxrouter explain --config $(CONFIG) --from '$(FROM)' $(if $(PIN),--pin -) -- '$(NUMBER)'

test: ready-dev ## Run the tests, side by side (TESTS=tests.rules.test_ruleset for some, REPORTER=verbose for names)
	@REPORTER=$(REPORTER) $(BIN)/python scripts/test $(TESTS)

starpy: ready-dev ## Run the tests about StarPy against an unpacked one (SRC=/path/to/starpy)
	@PYTHON=$(BIN)/python REPORTER='$(REPORTER)' scripts/test-starpy '$(SRC)'

test-latest: ready ## Run the tests with the newest versions of all libraries instead of the locked ones (TESTS, REPORTER)
	@REPORTER=$(REPORTER) scripts/test-latest $(TESTS)

coverage: ready-dev ## Run the tests and tell which lines they never reach
	@$(BIN)/coverage run -m twisted.trial --reporter=$(REPORTER) $(or $(TESTS),tests) && $(BIN)/coverage report

check: ready-dev ## Check format, lint, types and imports, as CI does
	@mkdir -p build
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache >build/imports.log 2>&1 || { cat build/imports.log; exit 1; }

format: ready-dev ## Put the code into shape
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

mutants: ready-dev ## Change single places of the core and see which tests notice (COUNT=500 SEED=1, WHERE="-t ami" or a path)
	@$(BIN)/python scripts/mutants --count $(or $(COUNT),500) $(if $(SEED),--seed $(SEED)) $(WHERE)

shapes: ready-dev ## Try all shapes of calls on a real Asterisk against its CDR; CI tries a sample
	@SHAPES=all $(BIN)/python -m twisted.trial tests.asterisk.test_shapes tests.asterisk.test_unusual_shapes

fuzz: ready-dev ## Feed every parser changed inputs until one fails it (SECONDS=600, TARGET="ami config", SEED=1)
	@$(BIN)/python scripts/fuzz --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED)) $(TARGET)

chaos: ready-dev ## Break the gateway, AMI and Asterisk under calls of a real Asterisk's phones (ONLY="ami-cut gateway-frozen/magi" SEED=1 JOBS=3)
	@$(BIN)/python scripts/chaos $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS)) $(if $(ONLY),--only $(ONLY))

hosts: ready-dev ## Kill, freeze, cut off and slow gateways and Asterisks on hosts of their own (root; ONLY="gw-a-cut/fastagi")
	@$(BIN)/python scripts/hosts $(if $(ONLY),--only $(ONLY))

soak: ready ## A million calls through one gateway: memory, descriptors and counts (CALLS=1000000)
	@$(BIN)/python bench/soak.py -n $(or $(CALLS),1000000)

cacti: ready ## Try the templates in a real Cacti: poller, RRD files read back, pictures (root; SUITE=bookworm or trixie)
	@$(BIN)/python scripts/try-cacti $(if $(SUITE),--suite $(SUITE))

prometheus: ready ## Try metrics, alert rules and the Grafana dashboard in Debian's Prometheus, with the lab (root)
	@$(BIN)/python scripts/try-prometheus

audit: ready-dev ## Ask PyPI for known vulnerabilities of what is locked
	@scripts/audit

bench: ready ## Measure calls, workers, dial patterns, AMI events, a long history, its download and many browsers (bench/README.md)
	@test -x build/bench/bin/python || $(BIN)/python -m venv --without-pip build/bench
	@$(BIN)/python -m pip --python build/bench install -q --disable-pip-version-check -e . pystrix panoramisk
	@for bench in fastagi workers patterns ami history history_csv console_load; do build/bench/bin/python bench/$$bench.py || exit 1; done

lab: ready ## Start a real Asterisk on loopback, with phones (root, Debian)
	@lab/up

lock: ## Renew the lock in requirements/: the newest versions that pyproject.toml accepts, with hashes
	@scripts/lock

catalogue: ready-dev ## Bring new sentences of the console into the catalogues for translation
	@$(BIN)/python scripts/catalogue

screenshots: ready-dev ## Make the pictures of the console's pages in docs/images (Chromium)
	@PBXROUTER_SCREENSHOTS=docs/images $(BIN)/python -m twisted.trial --reporter=$(REPORTER) tests.browser

wheel: ready-dev ## Build the wheel and the source archive into dist/
	@mkdir -p dist
	@$(BIN)/python -m build --no-isolation --outdir dist . >dist/build.log 2>&1 || { tail -n 20 dist/build.log; exit 1; }
	@ls dist/*.whl dist/*.tar.gz

clean: ## Remove what make made, except the gateway's settings and rules
	@rm -rf .venv build dist *.egg-info docs/examples/*/build docs/examples/*/*.egg-info _trial_temp* .coverage htmlcov .hypothesis .mypy_cache .ruff_cache
	@rm -f twisted/plugins/dropin.cache
	@find pbxrouter tests twisted -name __pycache__ -prune -exec rm -rf {} +

ready:
	@scripts/setup-venv

ready-dev:
	@scripts/setup-venv --dev

$(CONFIG):
	@cp pbxrouter.sample.toml $@
