"""The host link over a serial line: commands in frames, each done once."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Array, Cat, Const, Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hwgen.protocol import PAYLOAD, REGISTERS, Command, Status
from hwgen.rtl.link.beats import ByteSink, ByteSource
from hwgen.rtl.link.frames import FrameReceiver, FrameSender
from hwgen.rtl.link.uart import UartReceiver, UartSender


class SerialLink(wiring.Component):
    """Frames in, frames out; bytes to and from the streams of a design; its registers.

    A command whose sequence number is that of the last one is not done again: its answer is sent
    again. `inputs`, `outputs`: bytes of a beat of each stream; `divisor`: cycles per bit.

    Members: `rx`, `tx`; for each input `in<k>_tdata`, `_tvalid`, `_tready`, `_tlast` to the design,
    `out<k>_...` from it; those of `Registers` for its bus, turned round, `reset`: the design's,
    `errors`: of ERRORS without the first.
    """

    def __init__(self, inputs: Sequence[int], outputs: Sequence[int], divisor: int) -> None:
        self._inputs, self._outputs, self._divisor = inputs, outputs, divisor
        members = {
            **{"rx": In(1), "tx": Out(1, init=1), "reset": In(1), "o_reset": Out(1)},
            **{"address": Out(4), "read": Out(1), "data": In(32), "write": Out(1)},
            **{"o_data": Out(32), "errors": Out(4)},
        }
        for stem, sizes, way, back in (("in", inputs, Out, In), ("out", outputs, In, Out)):
            for k, size in enumerate(sizes):
                signals = {"tdata": way(8 * size), "tvalid": way(1), "tready": back(1)}
                signals["tlast"] = way(1)
                members |= {f"{stem}{k}_{name}": member for name, member in signals.items()}
        super().__init__(members)

    def elaborate(self, _platform) -> Module:
        """Line, streams, and the machine that does commands."""
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self._divisor)
        m.submodules.sender = sender = UartSender(self._divisor)
        m.submodules.frame = frame = FrameReceiver()
        m.submodules.answer = answer = FrameSender()
        m.submodules.memory = memory = Memory(shape=8, depth=PAYLOAD, init=[])
        self._write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(sender.tx),
            frame.i.eq(receiver.o),
            frame.i_valid.eq(receiver.o_valid),
            sender.i.eq(answer.o),
            sender.i_valid.eq(answer.o_valid),
            answer.o_ready.eq(sender.i_ready),
            read.addr.eq(answer.o_address),
            read.en.eq(1),
            answer.i_data.eq(read.data),
        ]
        self._streams(m)
        self._commands(m, frame, answer)
        m.d.comb += self.errors[:3].eq(Cat(frame.o_bad, frame.o_cut, receiver.o_error))
        return m

    def _streams(self, m: Module) -> None:
        """Queues of all streams, which a reset of the design empties."""
        self._sources = [ByteSource(size) for size in self._inputs]
        self._sinks = [ByteSink(size) for size in self._outputs]
        for stem, units in (("in", self._sources), ("out", self._sinks)):
            for k, unit in enumerate(units):
                m.submodules[f"{stem}{k}"] = ResetInserter(self.reset)(unit)
                inward = ("tready",) if stem == "in" else ("tdata", "tvalid", "tlast")
                for name in ("tdata", "tvalid", "tready", "tlast"):
                    own, port = getattr(unit, name), getattr(self, f"{stem}{k}_{name}")
                    m.d.comb += own.eq(port) if name in inward else port.eq(own)

    def _commands(self, m: Module, frame: FrameReceiver, answer: FrameSender) -> None:
        """Wait for a frame, do its command byte by byte, answer."""
        self._frame, self._answer = frame, answer
        self._number, self._known = Signal(8), Signal()  # of the last command
        self._status, self._command, self._length = Signal(8), Signal(8), Signal(16)  # its answer
        self._place, self._count = Signal(range(PAYLOAD + 1)), Signal(16)
        self._word, self._again = Signal(32), Signal()
        own = Cat(self._number, self._status, self._command, self._length)
        again = Cat(frame.o_sequence, Const(Status.AGAIN, 8), Const(0, 24))
        m.d.comb += [
            answer.i_header.eq(Mux(self._again, again, own)),
            frame.i_address.eq(self._place),
            self._write.addr.eq(self._place),
            self.o_data.eq(self._word),
        ]
        with m.FSM() as fsm:
            self._idle(m)
            self._begin(m)
            self._payload(m)
            self._give(m)
            self._registers(m)
            self._answers(m)
        m.d.comb += frame.i_hold.eq(~fsm.ongoing("idle"))

    def _reply(self, m: Module, status: Status, length=0) -> None:
        m.d.sync += [self._status.eq(status), self._length.eq(length)]
        m.next = "answer"

    def _idle(self, m: Module) -> None:
        frame = self._frame
        same = self._known & (frame.o_sequence == self._number)
        with m.State("idle"):
            m.d.sync += [self._place.eq(0), self._count.eq(frame.o_length)]
            m.d.sync += self._again.eq(frame.o_bad)
            with m.If(frame.o_bad):
                m.next = "answer"
            with m.Elif(frame.o_good & same & (frame.o_command != Command.SYNC)):
                m.next = "answer"  # what was answered before
            with m.Elif(frame.o_good):
                m.d.sync += [self._number.eq(frame.o_sequence), self._known.eq(1)]
                m.d.sync += self._command.eq(frame.o_command)
                m.next = "begin"

    def _begin(self, m: Module) -> None:
        """What can be done at once, and whether the rest makes sense."""
        stream, count = self._frame.o_port, self._count
        room = Array(self._sources)[stream].o_room
        with m.State("begin"), m.Switch(self._command):
            with m.Case(Command.SYNC):
                m.d.comb += self.o_reset.eq(1)
                m.next = "reset"
            with m.Case(Command.WRITE, Command.END):
                with m.If(stream >= len(self._sources)):
                    m.next = "refuse"
                with m.Elif(room < count):
                    self._reply(m, Status.FULL)
                with m.Else():
                    m.next = "fetch"
            with m.Case(Command.READ):
                known = (stream < len(self._sinks)) & (count == 2)
                m.next = "refuse"
                with m.If(known):
                    m.next = "fetch"
            with m.Case(Command.GET):
                m.d.sync += count.eq(4 * len(REGISTERS))
                m.next = "load"
            with m.Case(Command.SET):
                m.next = "refuse"
                with m.If(count == 5):
                    m.next = "fetch"
            with m.Default():
                m.next = "refuse"
        with m.State("refuse"):
            m.d.comb += self.errors[3].eq(1)
            self._reply(m, Status.REFUSED)
        with m.State("reset"), m.If(~self.reset):
            self._reply(m, Status.OK)

    def _payload(self, m: Module) -> None:
        """The bytes of the frame, one in two cycles, and what is done when all are there."""
        frame, place, count, word = self._frame, self._place, self._count, self._word
        ends = self._command == Command.END
        with m.State("fetch"):
            m.next = "take"
            with m.If(place == count):
                m.next = "taken"
        with m.State("take"):
            m.d.sync += [place.eq(place + 1), word.eq(Cat(word[8:], frame.o_data))]
            m.next = "fetch"
            writes = ends | (self._command == Command.WRITE)
            for k, source in enumerate(self._sources):
                m.d.comb += [
                    source.i.eq(frame.o_data),
                    source.i_last.eq(ends & (place + 1 == count)),
                    source.i_valid.eq(writes & (frame.o_port == k)),
                ]
            with m.If((self._command == Command.SET) & (place == 0)):
                m.d.sync += self.address.eq(frame.o_data)
        with m.State("taken"):
            self._reply(m, Status.OK)
            with m.If(self._command == Command.SET):
                m.d.comb += self.write.eq(1)
            with m.If(self._command == Command.READ):
                most = word[16:]
                m.d.sync += [count.eq(Mux(most > PAYLOAD, PAYLOAD, most)), place.eq(0)]
                m.next = "give"

    def _give(self, m: Module) -> None:
        """Bytes of a stream into the answer, to the end of a tensor at most."""
        place, sink = self._place, Array(self._sinks)[self._frame.o_port]
        with m.State("give"):
            m.d.comb += self._write.data.eq(sink.o)
            with m.If((place == self._count) | ~sink.o_valid):
                self._reply(m, Status.OK, place)
            with m.Else():
                m.d.comb += self._write.en.eq(1)
                m.d.sync += place.eq(place + 1)
                for k, each in enumerate(self._sinks):
                    m.d.comb += each.o_ready.eq(self._frame.o_port == k)
                with m.If(sink.o_last):
                    self._reply(m, Status.LAST, place + 1)

    def _registers(self, m: Module) -> None:
        """All registers into the answer, each read once."""
        place = self._place
        with m.State("load"):
            m.d.sync += self.address.eq(place[2:])
            m.next = "loaded"
        with m.State("loaded"):
            m.d.comb += self.read.eq(place[:2] == 0)
            m.next = "store"
        with m.State("store"):
            byte = self.data.word_select(place[:2], 8)
            m.d.comb += [self._write.data.eq(byte), self._write.en.eq(1)]
            m.d.sync += place.eq(place + 1)
            m.next = "load"
            with m.If(place + 1 == self._count):
                self._reply(m, Status.OK, self._count)

    def _answers(self, m: Module) -> None:
        """Send the answer, which asks for a damaged frame again."""
        answer = self._answer
        with m.State("answer"):
            m.d.comb += answer.i_send.eq(1)
            m.next = "wait"
        with m.State("wait"), m.If(~answer.o_busy):
            m.next = "idle"
