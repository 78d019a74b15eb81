"""Rivals learn what they can, task after task, and keep what their papers say."""

import numpy as np
import pytest

from mygo_edge.learn.features.rivals import FeCAM, Finetune, Joint, NearestMean, RanPAC, Rival, StreamingLDA

WIDTH, CLASSES, TASKS = 16, 6, 3


def data(seed: int, per_class: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Non-negative features of six classes that one correlated direction blurs."""
    truth = np.random.default_rng(5).uniform(0, 6, (CLASSES, WIDTH))
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), per_class)
    blur = rng.normal(size=(len(labels), 1)) * 4 * np.linspace(0, 1, WIDTH)
    return np.maximum(truth[labels] + rng.normal(size=(len(labels), WIDTH)) + blur, 0).astype(np.float32), labels


def learnt(rival: Rival) -> Rival:
    features, labels = data(0)
    for task in range(TASKS):
        rows = labels // (CLASSES // TASKS) == task
        rival.learn(features[rows], labels[rows])
    return rival


@pytest.mark.parametrize(
    ("rival", "least"),
    [
        (NearestMean(), 0.6),
        (StreamingLDA(), 0.95),
        (FeCAM(), 0.9),
        (RanPAC(WIDTH, 300), 0.95),
        (Joint(), 0.95),
        (Finetune(), 0.25),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, float) else "",
)
def test_a_rival_answers_over_all_tasks(rival: Rival, least: float) -> None:
    features, labels = data(1)
    logits = learnt(rival).logits(features)
    assert logits.shape == (len(labels), CLASSES)
    assert np.isfinite(logits).all()
    assert (logits.argmax(1) == labels).mean() > least
    assert rival.bytes >= 4 * CLASSES * WIDTH


def test_task_after_task_is_all_at_once_for_those_with_a_closed_form() -> None:
    features, labels = data(0)
    for kind in (NearestMean, StreamingLDA, FeCAM):
        whole = kind()
        whole.learn(features, labels)
        assert np.allclose(whole.logits(features[:9]), learnt(kind()).logits(features[:9]), rtol=1e-4, atol=1e-3)


def test_nothing_but_the_joint_bound_keeps_real_features() -> None:
    few, many = (data(0, per_class) for per_class in (20, 200))
    for make in (NearestMean, StreamingLDA, FeCAM, Finetune, lambda: RanPAC(WIDTH, 100)):
        kept = []
        for features, labels in (few, many):
            rival = make()
            rival.learn(features, labels)
            kept.append(rival.bytes)
        assert kept[0] == kept[1]
    joint = Joint()
    joint.learn(*many)
    assert joint.bytes == many[0].nbytes


def test_fecam_answers_beside_a_class_whose_images_are_all_alike() -> None:
    features, labels = data(0)
    features[labels == 2] = 3.0
    fecam = FeCAM()
    fecam.learn(features, labels)
    tested, truth = data(1)
    logits = fecam.logits(tested)
    assert np.isfinite(logits).all()
    assert (logits.argmax(1) == truth)[truth != 2].mean() > 0.7


def test_fine_tuning_goes_on_from_what_it_kept_to_the_same_bits() -> None:
    features, labels = data(0)
    parts = [labels < 2, labels >= 2]
    whole, before, after = Finetune(3), Finetune(3), Finetune(4)
    for part in parts:
        whole.learn(features[part], labels[part])
    before.learn(features[parts[0]], labels[parts[0]])
    after.load({name: value.clone() for name, value in before.state().items()})
    after.learn(features[parts[1]], labels[parts[1]])
    assert np.array_equal(after.logits(features), whole.logits(features))
