# Everything in an environment of its own: nothing is needed but python3 (3.11 or newer, with venv), a C++
# compiler, make and perl; and for the tests Python's shared library, which cocotb loads into the simulator.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HWGEN_CACHE ?= $(CURDIR)/.cache

help: ## this text
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(VENV)/run: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/dev: $(VENV)/run
	$(BIN)/pip install --quiet --editable '.[test,docs]'
	touch $@

demo: $(VENV)/run ## handwritten digits: ONNX to Verilog in demo/, simulated on real inputs
	$(BIN)/hwgen build models/digits_mlp.onnx -o demo --cycles 2048
	$(BIN)/hwgen simulate demo --inputs models/digits_mlp.npz
	@echo "Verilog, manifest and testbench: demo/"
	@echo "To run the testbench again: make -C demo PYTHON=../$(BIN)/python"

demo-lm: $(VENV)/run ## a language model: 200 characters, one at a time, in cycle-accurate simulation
	$(BIN)/hwgen build models/charlm.onnx -o demo-lm --stream --cycles 768
	$(BIN)/python models/demo_charlm.py

test: libpython ## all tests; pages are opened where there is a chromium
	@command -v chromium > /dev/null || echo "chromium is missing: the pages of hwgen report are not opened"
	$(BIN)/python -m pytest -n auto --dist worksteal

libpython: $(VENV)/dev
	@$(BIN)/python -c 'import find_libpython, sys; sys.exit(not find_libpython.find_libpython())' || \
		{ echo "Python's shared library is missing; on Debian: apt install libpython$$($(BIN)/python -c \
		'import sys; print("%d.%d" % sys.version_info[:2])')"; exit 1; }

lint: $(VENV)/dev ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

sim: libpython ## the tests that simulate whole models
	$(BIN)/python -m pytest -n auto -m model

synth: $(VENV)/dev ## the tests that synthesize, place and route
	$(BIN)/python -m pytest -n auto -m synth

boards: $(VENV)/dev ## a project for every board, in build/boards, with the bitstreams of the open ones
	for board in $$(ls boards/*.toml | xargs -n 1 basename -s .toml); do \
		$(BIN)/hwgen deploy models/digits_mlp.onnx --board $$board --cycles 2048 -o build/boards/$$board \
			|| exit 1; done

fuzz: $(VENV)/dev ## 2,000 damaged files: each is built right or refused
	HWGEN_FUZZ=2000 $(BIN)/python -m pytest -n auto tests/test_fuzz.py

conformance: $(VENV)/dev ## ONNX's own node tests; writes docs/conformance.md
	$(BIN)/python -m tests.conformance

bench: $(VENV)/dev ## speed of simulation and of building
	$(BIN)/pip install --quiet --editable '.[bench]'
	$(BIN)/python -m benchmarks

table: $(VENV)/dev ## arithmetics by accuracy and area, with HWGEN_MODELS and HWGEN_LIBERTY; writes docs/arithmetic.md
	$(BIN)/python -m benchmarks.table

calibrate: $(VENV)/dev ## fit the model of costs, with HWGEN_MODELS and HWGEN_LIBERTY; hours at first
	$(BIN)/pip install --quiet --editable '.[synth]'
	$(BIN)/python -m benchmarks.characterize
	$(BIN)/python -m benchmarks.calibrate

docs: $(VENV)/dev ## the pages, in build/docs
	$(BIN)/mkdocs build --quiet --strict --site-dir build/docs

clean: ## remove what was made
	rm -rf $(VENV) .cache build dist demo demo-lm *.egg-info .pytest_cache .mypy_cache .ruff_cache

.PHONY: help demo demo-lm test libpython lint sim synth boards fuzz conformance bench table calibrate docs clean
