"""How a version's scores are to be read: what the box measured on images that its memory had not seen. numpy only."""

from dataclasses import dataclass

import numpy as np

from mygo_edge.bundle.gaussian import Floats
from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.npz import ERRORS, array_names, read_arrays, write_arrays

_MAX_QUANTILES = 4096


@dataclass(frozen=True, slots=True)
class Calibration:
    """temperature: what logits are divided by before a softmax; novelty: [n] float32, evenly spaced quantiles, from the
    least to the largest, of the novelty of images of known classes.
    """

    temperature: float
    novelty: Floats


def write_calibration(calibration: Calibration) -> bytes:
    """As bytes, the same for equal values."""
    return write_arrays({"temperature": np.array(calibration.temperature), "novelty": calibration.novelty})


def read_calibration(data: bytes, name: str) -> Calibration:
    """Read what `write_calibration` wrote.

    Raises:
        BundleError: naming the file; not such an archive, or numbers that are no quantiles or no temperature.
    """
    expected = {"temperature", "novelty"}
    try:
        _require(array_names(data) == expected, f"it does not hold {sorted(expected)}")
        arrays = read_arrays(data, expected)
        temperature, novelty = arrays["temperature"], arrays["novelty"]
        _require(temperature.dtype == np.float64 and temperature.shape == (), "it lacks the temperature")
        _require(bool(1e-3 <= temperature <= 1e6), "the temperature is out of range")  # false for NaN
        _require(novelty.dtype == np.float32 and novelty.ndim == 1, "the quantiles do not fit")
        _require(2 <= len(novelty) <= _MAX_QUANTILES, "the quantiles are too few or too many")
        _require(bool(np.isfinite(novelty).all() and (np.diff(novelty) >= 0).all()), "the quantiles do not rise")
    except ERRORS as error:
        raise BundleError(f"{name} holds no calibration ({error}); publish or fetch it again") from error
    return Calibration(float(temperature), novelty)


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
