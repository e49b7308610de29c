# Every target first sets up what it needs (scripts/setup.sh); when all is there, that takes no time.
.DEFAULT_GOAL := help
.PHONY: help demo run test faults mutants bench coverage reset fmt lint check audit sqlx openapi

# Queries are checked against .sqlx/, so that nothing needs a database to compile.
export SQLX_OFFLINE ?= true
CARGO ?= cargo
# `--bin`, never `-p`: cargo unites the features of the packages it is asked for, so `-p` would compile half of the
# dependencies once more in another shape than the tests do.
# postgres (the queue in Postgres itself) or rabbitmq (a private node, or the one RABBITMQ_URL names).
TRANSPORT ?= $(if $(RABBITMQ_URL),rabbitmq,postgres)

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  Option: TRANSPORT=rabbitmq with demo, run and faults. Every setting is in docs/settings.md."

demo: ## Play a dozen orders end to end, print what became of them, check that all agrees
	@scripts/setup.sh demo $(TRANSPORT)
	@$(CARGO) run --bin standalone -- demo examples/orders.json --transport $(TRANSPORT)

run: export LOG_FORMAT ?= pretty
run: ## Everything in one process: http://127.0.0.1:8000 (API, /docs), gateway on 9000
	@scripts/setup.sh run $(TRANSPORT)
	@$(CARGO) run --bin standalone -- run --transport $(TRANSPORT)

test: ## All tests, on real Postgres, RabbitMQ, Chromium, S3 and SMTP
	@scripts/setup.sh test
	@$(CARGO) test --workspace

# MINUTES, KILLS, RETURNS, SEED, ORDERS_PER_SECOND and READ_DATABASE are read by the program itself.
faults: ## Kill, freeze, cut off and crash everything for MINUTES=5; SEED=n repeats a run
	@scripts/setup.sh faults $(TRANSPORT)
	@$(CARGO) run --bin faults -- --transport $(TRANSPORT)

mutants: ## Plant bugs, one after the other, and show that a test notices each; ONLY=name plants one
	@scripts/setup.sh test
	@scripts/mutants.sh $(ONLY)

bench: ## Measure against the limits of this machine, in the same run
	@scripts/setup.sh bench
	@$(CARGO) run --release --bin bench

coverage: ## Line coverage by crate; fails below 85 %, or 95 % for state machines and money
	@scripts/setup.sh coverage
	@scripts/coverage.sh

reset: ## Stop what runs from .data/ and begin again with an empty database (PDFs in invoices/ stay)
	@scripts/reset.sh

fmt: ## Format the code
	@$(CARGO) fmt --all

lint: ## Clippy, warnings are errors
	@$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

check: lint ## Everything .ci/run checks but the tests: format, lint, spelling, dependencies, scripts, the API's description
	@$(CARGO) fmt --all --check
	@scripts/setup.sh check
	@scripts/hygiene.sh
	@scripts/openapi.sh --check

audit: ## Known vulnerabilities of our dependencies; needs a network
	@scripts/setup.sh check
	@PATH="$(CURDIR)/target/tools/bin:$$PATH" cargo deny check advisories

sqlx: ## Check every query against the migrations and write .sqlx/ again
	@scripts/setup.sh sqlx
	@scripts/sqlx.sh

openapi: ## Write API-SPECIFICATION.yml from the code
	@scripts/openapi.sh
