"""What an ONNX value is while the model is lowered.

Shapes are those of ONNX with the batch axis at 1. Numbers are exact: scales and offsets are
Fractions, as scalars or as object arrays that broadcast against the shape.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import Arithmetic, Block, Float, Int, decode

if TYPE_CHECKING:
    from hwgen.frontend.target import Target

Numbers = np.ndarray  # object array of Fraction, of any shape that broadcasts


def exact(values) -> Numbers:
    """Floating-point or integer numbers as Fractions; refuses NaN and infinity."""
    array = np.asarray(values)
    if array.dtype == object:
        return array
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ModelError("holds NaN or infinity; mend the model's weights and scales")
    flat = [Fraction(v) for v in array.ravel().tolist()]
    result = np.empty(len(flat), dtype=object)
    result[:] = flat
    return result.reshape(array.shape)


ZERO = exact(0)
LOWEST = -1e4  # stands for minus infinity where a mask is added to scores in hardware


def check_scale(scale: Numbers) -> Numbers:
    """The same numbers; refuses any that is not positive."""
    if not all(v > 0 for v in scale.ravel()):
        raise ModelError("has a scale that is zero or negative; scales must be positive")
    return scale


@dataclass(frozen=True, eq=False)
class Stream:
    """Elements of a tensor: `ids` has the ONNX shape and numbers them as their tensor first did.

    `quantized`: rounded sums behind a quantizer that changed none, with what they begin with.
    """

    tensor: str
    ids: np.ndarray
    quantized: bool = False


@dataclass(frozen=True, eq=False)
class Input:
    """A floating-point model input before its QuantizeLinear."""

    name: str
    shape: tuple[int, ...]
    ids: np.ndarray


@dataclass(frozen=True, eq=False)
class Tokens:
    """An integer model input, of `shape`, whose elements index tables."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    ids: np.ndarray


@dataclass(frozen=True, eq=False)
class Codes:
    """A quantized tensor."""

    stream: Stream
    fmt: Int | Float

    @property
    def ids(self) -> np.ndarray:
        """Elements in ONNX shape."""
        return self.stream.ids

    def real(self, scale: Fraction, zero: int = 0) -> Real:
        """(codes - zero) * scale."""
        return Real((Term(self.stream, exact(scale)),), exact(-zero * scale))


@dataclass(frozen=True, eq=False)
class Constant:
    """A constant."""

    array: np.ndarray


@dataclass(frozen=True, eq=False)
class Scaled:
    """A dequantized constant: codes (int64, zero point subtracted) times scale; of floats their
    codes in `fmt`, whose numbers are scaled. Of blocks the numbers themselves (float64): the layer
    that reads them decides along which axis they lie."""

    codes: np.ndarray
    scale: Numbers
    fmt: Float | Block | None = None

    def values(self) -> Numbers:
        """The numbers."""
        if isinstance(self.fmt, Block):
            raise ModelError(f"reads constants in {self.fmt}, which only weights of layers can be")
        numbers = self.codes if self.fmt is None else decode(self.fmt, self.codes)
        return np.asarray(exact(numbers) * self.scale)


@dataclass(frozen=True, eq=False)
class Term:
    """stream * scale: the codes, or the numbers of floats' codes."""

    stream: Stream
    scale: Numbers


@dataclass(frozen=True, eq=False)
class Real:
    """clamp(sum of terms + offset, low, high): a tensor of real numbers nothing has rounded yet."""

    terms: tuple[Term, ...]
    offset: Numbers = field(default_factory=lambda: ZERO)
    low: Numbers | None = None
    high: Numbers | None = None
    name: str = ""  # of the ONNX node that adds, where there are several terms

    @property
    def ids(self) -> np.ndarray:
        """An array of the ONNX shape."""
        return self.terms[0].stream.ids

    @property
    def clamped(self) -> bool:
        """Whether a clamp is pending."""
        return self.low is not None or self.high is not None

    def affine(self, scale: Numbers, offset: Numbers) -> Real:
        """self * scale + offset."""
        terms = tuple(replace(t, scale=t.scale * scale) for t in self.terms)
        low, high = (None if v is None else v * scale + offset for v in (self.low, self.high))
        if self.clamped and np.any(np.asarray(scale) < 0):
            if not np.all(np.asarray(scale) <= 0):
                raise ModelError(
                    "scales a clamped value up in some channels and down in others; quantize "
                    "it first"
                )
            low, high = high, low
        return Real(terms, self.offset * scale + offset, low, high, self.name)

    def clamp(self, low, high) -> Real:
        """clamp(self, low, high); None for no limit."""
        old_low, old_high = self.low, self.high
        if low is not None:
            low = exact(low)
            old_low = low if old_low is None else np.maximum(old_low, low)
            old_high = None if old_high is None else np.maximum(old_high, low)
        if high is not None:
            high = exact(high)
            old_high = high if old_high is None else np.minimum(old_high, high)
            old_low = None if old_low is None else np.minimum(old_low, high)
        return replace(self, low=old_low, high=old_high)


