"""cocotb test of a design's block: its streams beside its registers; run by test_block.py in a
folder with case.npz: `given` and `wanted`, one byte a beat of some tensors."""

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

CASE = dict(np.load("case.npz"))
ADDRESS = {"identity0": 0x08, "control": 0x18, "status": 0x1C, "errors": 0x20}
ADDRESS |= {"tensors_in": 0x24, "tensors_out": 0x28, "cycles": 0x30, "busy": 0x38}


async def read(dut, name: str) -> int:
    dut.s_axi_araddr.value = ADDRESS[name]
    dut.s_axi_arvalid.value = 1
    await RisingEdge(dut.aclk)
    while not dut.s_axi_arready.value:
        await RisingEdge(dut.aclk)
    dut.s_axi_arvalid.value = 0
    while not dut.s_axi_rvalid.value:
        await RisingEdge(dut.aclk)
    return int(dut.s_axi_rdata.value)


async def write(dut, name: str, value: int) -> None:
    dut.s_axi_awaddr.value = ADDRESS[name]
    dut.s_axi_wdata.value = value
    dut.s_axi_wstrb.value = 15
    dut.s_axi_awvalid.value = dut.s_axi_wvalid.value = 1
    await RisingEdge(dut.aclk)
    while not (dut.s_axi_awready.value and dut.s_axi_wready.value):
        await RisingEdge(dut.aclk)
    dut.s_axi_awvalid.value = dut.s_axi_wvalid.value = 0
    while not dut.s_axi_bvalid.value:
        await RisingEdge(dut.aclk)


async def send(dut, tensor: np.ndarray, beats: int | None = None, end: bool = True) -> None:
    for k, byte in enumerate(tensor[:beats]):
        dut.s_axis_tdata.value = int(byte)
        dut.s_axis_tlast.value = int(end and k + 1 == len(tensor[:beats]))
        dut.s_axis_tvalid.value = 1
        await RisingEdge(dut.aclk)
        while not dut.s_axis_tready.value:
            await RisingEdge(dut.aclk)
    dut.s_axis_tvalid.value = 0


async def receive(dut, count: int) -> list[int]:
    """The next bytes, tlast on the last alone."""
    got = []
    dut.m_axis_tready.value = 1
    while len(got) < count:
        await RisingEdge(dut.aclk)
        if dut.m_axis_tvalid.value:
            got.append(int(dut.m_axis_tdata.value))
            assert dut.m_axis_tlast.value == (len(got) == count)
    dut.m_axis_tready.value = 0
    return got


@cocotb.test()
async def registers_beside_streams(dut) -> None:
    given, wanted = CASE["given"], CASE["wanted"]
    for name in ("awvalid", "wvalid", "arvalid"):
        getattr(dut, f"s_axi_{name}").value = 0
    dut.s_axi_bready.value = dut.s_axi_rready.value = 1
    dut.s_axis_tvalid.value = dut.m_axis_tready.value = 0
    dut.aresetn.value = 0
    Clock(dut.aclk, 10, "ns").start()
    for _ in range(3):
        await RisingEdge(dut.aclk)
    dut.aresetn.value = 1
    for _ in range(20):
        await RisingEdge(dut.aclk)
    assert await read(dut, "identity0") == int(CASE["identity"])
    for k, (tensor, result) in enumerate(zip(given, wanted, strict=True)):
        assert await read(dut, "status") == 0
        sending = cocotb.start_soon(send(dut, tensor))
        await send_begun(dut)
        assert await read(dut, "status") == 1
        assert await receive(dut, len(result)) == result.tolist()
        await sending
        counts = [await read(dut, name) for name in ("tensors_in", "tensors_out", "errors")]
        assert counts == [k + 1, k + 1, 0]
    assert 0 < await read(dut, "busy") < await read(dut, "cycles")

    await send(dut, given[0], beats=5)  # ends early
    assert await receive(dut, len(wanted[0])) != wanted[0].tolist()
    await write(dut, "errors", 1)
    assert await read(dut, "errors") == 1  # until reset
    await send(dut, given[0], beats=3, end=False)
    await write(dut, "control", 1)
    assert await read(dut, "status") & 2
    for _ in range(20):
        await RisingEdge(dut.aclk)
    names = ("status", "errors", "tensors_in", "tensors_out")
    assert [await read(dut, name) for name in names] == [0, 0, 0, 0]
    cocotb.start_soon(send(dut, given[1]))
    assert await receive(dut, len(wanted[1])) == wanted[1].tolist()


async def send_begun(dut) -> None:
    while not (dut.s_axis_tvalid.value and dut.s_axis_tready.value):
        await RisingEdge(dut.aclk)
    await RisingEdge(dut.aclk)
