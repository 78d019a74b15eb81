"""The algorithm's claims, on two small tasks of scikit-learn's digits."""

import os
from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from mygo_edge.data.split import Split
from mygo_edge.data.tasks import Task
from mygo_edge.domains.pixels import Pixels, shift
from mygo_edge.errors import MygoEdgeError
from mygo_edge.kernels.exactness import set_exact_arithmetic
from mygo_edge.learn.fit import one_cycle
from mygo_edge.learn.phase import Phase
from mygo_edge.learn.pixels.calibration import calibrate
from mygo_edge.learn.pixels.memorise import memorise
from mygo_edge.learn.pixels.methods import MyGO
from mygo_edge.learn.pixels.reference import Reference
from mygo_edge.learn.pixels.sleep import flat_features, sleep
from mygo_edge.learn.randomness import Batches
from mygo_edge.measure.accuracy import accuracies, answers_on_tests
from mygo_edge.options import MemoryOptions, SleepOptions, TrainOptions, WakeOptions
from tests.tasks import tasks_of

CPU = torch.device("cpu")
DIGITS = Pixels((1, 8, 8))
OPTIONS = TrainOptions(
    tasks="0,1/2,3,4",
    wake=WakeOptions(epochs=1, min_steps=80, batch_size=64),
    memory=MemoryOptions(epochs=1, min_steps=250, batch_size=32),
    sleep=SleepOptions(steps=80, dreams_per_task=32),
)


def learn(method, index, tasks, until=None):
    for named in method.phases(index, [tasks[index]]):
        if named.name == until:
            return named
        named.work(Phase(CPU, 0))
    return None


def new_tasks():
    return tasks_of(OPTIONS, DIGITS)


@pytest.fixture(scope="module")
def tasks():
    return new_tasks()


@pytest.fixture(scope="module")
def awake(tasks):
    """MyGO after its first cycle and the second wake, just before the second sleep."""
    method = MyGO(DIGITS, OPTIONS, CPU)
    learn(method, 0, tasks)
    learn(method, 1, tasks, until="sleep")
    return method


def slept(awake, **options):
    net = deepcopy(awake.net)
    report = sleep(net, deepcopy(awake.expert), awake.memory, DIGITS, replace(OPTIONS.sleep, **options), Phase(CPU, 0))
    return net, report


def test_sleep_moves_features_and_keeps_old_tasks(awake, tasks):
    net, report = slept(awake)
    assert report.feature_change > 0.01
    assert report.moved_by_dreams > 0.01
    assert report.loss_last < report.loss_first / 2
    known, unknown = accuracies(answers_on_tests(net, tasks), tasks)
    assert min(known) > 0.9
    assert sum(unknown) / 2 > 0.8


def test_calibration_changes_which_head_answers_and_nothing_that_a_head_says(awake, tasks):
    plain, _ = slept(awake, calibrate=False)
    calibrated, _ = slept(awake)
    images = torch.cat([task.test.inputs for task in tasks])
    before, after = (
        [part - part.mean(1, keepdim=True) for part in net(images).split([2, 3], 1)] for net in (plain, calibrated)
    )
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    known = [accuracies(answers_on_tests(net, tasks), tasks)[0] for net in (calibrated, plain)]
    assert known[0] == known[1]
    assert not torch.equal(plain(images).argmax(1), calibrated(images).argmax(1))


def test_calibration_mends_heads_that_claim_too_much(awake, tasks):
    net, _ = slept(awake, calibrate=False)
    _, before = accuracies(answers_on_tests(net, tasks), tasks)
    with torch.no_grad():
        net.classifiers[0].bias += 20.0  # now the first head claims every image
    assert accuracies(answers_on_tests(net, tasks), tasks)[1][1] < 0.1
    dreams = awake.memory.dream([200, 200], seed=0, stream=9, step=0)
    calibrate(net, net.features(dreams.images), dreams.task_ids)
    assert sum(accuracies(answers_on_tests(net, tasks), tasks)[1]) > sum(before) - 0.1


