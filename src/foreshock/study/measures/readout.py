"""Residuals → readings by the fitted vectors, as the experiments on single tokens take them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from foreshock.study.subject import Subject

Values = Float[np.ndarray, "text emotion"]
LEAST_SPREAD = 1e-5
"""Readings that vary less than this are the same number but for rounding."""


def readings_at(subject: Subject, layer: int, residuals: Float[np.ndarray, "text hidden"]) -> Values:
    """Readings after a layer, in standard deviations of the fitted passages."""
    readout = subject.fitted.readout(layer)
    return np.asarray(residuals @ readout.W.T + readout.b, np.float64)


def standardised(values: Values) -> Values:
    """Every column with mean 0 and standard deviation 1 over texts; a column that does not vary becomes 0."""
    centred = values - values.mean(0)
    spread = centred.std(0)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > LEAST_SPREAD)


def correlations(a: Values, b: Values) -> Float[np.ndarray, " emotion"]:
    """Pearson's r of each column of `a` with that of `b` over texts; 0 where one of them does not vary."""
    return np.asarray((standardised(a) * standardised(b)).mean(0))
