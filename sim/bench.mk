# Runs the testbench on this design: `make` for full speed, `make STALL=1` with random gaps on both sides.
PYTHON ?= python3

test: sim_build/built
	STALL=$(STALL) $(PYTHON) run_bench.py test

sim_build/built: $(wildcard *.v) manifest.json
	$(PYTHON) run_bench.py build
	touch $@

clean:
	rm -rf sim_build sim_build_waves results.xml __pycache__

.PHONY: test clean