def test_calibration_holds_all_tasks_for_alike_however_many_dreams_there_are_of_each(awake):
    net, _ = slept(awake, calibrate=False)
    dreams = awake.memory.dream([100, 100], seed=5, stream=1, step=0)
    features = net.features(dreams.images).detach()
    rows = torch.cat([torch.arange(100), torch.arange(100, 200).repeat(3)])  # three times as many of the second task
    alike, uneven = deepcopy(net), deepcopy(net)
    calibrate(alike, features, dreams.task_ids)
    calibrate(uneven, features[rows], dreams.task_ids[rows])
    # Not to the bit: the scale of the features is that of all rows.
    torch.testing.assert_close(uneven(dreams.images), alike(dreams.images), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("teacher", ["expert", "published"])
def test_what_forgets_is_a_new_network_and_the_same_whatever_was_drawn_before(awake, teacher):
    nets = []
    for seed in (1, 2):
        method = deepcopy(awake)
        method.options = replace(OPTIONS, sleep=replace(OPTIONS.sleep, steps=3, teacher=teacher))
        method.phases(1, [new_tasks()[1]])[-1].work(Phase(CPU, 0))  # its sleep
        torch.manual_seed(seed)
        for named in method.forgetting(0, []):
            named.work(Phase(CPU, 0))
        nets.append(method.net)
    for one, other in zip(*(net.state_dict().values() for net in nets), strict=True):
        assert torch.equal(one, other)
    before = flat_features(awake.net)
    assert (flat_features(nets[0]) - before).norm() > 0.2 * before.norm()  # though it began as that one began


def test_dreams_made_ahead_change_nothing_but_the_order_of_sums(awake):
    plain, report = slept(awake, ahead_megabytes=0, steps=40)
    for megabytes in (0.3, 32):
        ahead, again = slept(awake, ahead_megabytes=megabytes, steps=40)
        assert again.loss_last == pytest.approx(report.loss_last, rel=1e-3)
        torch.testing.assert_close(flat_features(ahead), flat_features(plain), atol=2e-4, rtol=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need CUDA")
@pytest.mark.parametrize("mode", ["graph", "compile"])
def test_captured_and_compiled_steps_change_nothing_but_the_order_of_sums_on_cuda(awake, mode):
    set_exact_arithmetic()  # as a run does
    nets = [slept_elsewhere(awake, torch.device("cuda", 0), step_mode) for step_mode in ("eager", mode)]
    torch.use_deterministic_algorithms(False)
    torch.testing.assert_close(*nets, atol=2e-4, rtol=1e-3)


def test_a_method_that_is_put_on_a_device_sleeps_as_where_it_was(awake):
    net, _ = slept(awake, steps=40)
    torch.testing.assert_close(slept_elsewhere(awake, CPU, "eager"), flat_features(net), atol=2e-4, rtol=1e-3)


def slept_elsewhere(awake, device, step_mode):
    """The student's features after a sleep of 40 steps on the device, in which nothing was noted."""
    net, expert, memory = (deepcopy(part).to(device) for part in (awake.net, awake.expert, awake.memory))
    phase = Phase(device, 0, step_mode=step_mode)
    notes = []
    phase.note = notes.append
    sleep(net, expert, memory, DIGITS, replace(OPTIONS.sleep, steps=40), phase)
    assert not notes
    return flat_features(net)


@pytest.mark.skipif(os.environ.get("MYGO_EDGE_SLOW_TESTS") != "1", reason="MYGO_EDGE_SLOW_TESTS=1 compiles")
def test_a_compiled_loss_learns_the_same(awake):
    nets = []
    for step_mode in ("eager", "compile"):
        net = deepcopy(awake.net)
        phase = Phase(CPU, 0, step_mode=step_mode)
        sleep(net, deepcopy(awake.expert), awake.memory, DIGITS, replace(OPTIONS.sleep, steps=20), phase)
        nets.append(flat_features(net))
    torch.testing.assert_close(*nets, atol=2e-4, rtol=1e-3)


def test_a_fixed_batch_over_many_tasks_teaches_too(awake, tasks):
    net, report = slept(awake, batch_size=48)
    assert report.dreams == 80 * 48
    assert min(accuracies(answers_on_tests(net, tasks), tasks)[0]) > 0.9


def test_the_published_teacher_teaches_nothing(awake):
    net, report = slept(awake, teacher="published")
    assert (report.loss_first, report.loss_last, report.feature_change) == (0.0, 0.0, 0.0)
    assert torch.equal(flat_features(net), flat_features(awake.net))
    method = Reference(DIGITS, OPTIONS, CPU)
    learn(method, 0, new_tasks())
    assert [(s["loss_first"], s["loss_last"], s["feature_change"]) for s in method.sleeps] == [(0.0, 0.0, 0.0)]


class Lockable(torch.Tensor):
    """Real data that can be locked: from then on, any use of it raises."""

    locked = False

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if cls.locked:
            raise PermissionError(f"real data was used by {function.__name__}")
        with torch._C.DisableTorchFunctionSubclass():
            return function(*args, **(kwargs or {}))


def test_sleep_touches_no_real_data(monkeypatch):
    def lockable(split):
        return Split(split.inputs.as_subclass(Lockable), split.labels.as_subclass(Lockable))

    tasks = [
        Task(task.name, task.classes, lockable(task.train), lockable(task.test), lambda inputs: inputs)
        for task in new_tasks()
    ]
    method = MyGO(DIGITS, OPTIONS, CPU)
    for index in range(2):
        monkeypatch.setattr(Lockable, "locked", False)
        asleep = learn(method, index, tasks, until="sleep")
        monkeypatch.setattr(Lockable, "locked", True)
        with pytest.raises(PermissionError):
            tasks[index].train.inputs.sum()
        asleep.work(Phase(CPU, 0))
    assert len(method.sleeps) == 2


def test_the_wake_freezes_features_and_old_heads(awake, tasks):
    method = MyGO(DIGITS, OPTIONS, CPU)
    learn(method, 0, tasks)
    before = deepcopy(method.net.state_dict())
    learn(method, 1, tasks, until="sleep")
    after = method.net.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert set(after) - set(before) == {"classifiers.1.weight", "classifiers.1.bias"}


def test_a_seed_gives_the_same_network_and_another_one_another(awake, tasks):
    again = MyGO(DIGITS, OPTIONS, CPU)
    learn(again, 0, tasks)
    learn(again, 1, tasks, until="sleep")
    assert all(torch.equal(value, awake.state()[key]) for key, value in again.state().items())
    other = MyGO(DIGITS, replace(OPTIONS, seed=1), CPU)
    assert not torch.equal(flat_features(other.net), flat_features(again.net))


def test_a_method_is_rebuilt_from_its_tensors(awake, tasks):
    copy = MyGO(DIGITS, OPTIONS, CPU)
    copy.load(awake.state())
    images = tasks[1].test.inputs
    assert torch.equal(copy.logits(images), awake.logits(images))
    assert torch.equal(copy.dream(1, 5, stream=0, step=0)[0], awake.dream(1, 5, stream=0, step=0)[0])


def test_dreams_are_of_the_asked_for_class(awake, tasks):
    images, class_ids = awake.dream(1, 300, stream=0, step=0)
    answers = awake.expert(images)[:, 2:].argmax(1)
    assert (answers == class_ids).float().mean() > 0.8


def deaf(inputs):
    """An expert that answers with the first class, whatever it sees."""
    return torch.tensor([[1.0, 0.0]]).expand(len(inputs), 2)


def test_a_gan_whose_classes_cannot_be_told_apart_is_tried_again_and_refused(tasks):
    with pytest.raises(MygoEdgeError, match=r"failed 2 times .*attempt 2: .*recognises 0% of the dreams of class 1"):
        memorise(tasks[0], DIGITS, deaf, replace(OPTIONS.memory, min_steps=20, restarts=1), Phase(CPU, 0))


def test_a_gan_that_becomes_nan_is_noticed_and_tried_again(tasks):
    options = replace(OPTIONS.memory, learning_rate=1e30, min_steps=51, restarts=1)
    phase = Phase(CPU, 0)
    with pytest.raises(MygoEdgeError, match=r"failed 2 times \(attempt 1: .*nan"):
        memorise(tasks[0], DIGITS, deaf, options, phase)
    assert phase.attempt == 2  # beyond the last: a run that goes on does not try again


def test_one_cycle_rises_and_falls():
    rates = [one_cycle(step, 100, 1.0) for step in range(100)]
    assert rates[0] == pytest.approx(0.04)
    assert max(rates) == rates[30] == pytest.approx(1.0)
    assert rates[-1] < 0.01


def test_batches_cover_an_epoch_and_depend_on_the_step_alone():
    batches, again = Batches(10, 3, CPU, 0, "x"), Batches(10, 3, CPU, 0, "x")
    epoch = torch.cat([batches(step) for step in range(3)])
    assert len(set(epoch.tolist())) == 9
    assert torch.equal(again(2), batches(2))
    assert not torch.equal(batches(3), batches(0))


def test_shift_moves_each_image_and_repeats_the_border():
    images = torch.arange(9.0).view(1, 1, 3, 3).repeat(2, 1, 1, 1)
    moved = shift(images, torch.tensor([[1, 0], [0, -1]]))
    assert moved[0, 0].tolist() == [[3, 4, 5], [6, 7, 8], [6, 7, 8]]
    assert moved[1, 0].tolist() == [[0, 0, 1], [3, 3, 4], [6, 6, 7]]
