# All commands of the project. `make` without a target lists them.
# tools/setup downloads the tools besides Rust into .tools/, and writes their locations to .tools/env.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

WITH_TOOLS := . .tools/env &&
# Cargo.lock fixes the versions, so a second run works offline.
CARGO_LOCKED := --locked
FUZZ_SECONDS ?= 60

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Download nats-server, ONNX Runtime and a WebAssembly compiler into .tools/
	@tools/setup

.PHONY: setup-tests
setup-tests: setup ## Download the tools of the tests: Python clients, models, and the nats command if Go is present
	@tools/setup python conformance nats-cli

.PHONY: plugins
plugins: setup ## Compile the plugins into plugins/dist/
	@tools/build-plugins

.PHONY: build
build: setup ## Compile the inferbus command
	@$(WITH_TOOLS) cargo build $(CARGO_LOCKED) -p inferbus

.PHONY: reference
reference: build ## Write the generated pages of docs/reference/ from the program
	@for page in bundle cli config errors metrics; do \
	    $(WITH_TOOLS) cargo run --quiet $(CARGO_LOCKED) -p inferbus -- reference $$page > target/reference.md \
	        && mv target/reference.md docs/reference/$$page.md || exit 1; \
	done

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
lint: prose lengths links ## Run clippy, rustdoc and the checks of texts and dependencies, with warnings as errors
	@cargo clippy $(CARGO_LOCKED) --workspace --all-targets -- -D warnings
	@cd plugins && cargo clippy $(CARGO_LOCKED) --all-targets -- -D warnings
	@cd bench/peers/guests && cargo metadata $(CARGO_LOCKED) --format-version 1 > /dev/null
	@tools/deny --optional
	@$(MAKE) doc

.PHONY: deny
deny: ## Check licences, banned crates, sources and advisories of dependencies; builds cargo-deny first
	@tools/setup deny
	@tools/deny

.PHONY: doc
doc: ## Build the documentation of all crates, with warnings as errors
	@RUSTDOCFLAGS="-D warnings" cargo doc $(CARGO_LOCKED) --workspace --no-deps

.PHONY: prose
prose: ## Check documents, comments, help texts and messages for the habits that CONTRIBUTING.md rules out
	@tools/prose --self-test
	@tools/prose --numbers

.PHONY: lengths
lengths: ## Check the length of lines, functions and files
	@tools/lint-lines --self-test
	@tools/lint-lines

.PHONY: links
links: ## Check the relative links of all Markdown files
	@tools/check-links

.PHONY: walls
walls: ## Check which part may import which, and that no modules import each other in circles
	@tools/walls --self-test
	@tools/walls

.PHONY: fuzz
fuzz: setup ## Fuzz every target for FUZZ_SECONDS each (default 60)
	@tools/setup fuzz
	@$(WITH_TOOLS) tools/fuzz $(FUZZ_SECONDS)

.PHONY: bench
bench: setup-tests plugins bench-program ## Measure the worker against one file of Python, a bare echo and itself without a sandbox
	@$(WITH_TOOLS) target/release/inferbus-bench

.PHONY: bench-peers
bench-peers: setup-tests plugins bench-program ## Measure the worker and its sandbox beside the alternatives
	@tools/setup peers
	@$(WITH_TOOLS) target/release/inferbus-bench peers

.PHONY: bench-parts
bench-parts: setup ## Measure each hot function, with criterion
	@$(WITH_TOOLS) cargo bench $(CARGO_LOCKED) --profile dev --workspace --bench parts

.PHONY: bench-full
bench-full: setup-tests plugins bench-program ## Measure everything in long runs, with the growth of costs
	@$(WITH_TOOLS) target/release/inferbus-bench full

# Figures belong to the release profile, the build of users.
.PHONY: bench-program
bench-program: setup
	@$(WITH_TOOLS) cargo build --release $(CARGO_LOCKED) -p inferbus -p inferbus-bench

.PHONY: guard
guard: setup guard-program ## Count the instructions of the hot functions and compare them with the baseline; needs valgrind
	@$(WITH_TOOLS) target/debug/inferbus-bench-hot guard

.PHONY: guard-accept
guard-accept: setup guard-program ## Accept the current instruction counts as the baseline
	@$(WITH_TOOLS) target/debug/inferbus-bench-hot accept

# Incremental compilation keeps the inlining of a function independent of unrelated code.
.PHONY: guard-program
guard-program:
	@$(WITH_TOOLS) CARGO_INCREMENTAL=1 cargo build $(CARGO_LOCKED) -p inferbus -p inferbus-bench --bin inferbus-bench-hot

.PHONY: clean
clean: ## Remove all build results and downloads
	@rm -rf target plugins/target plugins/dist .tools
