# make build · check · test · bench · demo · docs. Each sets up what it needs, in .venv, and only once.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt

.PHONY: build check test bench demo docs

build: .venv/.built

SOURCES := CMakeLists.txt $(shell find native -type f)
# What follows it are the instruction sets to compile for, and the package with its extras.
INSTALL := PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) --no-build-isolation --config-settings=cmake.define.UNSPOOL_SETS

.venv/.tools: constraints.txt pyproject.toml
	@echo "Making .venv, with the tools that compile ..."
	@$(PYTHON) -m venv .venv
	@$(PIP) scikit-build-core nanobind cmake ninja
	@touch $@

# For the demo the libraries are unpacked while the kernels compile, and nothing else is installed.
.venv/.demo: .venv/.tools $(SOURCES)
	@echo "Installing PyTorch and scikit-learn, and compiling the kernels for this processor: one or two minutes ..."
	@$(MAKE) --no-print-directory -j2 .venv/.libraries .venv/.kernels
	@touch $@

TRAIN := import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]
TRAIN += ; print(*p["dependencies"], *p["optional-dependencies"]["train"], sep="\n")

.venv/.libraries: .venv/.tools
	@$(BIN)/python -c '$(TRAIN)' > .venv/libraries.txt
	@$(PIP) --requirement .venv/libraries.txt
	@touch $@

.venv/.kernels: .venv/.tools $(SOURCES)
	@$(INSTALL)=best --no-deps --editable .
	@touch $@

.venv/.built: .venv/.tools $(SOURCES)
	@echo "Installing all that is needed, and compiling the kernels for all that this processor can run: some minutes ..."
	@$(INSTALL)=native --editable '.[train,parquet,track,onnx,dev]'
	@touch $@ .venv/.demo

check: build
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

test: build
	$(BIN)/python -m pytest -q

docs: build
	$(BIN)/python -m pytest -q src tests/test_examples.py

bench: build
	$(PIP) openvino
	$(BIN)/python benchmarks/layers.py --json build/layers.json
	$(BIN)/python benchmarks/loop.py
	$(BIN)/python benchmarks/streaming.py --json build/streaming.json

demo: $(if $(wildcard .venv/.built),build,.venv/.demo)
	rm -rf build/demo build/traffic
	$(BIN)/unspool fit series road-traffic --known holiday --out build/traffic
	$(BIN)/unspool evaluate build/traffic road-traffic --picture build/traffic.png
	$(BIN)/unspool fit text python-stdlib --level piece --out build/demo --minutes 2
	$(BIN)/unspool generate build/demo --prompt 'def ' --length 800 --temperature 0.7 --random-state 1
