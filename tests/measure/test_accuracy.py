import pytest
import torch

from mygo_edge.data.split import Split
from mygo_edge.data.tasks import Task
from mygo_edge.measure.accuracy import accuracies, answers_on_tests, confusion, per_class, scores


def test_scores_follow_their_definitions():
    result = scores([[0.9], [0.8, 0.7], [0.85, 0.5, 0.6]])
    assert result["average"] == pytest.approx((0.85 + 0.5 + 0.6) / 3)
    assert result["forgetting"] == pytest.approx(((0.9 - 0.85) + (0.7 - 0.5)) / 2)
    assert result["backward_transfer"] == pytest.approx(((0.85 - 0.9) + (0.5 - 0.7)) / 2)


def test_a_single_task_forgets_nothing():
    assert scores([[0.5]]) == {"matrix": [[0.5]], "average": 0.5, "forgetting": 0.0, "backward_transfer": 0.0}


def test_task_known_looks_at_its_own_head_and_task_unknown_at_all():
    answers = torch.tensor([[2.0, 1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 9.0, 0.0, 0.0]])  # both right within head 0
    images, labels = torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])
    task = Task("task0", ["a", "b"], None, Split(images, labels), lambda inputs: inputs)
    other = Task("task1", ["c", "d", "e"], None, Split(images, torch.tensor([2, 0])), lambda inputs: inputs)
    tasks = [task, other]
    known, unknown = accuracies(answers_on_tests(lambda images: answers[: len(images)], tasks), tasks)
    assert known == [1.0, 0.5]  # of the other task, head 1 says (0 by a tie, 0): one of two
    assert unknown == [0.5, 0.5]


def test_confusion_counts_every_test_image_by_its_class_and_its_answer():
    answers = torch.tensor([[2.0, 1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 9.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 3.0]])
    images = torch.zeros(3, 1, 8, 8)
    first = Task("task0", ["a", "b"], None, Split(images, torch.tensor([0, 1, 1])), lambda inputs: inputs)
    other = Task("task1", ["c", "d", "e"], None, Split(images[:2], torch.tensor([2, 0])), lambda inputs: inputs)
    gone = Task("task2", ["f", "g"], None, None, lambda inputs: inputs)
    wide = torch.nn.functional.pad(answers, (0, 2))
    tasks = [first, other, gone]
    counts = confusion(answers_on_tests(lambda images: wide[: len(images)], tasks), tasks)
    assert [row[5:] for row in counts] == [[0, 0]] * 7
    assert counts[5:] == [[0] * 7] * 2
    counts = [row[:5] for row in counts[:5]]
    assert counts == [
        [1, 0, 0, 0, 0],
        [0, 0, 1, 0, 1],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0],
    ]
    assert per_class(counts) == [1.0, 0.0, 1.0, None, 0.0]


def test_a_task_without_test_data_is_not_measured_and_does_not_count():
    images, labels = torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])
    gone = Task("task0", ["a", "b"], None, None, lambda inputs: inputs)
    here = Task("task1", ["c", "d"], None, Split(images, labels), lambda inputs: inputs)
    tasks, logits = [gone, here], torch.tensor([[0.0, 0, 2, 1], [9, 0, 1, 2]])
    known, unknown = accuracies(answers_on_tests(lambda inputs: logits, tasks), tasks)
    assert (known, unknown) == ([None, 1.0], [None, 0.5])
    assert scores([[0.9], [None, 0.5]])["average"] == 0.5
    assert scores([[0.9], [None, 0.5]])["forgetting"] == 0.0


def test_of_nothing_there_is_no_average():
    assert scores([[None], [None, None]])["average"] is None
