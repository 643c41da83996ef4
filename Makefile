# Every command of the project. `make` alone lists them.
# The tools that Inferbus needs beside Rust come into .tools/ (see tools/setup); .tools/env tells the programs where they are.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

WITH_TOOLS := . .tools/env &&
# Cargo.lock decides the versions, so that a second run needs no network.
CARGO_LOCKED := --locked
FUZZ_SECONDS ?= 60

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Bring nats-server, ONNX Runtime and a WebAssembly compiler into .tools/
	@tools/setup

.PHONY: setup-tests
setup-tests: setup ## Bring what only the tests need: Python clients, models, and the nats command where Go is present
	@tools/setup python conformance nats-cli

.PHONY: plugins
plugins: setup ## Compile the stock plugins into plugins/dist/
	@tools/build-plugins

.PHONY: build
build: setup ## Compile the inferbus command
	@$(WITH_TOOLS) cargo build $(CARGO_LOCKED) -p inferbus

.PHONY: demo
demo: plugins build ## See it work: a server, two workers, a stream of digits, a version bump and a rollback
	@$(WITH_TOOLS) cargo build $(CARGO_LOCKED) -p inferbus --example demo
	@$(WITH_TOOLS) cargo run --quiet $(CARGO_LOCKED) -p inferbus --example demo

.PHONY: test
test: setup-tests plugins ## Run the tests for every change; prints the time of each executable and of slow tests
	@$(WITH_TOOLS) tools/test

.PHONY: test-all
test-all: setup-tests plugins ## Run every test in full breadth: all conformance models, long kill counts, 10,000 models
	@$(WITH_TOOLS) tools/test --all

.PHONY: test-tract
test-tract: setup-tests plugins ## Build tract in, which takes ten minutes, and run the conformance test on it
	@$(WITH_TOOLS) tools/test --all --features inferbus-tests/tract conformance

.PHONY: chaos
chaos: setup ## Kill, cut, freeze and fill up workers and servers for hours; INFERBUS_SEED repeats a run
	@$(WITH_TOOLS) tools/test --long chaos -- --test-threads 2

.PHONY: fmt
fmt: ## Format all code
	@cargo fmt --all
	@cd plugins && cargo fmt --all

.PHONY: fmt-check
fmt-check: ## Check the formatting of all code
	@cargo fmt --all --check
	@cd plugins && cargo fmt --all --check

.PHONY: lint
lint: ## Run clippy, with warnings as errors
	@cargo clippy $(CARGO_LOCKED) --workspace --all-targets -- -D warnings
	@cd plugins && cargo clippy $(CARGO_LOCKED) --all-targets -- -D warnings
	@cd bench/peers/guests && cargo metadata $(CARGO_LOCKED) --format-version 1 > /dev/null

.PHONY: walls
walls: ## Check which part may import which
	@tools/walls --self-test
	@tools/walls

.PHONY: fuzz
fuzz: setup ## Fuzz every target for FUZZ_SECONDS each (60 unless told)
	@tools/setup fuzz
	@$(WITH_TOOLS) tools/fuzz $(FUZZ_SECONDS)

.PHONY: bench
bench: setup-tests plugins ## Measure the worker against one file of Python, a bare echo and itself without a sandbox
	@$(WITH_TOOLS) cargo build $(CARGO_LOCKED) -p inferbus -p inferbus-bench
	@$(WITH_TOOLS) target/debug/inferbus-bench

.PHONY: bench-peers
bench-peers: setup-tests plugins ## Measure the worker and its sandbox beside what a user would pick instead
	@tools/setup peers
	@$(WITH_TOOLS) cargo build $(CARGO_LOCKED) -p inferbus -p inferbus-bench
	@$(WITH_TOOLS) target/debug/inferbus-bench peers

.PHONY: bench-parts
bench-parts: setup ## Measure each hot function by itself, with criterion
	@$(WITH_TOOLS) cargo bench $(CARGO_LOCKED) --profile dev --workspace --bench parts

.PHONY: bench-full
bench-full: setup-tests plugins ## Measure all of that for longer, and how costs grow with sizes and numbers
	@$(WITH_TOOLS) cargo build $(CARGO_LOCKED) -p inferbus -p inferbus-bench
	@$(WITH_TOOLS) target/debug/inferbus-bench full

.PHONY: guard
guard: setup guard-program ## Count the instructions of the hot functions and compare them with the baseline; needs valgrind
	@$(WITH_TOOLS) target/debug/inferbus-bench-hot guard

.PHONY: guard-accept
guard-accept: setup guard-program ## Make what the hot functions take now the baseline
	@$(WITH_TOOLS) target/debug/inferbus-bench-hot accept

# Units of code that are compiled at once decide what is inlined, so this does not depend on the surroundings.
.PHONY: guard-program
guard-program:
	@$(WITH_TOOLS) CARGO_INCREMENTAL=1 cargo build $(CARGO_LOCKED) -p inferbus -p inferbus-bench --bin inferbus-bench-hot

.PHONY: clean
clean: ## Remove everything that was built or downloaded
	@rm -rf target plugins/target plugins/dist .tools