@dataclass(frozen=True, eq=False)
class Blocked:
    """Quantized numbers of which a layer makes blocks, in the order in which it reads them."""

    real: Real
    fmt: Block

    @property
    def ids(self) -> np.ndarray:
        """Elements of the value."""
        return self.real.ids

    @property
    def unread(self) -> str:
        """Why a node that is no layer can't read it."""
        return (
            f"reads activations in {self.fmt}, which only Conv, ConvTranspose, Gemm and MatMul "
            f"do; put their Quantize directly in front of the layer"
        )


@dataclass(frozen=True, eq=False)
class Mapped:
    """A function of quantized numbers; `function` works on float64 arrays."""

    real: Real
    function: Callable[[np.ndarray], np.ndarray]
    name: str  # of the ONNX node
    rising: bool = False  # whether the function never falls
    operations: tuple[tuple[str, dict], ...] | None = None  # the same for the host, if it can
    narrow: Callable[[], Real] | None = None  # `real` in few bits of one scale

    @property
    def ids(self) -> np.ndarray:
        """Elements of the value."""
        return self.real.ids


@dataclass(frozen=True, eq=False)
class Joined:
    """Quantized numbers of several tensors, one after another along an axis."""

    parts: tuple[Real, ...]
    axis: int

    @property
    def ids(self) -> np.ndarray:
        """An array of the ONNX shape."""
        return np.concatenate([part.ids for part in self.parts], axis=self.axis)


@dataclass(frozen=True, eq=False)
class Hosted:
    """What the host computes from an output of the hardware; `hardware` does it in hardware where
    that can, for what reads it."""

    value: Real | Codes
    operations: tuple[tuple[str, dict], ...]
    hardware: Callable[[], Real] | None = None

    @property
    def ids(self) -> np.ndarray:
        """Elements of the value."""
        return self.value.ids


class Maker(ABC):
    """What a node of the hardware computes in the format that its reader asks for."""

    name: str  # of the ONNX node
    result: str  # the ONNX tensor
    reach: tuple[float, float]  # limits of the numbers

    @abstractmethod
    def codes(self, target: Target) -> Codes:
        """The node's result in a format; the same codes for the same format."""


@dataclass(frozen=True, eq=False)
class Deferred:
    """The result of a normalization or a softmax, which its reader rounds: elements of `maker`."""

    maker: Maker
    ids: np.ndarray


@dataclass(frozen=True, eq=False)
class Scores:
    """q @ k * scale + bias, a product of two activations: perhaps the scores of attention.

    `product` gives it as numbers of the hardware, where nothing makes attention of it; `ids` are
    the elements of the product.
    """

    q: Real
    k: Real
    scale: Fraction
    bias: np.ndarray | None  # float64, broadcasts against `ids`
    ids: np.ndarray
    product: Callable[[], Real]
    name: str  # of the ONNX node that multiplies
    softmax: bool = False  # whether its softmax is meant
    arith: Arithmetic | None = None  # of the node that multiplies

    @property
    def whole(self) -> bool:
        """Whether no element has moved."""
        return bool((np.diff(self.ids.ravel()) == 1).all())

    def scaled(self, factor: Fraction) -> Scores:
        """self * factor, which is positive."""
        bias = None if self.bias is None else self.bias * float(factor)
        real = self.product
        return replace(
            self,
            scale=self.scale * factor,
            bias=bias,
            product=lambda: real().affine(exact(factor), ZERO),
        )

    def plus(self, bias: np.ndarray) -> Scores:
        """self + bias, which may be minus infinity."""
        real = self.product
        # What is far below all scores has no weight, whatever it is.
        finite = exact(np.maximum(bias.astype(np.float64), LOWEST))
        return replace(
            self,
            bias=bias.astype(np.float64) + (0 if self.bias is None else self.bias),
            product=lambda: real().affine(exact(1), finite),
        )


