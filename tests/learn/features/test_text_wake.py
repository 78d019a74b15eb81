"""What is measured of a task's texts in its wake, on those left out, says nothing of them a second time."""

import numpy as np
import pytest

from mygo_edge.bundle.gaussian import PowerTransform
from mygo_edge.learn.features.moments import PooledMoments
from mygo_edge.learn.features.own_calibration import Known, measure

FEATURES = 8


@pytest.mark.parametrize("alike", [1, 2])
def test_texts_that_are_alike_are_named_when_they_are_pooled_and_not_when_some_are_left_out(
    alike: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the last class, or of all but the texts that are left out."""
    labels = np.repeat([0, 1], 30)
    vectors = np.random.default_rng(0).normal(size=(60, FEATURES)).astype(np.float32)
    kept = labels >= 2 - alike if alike == 1 else np.tile(np.arange(30) % 5 != 0, 2)
    vectors[kept] = labels[kept, None] + 1
    known = Known(PooledMoments.empty(FEATURES), [], [])
    found = measure(known, vectors, labels, 1.0, 4, PowerTransform(1.0, signed=True))
    assert (found is None) == (alike == 2)
    assert found is None or np.isfinite(found).all()
    assert capsys.readouterr().err == ""
    assert known.pooled.tasks == 0
