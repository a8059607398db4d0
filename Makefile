# Thin targets: what a person types, and what CI runs. No logic lives here.
CARGO ?= cargo
BIN := target/release/gatedrun

.DEFAULT_GOAL := help
.PHONY: help build canonical canonical-check policy-gates policy-gates-check failure-modes \
	failure-modes-check regression policy-test exhaustive evidence-build evidence-check corpus-build \
	corpus-check smoke test lint fmt doc bench formats-check suites fuzz full deny vectors verify faults faults-sample ci

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

build: ## build the release binary
	@$(CARGO) build --release --locked

canonical: build ## run the canonical task and compare with the committed run
	@$(BIN) run tasks/canonical/v1.json

canonical-check: build ## execute the canonical run again and compare every byte
	@$(BIN) check runs/canonical/v1

policy-gates: build ## run the tasks of the policy gates; SCENARIO=ID selects one
	@$(BIN) run $(if $(SCENARIO),tasks/policy_gates/$(SCENARIO).json,$(wildcard tasks/policy_gates/*.json))

policy-gates-check: build ## execute the runs of the policy gates again; SCENARIO=ID selects one
	@$(BIN) check runs/policy_gates/$(SCENARIO)

failure-modes: build ## run the tasks of the failure modes; SCENARIO=ID selects one
	@$(BIN) run $(if $(SCENARIO),tasks/failure_modes/$(SCENARIO).json,$(wildcard tasks/failure_modes/*.json))

failure-modes-check: build ## execute the runs of the failure modes again; SCENARIO=ID selects one
	@$(BIN) check runs/failure_modes/$(SCENARIO)

evidence-build: build ## run every task; proposals lie beside the committed runs
	@find tasks -name '*.json' ! -name '*.schema.json' | sort | xargs $(BIN) run

verify: build ## verify every committed run without executing anything
	@$(BIN) verify runs

evidence-check: build ## execute every committed run again and compare every byte
	@$(BIN) check runs

regression: build ## compare outcome and decisions of every task with its committed run
	@$(BIN) regression

policy-test: build ## judge the decision tables with the policy
	@$(BIN) policy test policy/v1.yaml tests/cases/policy/*.jsonl

vectors: ## write the conformance vectors as folders, for other verifiers
	GATEDRUN_VECTORS=$(CURDIR)/target/vectors $(CARGO) test --locked --test tests -- vectors::both

exhaustive: ## the long versions of tests that are sampled in `make test`
	GATEDRUN_EXHAUSTIVE=1 $(CARGO) test --release --locked --test tests

corpus-build: build ## write the synthetic corpus
	@$(BIN) corpus build data/corpus/v1

corpus-check: build ## check every byte of the synthetic corpus
	@$(BIN) corpus check data/corpus/v1

smoke: build ## drive the release binary from outside, as a new user would
	@scripts/smoke.sh

faults: build ## kill, fail and double every command that writes, at every syscall; needs strace
	@python3 scripts/faults.py $(BIN)

faults-sample: build ## a sample of the same, under two minutes
	@python3 scripts/faults.py $(BIN) --sample 8

test: ## all tests, doctests included
	$(CARGO) test --locked --lib --test tests --bins
	$(CARGO) test --locked --doc

lint: ## clippy, warnings denied
	$(CARGO) clippy --locked --all-targets -- -D warnings

fmt: ## formatting
	$(CARGO) fmt --check

doc: ## the API's documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --quiet

bench: ## measure what docs/performance.md states
	$(CARGO) bench --locked --bench process --bench micro

formats-check: build ## hold what the program writes against its readers' own checkers; needs node and npm
	@python3 scripts/formats/check.py

suites: ## hold the readers of JSON Schema and YAML against the public test suites; needs pip, node and npm
	@python3 scripts/formats/suites.py

fuzz: ## fuzz the gate and every parser, RUNS inputs each; needs cargo-fuzz, nightly and a C++ compiler
	@python3 scripts/fuzz.py --runs $(or $(RUNS),10000000) $(TARGETS)

full: ## build with every feature
	$(CARGO) build --locked --features full

deny: ## licences, advisories, bans; needs cargo-deny
	$(CARGO) deny check

ci: fmt lint test doc verify evidence-check regression policy-test corpus-check smoke faults-sample ## everything CI runs
