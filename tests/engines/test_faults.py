"""Verilog that breaks the protocol, hangs, is wrong or does not compile, in both engines."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from tests.command import fails, run, succeeds
from tests.qdq import Builder
from tests.small import write

# y = x for x >= 0, four elements; the first one chooses a fault.
FAULTY = """
module relu (
    input wire aclk, input wire aresetn, output wire tlast_error,
    input wire [7:0] s_axis_tdata, input wire s_axis_tvalid, output wire s_axis_tready,
    input wire s_axis_tlast,
    output wire [7:0] m_axis_tdata, output wire m_axis_tvalid, input wire m_axis_tready,
    output wire m_axis_tlast
);
  reg [7:0] word [0:3];
  reg [2:0] written, read;
  reg [7:0] waited;
  wire [7:0] fault = written == 0 ? 8'd0 : word[0];
  assign s_axis_tready = written < 4 && fault != 2;
  assign m_axis_tvalid = written == 4 && fault != 1;
  assign m_axis_tdata = word[read[1:0]] ^ {7'd0, fault == 6 && read == 2}
                        ^ (fault == 7 ? waited : 8'd0);
  assign m_axis_tlast = read == (fault == 3 ? 2 : 3);
  assign tlast_error = fault == 5;
  always @(posedge aclk) begin
    waited <= waited + 1;
    if (s_axis_tvalid && s_axis_tready) begin
      word[written[1:0]] <= s_axis_tdata;
      written <= written + 1;
    end
    if (m_axis_tvalid && m_axis_tready) begin
      read <= read + 1;
      if (read == (fault == 4 ? 4 : 3)) begin
        written <= 0;
        read <= 0;
      end
    end
    if (!aresetn) begin
      written <= 0;
      read <= 0;
      waited <= 0;
    end
  end
endmodule
"""


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A design whose Verilog was written by another hand."""
    b = Builder()
    scale = b.constant(np.float32(0.1))
    x = b.op("DequantizeLinear", b.input(1, 4, kind=TensorProto.INT8), scale)
    y = b.quantize(b.op("Relu", x), 0.1)
    folder = tmp_path_factory.mktemp("faulty")
    model = write(b.model(y), folder)
    (folder / "relu.toml").write_text('name = "relu"')
    succeeds("build", model, "-o", folder / "d", "--config", folder / "relu.toml")
    assert (folder / "d" / "relu.v").exists()
    (folder / "d" / "relu.v").write_text(FAULTY)
    return folder / "d"


FAULTS = {  # by the code that starts a sample
    1: r"deadlock: nothing moved for \d+ cycles; s_axis_\* moved 8 of 12 beats; "
    r"m_axis_\* moved 4 of 12 beats$",
    2: r"deadlock: .* s_axis_\* moved 5 of 12 beats; m_axis_\* moved 4 of 12 beats$",
    3: "m_axis_: tlast is wrong at sample 1, beat 2 of 4",
    4: "m_axis_: tlast is wrong at sample 2, beat 3 of 4",
    5: "tlast_error rose",
}


@pytest.mark.parametrize("engine", ["fast", "cocotb"])
def test_hardware_that_misbehaves(
    engine: str, faulty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("python", "c++"):  # a machine need not have programs of these names
        (tmp_path / "bin" / name).write_text("#!/bin/sh\nexit 127\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    simulate = ("simulate", faulty, "--inputs", tmp_path / "x.npz", "--engine", engine)
    output = ("-o", tmp_path / "y.npz")

    def inputs(*first: int) -> None:
        codes = np.full((3, 4), 9, np.int8)
        codes[:, 0] = first
        np.savez(tmp_path / "x.npz", x=codes)

    inputs(9, 9, 9)
    assert succeeds(*simulate).endswith("hardware equals the golden model\n")
    for fault, says in FAULTS.items():
        inputs(9, fault, 9)
        fails(tmp_path, *simulate, *output, says=says)
    inputs(9, 9, 4)
    fails(tmp_path, *simulate, *output, says="m_axis_: a beat too many")
    if engine == "cocotb":  # only it watches beats that wait
        inputs(7, 7, 7)
        fails(tmp_path, *simulate, "--stall", "1", says="payload changed before ready came")
    inputs(9, 6, 9)
    outcome = run(*simulate)
    assert outcome.code == 1
    assert not outcome.err
    assert "differ: input 1, output 'dequantizelinear_" in outcome.out
    assert "[0, 2]: 8 in hardware, 9 in the golden model (node " in outcome.out


def test_verilog_that_does_not_compile(faulty: Path, tmp_path: Path) -> None:
    copy = tmp_path / "d"
    shutil.copytree(faulty, copy)
    (copy / "relu.v").write_text(FAULTY.replace("endmodule", ""))
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 4), np.int8))
    for engine in ("fast", "cocotb"):
        simulate = ("simulate", copy, "--inputs", tmp_path / "x.npz", "--engine", engine)
        fails(tmp_path, *simulate, says="(verilator|building the cocotb simulation) failed: .*rror")
