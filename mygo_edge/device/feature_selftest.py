"""Whether a version with a trunk computes what was published: its features, its dreams, and their answers."""

from typing import TYPE_CHECKING

import numpy as np

from mygo_edge.bundle.feature_selftest import (
    DREAM_FEATURES,
    DREAMS,
    PROBE_FEATURES,
    PROBES,
    FeatureSelfTest,
    places_tested,
    read_feature_selftest,
    sampled,
    sampled_logits,
)
from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.selftest import deviation
from mygo_edge.device.engine import Key

if TYPE_CHECKING:
    from mygo_edge.device.features import FeatureEngine


def compute(engine: "FeatureEngine") -> FeatureSelfTest:
    """What this machine makes of the fixed inputs and the fixed noise."""
    class_ids, dreams, logits, largest = [], [], [], []
    names, reader = list(engine.published), engine.manifest.reader
    for step in places_tested(len(names), reader):
        name = names[step]
        dreamt = engine.dream(name, None, DREAMS, Key(0, 0, step), {})
        vectors = engine.shared.transform(dreamt.samples)
        class_ids.append(dreamt.class_ids)
        dreams.append(sampled(dreamt.samples, DREAM_FEATURES))
        logits.append(sampled_logits(engine.score(vectors, [name], {}).logits, reader).ravel())
        largest.append(engine.score(vectors, names, {}).logits.max(1))
    return FeatureSelfTest(
        probes=np.ascontiguousarray(sampled(engine.trunk.probe(PROBES), PROBE_FEATURES)),
        class_id=np.stack(class_ids),
        dreams=np.stack(dreams),
        logits=np.concatenate(logits),
        largest=np.stack(largest),
    )


def run_selftest(engine: "FeatureEngine", data: bytes, where: str) -> dict[str, float]:
    """See `mygo_edge.device.edge_model.EdgeModel.run_selftest`. data, where: of the recorded self-test."""
    widths = [len(task.classes) for task in engine.published.values()]
    expected = read_feature_selftest(data, where, widths, engine.trunk.form.features, engine.manifest.reader)
    got = compute(engine)
    worst = {
        engine.trunk.graph.name: _compare(engine, "trunk", deviation(got.probes, expected.probes)),
        f"{engine.version}/{engine.entry('factor').path}": _compare(
            engine, "factor", deviation(got.dreams, expected.dreams)
        ),
        "the classifier computed of means and factor": _compare(
            engine,
            "factor",
            max(deviation(got.logits, expected.logits), deviation(got.largest, expected.largest)),
        ),
    }
    if not np.array_equal(got.class_id, expected.class_id):
        raise BundleError(f"{where} fails: dreams are of other classes than published; stay on the version before")
    return worst


def _compare(engine: "FeatureEngine", role: str, worst: float) -> float:
    entry = engine.trunk.entry if role == "trunk" else engine.entry(role)
    allowed = entry.tolerance or engine.manifest.tolerance
    if worst > allowed:
        raise BundleError(
            f"{engine.version}/{entry.path} fails its self-test: it differs by {worst:.3g} from what was published, "
            f"{allowed:g} is allowed; stay on the version before"
        )
    return worst
