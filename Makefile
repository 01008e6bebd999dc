# `make demo` shows the product, `make test` proves it; both prepare everything themselves.

# What a shell forbids Python to keep is compiled again by each process: 1.3 s of a processor for pytest's plugins alone.
unexport PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX

.PHONY: demo demo-cloud test suite test-all walks mutants bench figures bench-growth bench-peers short-lives walk-through coverage cpu deb cloud configuration completion pictures reference docs release check types style prepare prepare-tests lock clean

demo: prepare
	@tests/demo/run

# The account's side: a vending machine, audits, certificates that live for a day.
demo-cloud: prepare
	@tests/demo/cloud

# What CI calls. Very many cases of a kind (kills, mutants, walks) are sampled, the same ones each time:
# CAMPAIGN=sample:3 takes other ones, CAMPAIGN=case:1234 with a test's name is what a failure asks for.
# More processes than cores, since what boots a machine or runs a daemon waits for most of its time; one for each half GB.
# Types and style are checked meanwhile, and say what is wrong with them when they know it: `make check` says it sooner.
CAMPAIGN = sample
PROCESSES = $(shell awk -v n=$$(nproc) '/^MemTotal/ { m = int($$2 / 524288); p = n > 12 ? n : 12; print m < 1 ? 1 : m < p ? m : p }' /proc/meminfo)
SUITE = TMPDIR=$$(test -w /dev/shm && echo /dev/shm || echo /tmp) .venv/bin/pytest -q
test: prepare-tests
	@$(MAKE) --no-print-directory -j 3 CAMPAIGN=$(CAMPAIGN) types style suite

suite: prepare-tests
	@$(SUITE) --processes $(PROCESSES) --campaign=$(CAMPAIGN)

# The same with every case of each campaign, for a night or a release: four to five times the work.
test-all: CAMPAIGN = whole
test-all: test

# Random stories of one gateway: WALKS of them from SEED on, or those of the table that KNOWN names (or all).
# OPTIONS=--help shows more.
walks: prepare-tests
	@PYTHONPATH=tests .venv/bin/python -m support.walkkit $(if $(KNOWN),--known $(KNOWN)) \
		--stories $(or $(WALKS),1) --seed $(or $(SEED),0) $(OPTIONS)

# One-line mutants of the agent, and which tests let one live; MUTANTS="..." names some of the table.
mutants: prepare-tests
	@PYTHONPATH=tests .venv/bin/python -m support.mutantkit $(MUTANTS)

# Which lines and branches of agent/ the tests visit: a report, and no threshold. TESTS=tests/unit/core narrows it. What
# runs in a process of its own (the daemon, its workers, what is killed) is not counted.
TESTS = tests/unit tests/scenarios
coverage: prepare-tests
	@$(SUITE) --processes 4 \
		--cov=agent --cov-branch --cov-report=term-missing:skip-covered --cov-report=html:build/coverage $(TESTS)

# What each file of tests costs, in seconds of a processor; TESTS=tests/crash narrows it.
cpu: prepare-tests
	@$(SUITE) --processes 2 --campaign=$(CAMPAIGN) --cpu $(TESTS)

# BENCH=--quick shortens the minute of idleness.
bench: prepare
	@PYTHONPATH=tests .venv/bin/python -m bench.run $(BENCH)

# The same, and the figures on docs/figures.md in place of those of before: on a machine with nothing else to do.
figures: prepare
	@PYTHONPATH=tests .venv/bin/python -m bench.run --page docs/figures.md $(BENCH)

# What a gateway costs as it has more of something, ten minutes. BENCH="--record FILE" keeps the figures.
bench-growth: prepare
	@PYTHONPATH=tests .venv/bin/python -m bench.growth $(BENCH)

# What a user would pick instead, beside the agent, a quarter of an hour. It needs root, and installs
# the peers with their services, which do nothing unasked; what is measured runs apart from those.
bench-peers:
	@.ci/prepare peers
	@PYTHONPATH=tests .venv/bin/python -m bench.peers.run $(BENCH)

# A year of certificates that live a day, for a thousand gateways: who needs a person. The figures of docs/short-lives.md.
short-lives: prepare
	@PYTHONPATH=tests .venv/bin/python -m support.years.shortlives

# One rotation through the code: files, calls, the deepest stack. OPTIONS=--stack shows that.
walk-through: prepare-tests
	@PYTHONPATH=tests .venv/bin/python -m bench.depth $(OPTIONS)

# The Debian package, into dist/; ARCH=arm64 makes one for another machine.
deb: prepare
	@packaging/build-deb dist

# What is deployed in an AWS account, into dist/cloud/; PREFIX=name is what every name there begins with. SIGNER=on also
# packs the function that signs by a CA of the operator's own, for which it fetches a library.
PREFIX = iot-cert
cloud: prepare
	@.venv/bin/python packaging/cloud.py dist/cloud --prefix $(PREFIX) $(if $(filter on,$(SIGNER)),--signer)

