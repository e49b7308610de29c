# Every target first installs what is missing (scripts/setup.sh). If nothing is missing, that takes no time.
.DEFAULT_GOAL := help
.PHONY: help demo run test test-long faults ordered upgrade mutants clients fuzz bench bench-years bench-lives bench-console coverage sbom reset fmt lint check audit sqlx openapi

# sqlx checks queries against .sqlx/, so compiling needs no database.
export SQLX_OFFLINE ?= true
CARGO ?= cargo
# `--bin`, never `-p`: cargo unifies features over the named packages. With `-p` it would compile half of the dependencies
# again, with other features than for the tests.
# postgres (the queue in Postgres) or rabbitmq (a private node, or the one in RABBITMQ_URL).
TRANSPORT ?= $(if $(RABBITMQ_URL),rabbitmq,postgres)

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  Option: TRANSPORT=rabbitmq with demo, run, faults and upgrade. Every setting is in docs/settings.md."

demo: ## Play a dozen orders end to end, print the outcome, audit the database
	@scripts/setup.sh demo $(TRANSPORT)
	@$(CARGO) run --bin standalone -- demo examples/orders.json --transport $(TRANSPORT)

run: export LOG_FORMAT ?= pretty
run: ## Everything in one process: http://127.0.0.1:8000 (API, /docs), gateway on 9000
	@scripts/setup.sh run $(TRANSPORT)
	@$(CARGO) run --bin standalone -- run --transport $(TRANSPORT)

# Tests wait for programs, leases and time-outs more than they compute: with as many as cores, half of the cores' time is unused.
test: export RUST_TEST_THREADS ?= $(shell echo $$(($$(nproc) * 2)))
test: ## All tests, on real Postgres, RabbitMQ, Chromium, S3 and SMTP
	@scripts/setup.sh test
	@$(CARGO) test --workspace

# The program itself reads MINUTES, KILLS, RETURNS, SEED, ORDERS_PER_SECOND and READ_DATABASE.
faults: ## Kill, freeze and disconnect everything for MINUTES=5, check that nothing is lost; SEED=n repeats a run
	@scripts/setup.sh faults $(TRANSPORT)
	@$(CARGO) run --bin faults -- --transport $(TRANSPORT)

test-long: ## 100,000 random histories of an order's returns, with sums kept apart; `make test` plays 2,000
	PROPTEST_CASES=100000 $(CARGO) test --locked --test rules histories

# The program itself reads JOBS, KILLS and SEED.
ordered: ## Prove the order of an ordered queue over JOBS=100000 with failures, kills and operator actions
	@scripts/setup.sh run postgres
	@$(CARGO) run --bin ordered -- prove

upgrade: ## Upgrade from the last tag to this tree and back, under load; FROM=revision takes another one
	@scripts/setup.sh upgrade $(TRANSPORT)
	@scripts/upgrade.sh "$(FROM)" $(TRANSPORT)

mutants: ## Plant one bug after the other, and check that a test catches each; ONLY=name plants one
	@scripts/setup.sh test
	@scripts/mutants.sh $(ONLY)

clients: ## Generate Python and TypeScript clients out of the API description, and play an order with each
	@scripts/setup.sh clients
	@scripts/clients.sh

fuzz: ## 50,000 requests made out of the API description, then each decoder for SECONDS=60; SEED=n, EXAMPLES=n, TARGETS=names
	@scripts/setup.sh fuzz
	@scripts/fuzz-api.sh long
	@SECONDS_EACH=$(or $(SECONDS),60) scripts/fuzz-decoders.sh $(TARGETS)

bench: ## Measure speed and memory, with the limits of this machine in the same run
	@scripts/setup.sh bench
	@$(CARGO) run --release --bin bench

bench-years: ## The queue with ten million settled events, under a snapshot; hours and tens of GB, KEEP=folder keeps the events
	@scripts/setup.sh bench
	@$(CARGO) run --release --bin bench -- years $(if $(KEEP),--keep $(KEEP))

bench-lives: ## Two million orders through their whole lives; hours and tens of GB, ORDERS=n for another number
	@scripts/setup.sh bench
	@$(CARGO) run --release --bin bench -- lives $(if $(ORDERS),--orders $(ORDERS))

bench-console: ## The pages of the console over ten million events; an hour and 20 GB, KEEP=folder keeps the events
	@scripts/setup.sh bench
	@$(CARGO) run --release --bin bench -- console $(if $(KEEP),--keep $(KEEP))

coverage: ## Line coverage by crate; fails below 85 %, or 95 % for state machines and money
	@scripts/setup.sh coverage
	@scripts/coverage.sh

sbom: ## The bill of materials of each program (CycloneDX), into target/sbom
	@scripts/sbom.sh

reset: ## Stop the processes of .data/ and delete it; PDFs in invoices/ stay
	@scripts/reset.sh

fmt: ## Format the code
	@$(CARGO) fmt --all

lint: ## Clippy, warnings are errors
	@$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

check: lint ## The checks of .ci/run without the tests: format, lint, spelling, dependencies, scripts, API description
	@$(CARGO) fmt --all --check
	@scripts/setup.sh check
	@scripts/hygiene.sh
	@scripts/openapi.sh --check

audit: ## Look up known vulnerabilities of the dependencies; needs a network
	@scripts/setup.sh check
	@PATH="$(abspath $(or $(CARGO_TARGET_DIR),target))/tools/bin:$$PATH" cargo deny check advisories

sqlx: ## Check every query against the migrations and regenerate .sqlx/
	@scripts/setup.sh sqlx
	@scripts/sqlx.sh

openapi: ## Write API-SPECIFICATION.yml and docs/asyncapi.yml from the code
	@scripts/openapi.sh
