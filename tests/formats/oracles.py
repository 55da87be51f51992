"""What the tests of codes share: formats of ml_dtypes, inputs, comparison."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from hwgen.formats import Format, decode, parse

ML_DTYPES = {
    "fp16": np.float16,
    "bf16": ml_dtypes.bfloat16,
    "e5m2": ml_dtypes.float8_e5m2,
    "e4m3": ml_dtypes.float8_e4m3,
    "e4m3fn": ml_dtypes.float8_e4m3fn,
    "e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "float<4,3,11,fnuz>": ml_dtypes.float8_e4m3b11fnuz,
    "float<3,4,3,ieee>": ml_dtypes.float8_e3m4,
    "e3m2": ml_dtypes.float6_e3m2fn,
    "e2m3": ml_dtypes.float6_e2m3fn,
    "e2m1": ml_dtypes.float4_e2m1fn,
    "e8m0": ml_dtypes.float8_e8m0fnu,
}
SMALL = [name for name in ML_DTYPES if name not in ("fp16", "bf16")]


def every_code(fmt: Format) -> np.ndarray:
    return np.arange(fmt.min, fmt.max + 1)


def wide_inputs(name: str) -> np.ndarray:
    """All 65,536 numbers of fp16 or bf16, as ml_dtypes reads them, as float32; quiet NaNs."""
    with np.errstate(invalid="ignore"):  # signalling NaNs
        values = np.arange(1 << 16, dtype=np.uint16).view(ML_DTYPES[name]).astype(np.float32)
    return np.where(np.isnan(values), np.float32(np.nan), values)


def same_numbers(fmt: Format | str, codes: np.ndarray, wanted: np.ndarray) -> None:
    """The codes mean the numbers wanted, to the sign of zero; NaNs may differ in theirs."""
    got = decode(parse(fmt) if isinstance(fmt, str) else fmt, codes)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        wanted = np.asarray(wanted).astype(np.float64)
    np.testing.assert_array_equal(got, wanted)
    real = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(got[real]), np.signbit(wanted[real]))