# What is told of the configuration's keys, from the table of keys.
PAGE = packaging/man/iot-cert-agent.yaml.5
configuration: prepare
	@.venv/bin/python -m agent.config.describe schema >config/config.schema.json
	@.venv/bin/python -m agent.config.describe manual <$(PAGE) >$(PAGE).new && mv $(PAGE).new $(PAGE)

# What zsh and fish offer while a person types, from the command line's parser.
completion: prepare
	@.venv/bin/python packaging/completion.py packaging/completion

# The pages of the reference and the JSON Schema of what verbs print, from the code that they tell of.
reference: prepare-tests
	@PYTHONPATH=tests .venv/bin/python -m reference docs/reference

# The pictures of the pages, light or dark as the reader's screen is. RECORD=yes first types the commands anew that the
# screens and the timeline show, against the sandbox.
pictures: prepare-tests
	@$(if $(RECORD),PYTHONPATH=tests .venv/bin/python -m pictures.recording)
	@PYTHONPATH=tests .venv/bin/python -m pictures docs/pictures

# The pages as a site, into build/site: it loads nothing from elsewhere, and a link that leads nowhere is an error.
PAGES = README.md CHANGELOG.md CONTRIBUTING.md LICENSE SECURITY.md docs packaging/README.md packaging/docs/site.css packaging/yocto config
docs:
	@.ci/prepare docs
	@rm -rf build/pages build/site && mkdir -p build/pages
	@cp -r --parents $(PAGES) build/pages
	@NO_MKDOCS_2_WARNING=1 .venv/docs/bin/mkdocs build --strict -f packaging/docs/mkdocs.yml
	@echo "==> the site is in build/site; begin at build/site/index.html"

# What a release consists of: the packages, what is in them (CycloneDX), and whether any of that is known to be vulnerable.
# Where the advisory service cannot be reached that is said; AUDIT=--required makes it an error.
release: prepare
	@packaging/build-deb dist
	@ARCH=arm64 packaging/build-deb dist
	@.venv/bin/python packaging/sbom.py dist
	@.venv/bin/python packaging/audit.py dist $(AUDIT)

# Files that a shell runs; tests/project/pages/test_documents.py knows when one is missing.
SCRIPTS = .ci/prepare .ci/run packaging/build-deb packaging/completion/iot-cert.bash \
	packaging/debian/postinst packaging/debian/postrm packaging/debian/prerm tests/bench/peers/renew.sh tests/demo/cloud tests/demo/run tests/demo/steps

# Where the stack's template must be valid: three partitions, and the regions that most fleets are in.
REGIONS = us-east-1 eu-west-1 ap-southeast-1 cn-north-1 us-gov-west-1
LINT = .venv/cloud/bin/cfn-lint
check: types style

types: prepare-tests
	@echo "==> mypy"
	@.venv/bin/mypy --no-error-summary

style: prepare-tests
	@echo "==> ruff, import contracts, codespell, proselint, shellcheck, cfn-lint"
	@.venv/bin/ruff check -q .
	@.venv/bin/ruff format -q --check .
	@mkdir -p build && .venv/bin/lint-imports --no-cache >build/lint-imports.log || { cat build/lint-imports.log; exit 1; }
	@.venv/bin/codespell
	@PYTHONPATH=tests .venv/bin/python -m support.documents.prose
	@shellcheck $(SCRIPTS)
	@if [ -x $(LINT) ]; then $(LINT) --regions $(REGIONS) -- config/cloud/template.yaml; else \
		echo "==> cfn-lint is NOT installed: the stack's template is not linted"; test -z "$$CI"; fi

prepare:
	@.ci/prepare

prepare-tests:
	@.ci/prepare tests

# Writes the lock files anew; needs pip-tools (`pipx install pip-tools`). They are wheels alone, and systemd-python, of
# which the index has the source only, is the distribution's.
COMPILE = pip-compile -q --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links
lock:
	rm -rf build/lock && mkdir -p build/lock
	cp -r agent README.md LICENSE build/lock
	sed '/"systemd-python/d' pyproject.toml >build/lock/pyproject.toml
	$(COMPILE) -o requirements/build.txt requirements/build.in
	$(COMPILE) -o requirements/run.txt build/lock/pyproject.toml
	$(COMPILE) --extra sandbox -o requirements/dev.txt build/lock/pyproject.toml requirements/dev.in
	$(COMPILE) -o requirements/release.txt requirements/release.in
	$(COMPILE) -o requirements/cloud.txt requirements/cloud.in
	$(COMPILE) -o requirements/signer.txt requirements/signer.in
	$(COMPILE) -o requirements/docs.txt requirements/docs.in
	sed -i '/^#/d' requirements/*.txt

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
