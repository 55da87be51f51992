"""The design as a block, its streams and its AXI4-Lite registers together in Verilator."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hwgen
from hwgen import golden
from hwgen.deploy import board_named
from hwgen.deploy.project import project
from hwgen.engines.bench import bench_files
from hwgen.engines.tools import environment
from hwgen.golden.host import encode
from tests.small import good

RUN = """
import run_bench
from cocotb_tools.runner import Verilator
run_bench.find_verilator()
runner = Verilator()
build = runner._build_command
runner._build_command = lambda: [build()[0], build()[1] + run_bench.MAKE_OPTIONS]
runner.build(sources=[{sources}], hdl_toplevel="{top}", build_dir="sim_build",
    build_args=["-Wno-fatal", "-Wno-lint", "--no-timing"], timescale=("1ns", "1ps"))
results = runner.test(test_module="block_bench", hdl_toplevel="{top}", build_dir="sim_build",
    test_dir=".", results_xml="block.xml", hdl_toplevel_lang="verilog")
print("results:", *run_bench.get_results(results))
"""


@pytest.mark.model
def test_block(tmp_path: Path) -> None:
    design = hwgen.compile(good(), cycles=60)
    work = project(design, board_named("kv260"))
    sources = work.sources()
    for name, text in {**sources, **bench_files()}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    bench = Path(__file__).parent / "block_bench.py"
    (tmp_path / bench.name).write_text(bench.read_text())
    inputs = np.random.default_rng(0).normal(0, 1, (3, 12)).astype(np.float32)
    codes = encode(design.graph, inputs)
    (given,), (wanted,) = codes.values(), golden.run(design.graph, codes).values()
    identity = int.from_bytes(bytes.fromhex(work.identity)[:4], "little")
    tensors = {"given": given.astype(np.uint8), "wanted": wanted.astype(np.uint8)}
    np.savez(tmp_path / "case.npz", identity=identity, **tensors)
    names = ", ".join(f'"{name}"' for name in sources if name.endswith(".v"))
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(sources=names, top=work.top)],
        cwd=tmp_path,
        env={k: v for k, v in environment().items() if not k.startswith("PYTEST")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "results: 1 0" in done.stdout, done.stdout[-3000:] + done.stderr