@dataclass(frozen=True, eq=False)
class Rounded:
    """Scores that a model rounds; attention keeps them to more digits."""

    value: Scores
    target: Target

    @property
    def ids(self) -> np.ndarray:
        """Elements of the value."""
        return self.value.ids


@dataclass(frozen=True, eq=False)
class Unknown:
    """The result of a node that could not be lowered."""


Value = (
    Input
    | Tokens
    | Codes
    | Constant
    | Scaled
    | Real
    | Blocked
    | Mapped
    | Joined
    | Hosted
    | Deferred
    | Scores
    | Rounded
    | Unknown
)


def shape(value: Value) -> tuple[int, ...]:
    """The ONNX shape, batch 1."""
    if isinstance(value, Constant):
        return value.array.shape
    if isinstance(value, Scaled):
        return value.codes.shape
    if isinstance(value, Unknown):
        raise ModelError("its input could not be mapped")
    return value.ids.shape


def rearrange(value: Value, move: Callable[[np.ndarray], np.ndarray]) -> Value:
    """Apply a NumPy operation that only moves elements (reshape, transpose)."""
    size = shape(value)

    def numbers(array):
        return array if array is None or np.ndim(array) == 0 else move(np.broadcast_to(array, size))

    def stream(s: Stream) -> Stream:
        return replace(s, ids=move(s.ids))

    if isinstance(value, Constant):
        return Constant(move(value.array))
    if isinstance(value, Scaled):
        return replace(value, codes=move(value.codes), scale=_moved_scale(value, move))
    if isinstance(value, Input | Tokens | Deferred):
        return replace(value, ids=move(value.ids))
    if isinstance(value, Scores):
        return replace(value, ids=move(value.ids), bias=numbers(value.bias))
    if isinstance(value, Rounded):
        scores = rearrange(value.value, move)
        assert isinstance(scores, Scores)
        return replace(value, value=scores)
    if isinstance(value, Codes):
        return replace(value, stream=stream(value.stream))
    if isinstance(value, Real):
        terms = tuple(Term(stream(t.stream), numbers(t.scale)) for t in value.terms)
        return Real(
            terms, numbers(value.offset), numbers(value.low), numbers(value.high), value.name
        )
    if isinstance(value, Mapped):
        narrow = value.narrow
        moved = None if narrow is None else lambda: _moved(narrow(), move)
        return replace(value, real=_moved(value.real, move), narrow=moved)
    if isinstance(value, Blocked):
        raise ModelError(value.unread)
    raise ModelError("can't be moved behind an operation of the host; put it before")


def _moved(real: Real, move: Callable[[np.ndarray], np.ndarray]) -> Real:
    value = rearrange(real, move)
    assert isinstance(value, Real)
    return value


def picked(real: Real, ids: np.ndarray) -> Real:
    """The elements of a value at places of its flattened form."""
    if ids.shape == real.ids.shape and (np.diff(ids.ravel()) == 1).all():
        return real
    return _moved(real, lambda a: a.ravel()[ids])


def _moved_scale(value: Scaled, move) -> Numbers:
    """Keep a per-channel scale per channel where the axis survives the move."""
    if np.ndim(value.scale) == 0:
        return value.scale
    numbers = np.arange(value.scale.size).reshape(value.scale.shape)
    full = move(np.broadcast_to(numbers, value.codes.shape))
    for axis in range(full.ndim):
        head = np.take(np.moveaxis(full, axis, 0).reshape(full.shape[axis], -1), [0], axis=1)
        place = [1] * full.ndim
        place[axis] = full.shape[axis]
        if (head.reshape(place) == full).all():
            return value.scale.ravel()[head.ravel()].reshape(place)
    return value.scale.ravel()[full]


def uniform(numbers: Numbers, what: str) -> Fraction:
    """The only number of an array."""
    flat = np.ravel(numbers)
    if not all(v == flat[0] for v in flat):
        raise ModelError(f"{what} differs from element to element; quantize its input per tensor")
    return Fraction(flat[0])
