import shutil
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from mygo_edge.data.datasets import Dataset, load
from mygo_edge.data.split import Split
from mygo_edge.data.tasks import Arrival, arrivals_of, class_groups, refuse_single
from mygo_edge.errors import MygoEdgeError
from mygo_edge.options import FolderOptions, TrainOptions

CPU = torch.device("cpu")


def dataset(images_per_class=10, classes=4):
    labels = torch.arange(classes).repeat(images_per_class)
    split = Split((labels[:, None, None, None] * 10).expand(-1, 1, 8, 8).to(torch.uint8).contiguous(), labels)
    return Dataset("squares", [f"class {c}" for c in range(classes)], split, split)


def test_digits_are_embedded_and_split_the_same_for_every_seed():
    first, second = load(TrainOptions(seed=0)), load(TrainOptions(seed=1))
    assert first.shape == (1, 8, 8)
    assert first.classes == [str(digit) for digit in range(10)]
    assert (len(first.train.labels), len(first.test.labels)) == (1437, 360)
    assert torch.equal(first.test.inputs, second.test.inputs)
    assert first.train.inputs.max() == 255


def test_equal_tasks_and_explicit_groups():
    assert class_groups("2", 6) == [[0, 1, 2], [3, 4, 5]]
    assert class_groups("4,1/0,2,3", 6) == [[4, 1], [0, 2, 3]]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ("3", "does not divide 4"),
        ("0", "does not divide"),
        ("4", "has one class"),
        ("0,1/1,2", "class 1 twice"),
        ("0,1/7,8", "class 7, but the classes are 0 to 3"),
        ("0,1/2", "has one class"),
        ("0,1//2,3", "not a number or groups"),
        ("cats", "not a number or groups"),
        ("", "not a number or groups"),
    ],
)
def test_bad_task_groups_are_refused(tasks, message):
    with pytest.raises(MygoEdgeError, match=message):
        class_groups(tasks, 4)


def test_a_task_renumbers_its_labels_and_keeps_the_names():
    first, second = arrivals_of(dataset(), "3,1/0,2")
    assert first.classes == ["class 3", "class 1"]
    assert second.name == "task1"
    brightness = first.train.inputs.float().mean((1, 2, 3))
    assert torch.allclose(brightness, torch.where(first.train.labels == 0, 30.0, 10.0))


def test_tasks_are_named_or_counted_on():
    assert [task.name for task in arrivals_of(dataset(), "2", ["hands", "feet"])] == ["hands", "feet"]
    assert [task.name for task in arrivals_of(dataset(), "2", first=3)] == ["task3", "task4"]
    with pytest.raises(MygoEdgeError, match="--task-names gives 1 names, --tasks makes 2 tasks"):
        arrivals_of(dataset(), "2", ["hands"])


def test_a_single_class_is_refused():
    with pytest.raises(MygoEdgeError, match="only one class"):
        class_groups("5", 1)


def test_the_fingerprint_changes_with_the_data():
    prints = [arrivals_of(dataset(count), "2")[0].fingerprint() for count in (10, 10, 11)]
    assert prints[0] == prints[1] != prints[2]


def test_a_damaged_download_is_refused_in_one_line(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (raw / f"{part}-{kind}-ubyte").write_bytes(b"")
    with pytest.raises(MygoEdgeError, match="cannot be read from"):
        load(TrainOptions(dataset="mnist", data_root=tmp_path))


def test_nan_pixels_are_refused_by_place():
    images = torch.rand(6, 1, 8, 8)
    images[4, 0, 3, 3] = float("nan")
    split = Split(images, torch.arange(6) % 2)
    with pytest.raises(MygoEdgeError, match="training image 4 holds NaN"):
        Dataset("mine", ["a", "b"], split, split)


def test_a_missing_dataset_says_how_to_get_it(tmp_path):
    with pytest.raises(MygoEdgeError, match="fetch it with --download"):
        load(TrainOptions(dataset="mnist", data_root=tmp_path))
    with pytest.raises(MygoEdgeError, match="needs --data-root"):
        load(TrainOptions(dataset="cifar10"))


@pytest.fixture
def image_folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, mode in (("cats", "RGB"), ("dogs", "L"), ("owls", "RGBA")):
        (tmp_path / name).mkdir()
        for number in range(10):
            size = tuple(int(n) for n in rng.integers(9, 40, 2))
            pixels = rng.integers(0, 256, (*size, {"RGB": 3, "L": 1, "RGBA": 4}[mode])).astype(np.uint8)
            Image.fromarray(pixels.squeeze(-1) if mode == "L" else pixels).save(tmp_path / name / f"{number}.png")
    return tmp_path


def load_folder(root, **options):
    return load(TrainOptions(dataset="folder", data_root=root, folder=FolderOptions(size=16, **options)))


def test_a_folder_of_images_of_any_size_and_colour_becomes_a_dataset(image_folder):
    colour = load_folder(image_folder)
    assert colour.classes == ["cats", "dogs", "owls"]
    assert colour.train.inputs.shape == (24, 3, 16, 16)
    assert torch.bincount(colour.test.labels).tolist() == [2, 2, 2]
    assert load_folder(image_folder, colour="grey").shape == (1, 16, 16)


def test_train_and_test_folders_are_used_as_they_are(image_folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("split")
    for part in ("train", "test"):
        (root / part).symlink_to(image_folder)
    loaded = load_folder(root)
    assert len(loaded.train.labels) == len(loaded.test.labels) == 30


def test_an_unreadable_image_is_named_and_refused_or_skipped(image_folder, capsys):
    (image_folder / "cats" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(MygoEdgeError, match=r"broken\.png.*--folder\.unreadable skip"):
        load_folder(image_folder)
    assert len(load_folder(image_folder, unreadable="skip").train.labels) == 24
    warning = capsys.readouterr().err
    assert "broken.png" in warning
    assert warning.count("\n") == 1


def test_nan_in_a_float_image_is_refused(image_folder):
    pixels = np.full((9, 9), np.nan, np.float32)
    Image.fromarray(pixels).save(image_folder / "cats" / "nan.tiff")
    with pytest.raises(MygoEdgeError, match=r"nan\.tiff"):
        load_folder(image_folder)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(MygoEdgeError, match="no sub-folders"):
        load_folder(tmp_path)
    (tmp_path / "cats").mkdir()
    with pytest.raises(MygoEdgeError, match="no readable image"):
        load_folder(tmp_path)


def test_torchvision_files_are_read_from_the_data_root(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", 30), ("t10k", 20)):
        images, labels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8), np.arange(count, dtype=np.uint8) % 10
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, count, 28, 28) + images.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())
    mnist = load(TrainOptions(dataset="mnist", data_root=tmp_path))
    assert mnist.shape == (1, 28, 28)
    assert (len(mnist.train.labels), len(mnist.test.labels)) == (30, 20)


def list_folder(root, **options):
    return load(TrainOptions(dataset="folder", data_root=root, trunk="resnet18", folder=FolderOptions(**options)))


def test_files_that_are_no_photos_of_a_class_are_left_out(image_folder):
    """Of macOS's archives, notebooks, file managers; and folders that are called like pictures."""
    cats = image_folder / "cats"
    (cats / "._0.png").write_bytes(b"\0\5\x16\7")
    (cats / ".cache").mkdir()
    (cats / ".cache" / "0.png").write_bytes((cats / "0.png").read_bytes())
    (cats / "album.jpg").mkdir()
    (cats / "Thumbs.db").write_bytes(b"x")
    (cats / "more of them").mkdir()
    (cats / "more of them" / "ä.PNG").write_bytes((cats / "0.png").read_bytes())
    found = list_folder(image_folder)
    assert len(found.train) + len(found.test) == 31


def test_a_damaged_photo_is_named_before_anything_is_learnt_or_skipped(image_folder, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    cut = image_folder / "cats" / "cut.jpg"
    Image.fromarray(pixels).save(cut)
    cut.write_bytes(cut.read_bytes()[:-300])
    with pytest.raises(MygoEdgeError, match=r"cut\.jpg.*--folder\.unreadable skip"):
        list_folder(image_folder)
    found = list_folder(image_folder, unreadable="skip")
    assert len(found.train) + len(found.test) == 30
    assert "cut.jpg" in capsys.readouterr().err


def test_validation_images_are_for_testing_where_there_are_no_others(image_folder, tmp_path_factory, capsys):
    root = tmp_path_factory.mktemp("split")
    for part in ("train", "valid"):
        (root / part).symlink_to(image_folder)
    assert list_folder(root).classes == ["cats", "dogs", "owls"]
    (root / "test").symlink_to(image_folder)
    assert len(list_folder(root).test) == 30
    assert "tested on test/, not on valid/" in capsys.readouterr().err


def test_parts_of_a_dataset_are_no_classes_in_whatever_capitals_or_are_told(image_folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("split")
    for part in ("Train", "TEST"):
        (root / part).symlink_to(image_folder)
    assert list_folder(root).classes == ["cats", "dogs", "owls"]
    for part in ("Train", "TEST"):
        (root / part).rename(root / f"seg_{part}")
    with pytest.raises(
        MygoEdgeError, match=r"all hold the folders 'cats', 'dogs', 'owls'; .* call the parts train and"
    ):
        list_folder(root)


def test_a_folder_around_the_folder_of_classes_is_told(image_folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("outer")
    (root / "animals").symlink_to(image_folder)
    with pytest.raises(MygoEdgeError, match=r"if those are the classes, give .*animals"):
        list_folder(root)


def test_other_classes_for_testing_are_named(image_folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("split")
    (root / "train").symlink_to(image_folder)
    for name in ("cats", "dogs"):
        (root / "test" / name).mkdir(parents=True)
    with pytest.raises(MygoEdgeError, match="must have the same classes; 'owls' is in one of them alone"):
        list_folder(root)


def test_images_that_are_for_training_and_for_test_are_told(image_folder, tmp_path_factory, capsys):
    root = tmp_path_factory.mktemp("split")
    for part in ("train", "test"):
        shutil.copytree(image_folder, root / part)
    repeated = len(list((root / "test").rglob("*.png")))
    for load_it in (load_folder, list_folder):
        load_it(root)
        assert f"{repeated} of {repeated} images in test/ are in train/, too" in capsys.readouterr().err
    for file in (root / "test").rglob("*.png"):
        with Image.open(file) as picture:
            other = picture.transpose(Image.Transpose.ROTATE_90)
        other.save(file)
    load_folder(root)
    assert "in train/" not in capsys.readouterr().err


def test_a_class_of_two_photos_is_learnt_and_not_measured(image_folder, capsys):
    for number in range(2, 10):
        (image_folder / "dogs" / f"{number}.png").unlink()
    dataset = list_folder(image_folder)
    assert torch.bincount(dataset.train.labels).tolist() == [8, 2, 8]
    (task,) = arrivals_of(dataset, "0,1,2")
    assert torch.bincount(task.test.labels, minlength=3).tolist() == [2, 0, 2]
    assert "class 'dogs' of task0 has no test input" in capsys.readouterr().err
    (image_folder / "dogs" / "1.png").unlink()
    with pytest.raises(MygoEdgeError, match="class 'dogs' has one image for training"):
        list_folder(image_folder)


def test_small_images_of_a_class_of_two_are_learnt_from_both(image_folder):
    for number in range(2, 10):
        (image_folder / "dogs" / f"{number}.png").unlink()
    assert torch.bincount(load_folder(image_folder).train.labels).tolist() == [8, 2, 8]


def test_without_any_test_image_there_is_an_empty_part(tmp_path):
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("RGB", (20, 20), (number, 0, 0)).save(tmp_path / name / f"{number}.png")
    dataset = load_folder(tmp_path)
    assert dataset.train.inputs.shape == (4, 3, 16, 16)
    assert dataset.test.inputs.shape == (0, 3, 16, 16)
    (task,) = arrivals_of(dataset, "1")
    assert task.test is None
    refuse_single([task])


def test_a_class_of_one_input_is_refused_where_scatter_is_taken():
    train = Split(torch.zeros(3, 1, 16, 16), torch.tensor([0, 0, 1]))
    with pytest.raises(MygoEdgeError, match="class 'dogs' of pets has one input for training"):
        refuse_single([Arrival("pets", ["cats", "dogs"], train)])


def test_photos_that_become_small_images_are_told_of_a_trunk(image_folder, capsys):
    load_folder(image_folder)
    assert capsys.readouterr().err == ""
    for number in range(10):
        for name in ("cats", "dogs"):
            Image.new("RGB", (300, 200 + number)).save(image_folder / name / f"{number}.png")
    load_folder(image_folder)
    warning = capsys.readouterr().err
    assert "photos of 20" in warning
    assert "learnt at 16 x 16; --trunk efficientnet-lite0" in warning
    assert warning.count("\n") == 1


def test_groups_are_offered_where_classes_do_not_divide():
    with pytest.raises(MygoEdgeError, match=r"name the groups: 0,1/2,3/4,5,6$"):
        class_groups("3", 7)
    assert class_groups("0,1/2,3/4,5,6", 7) == [[0, 1], [2, 3], [4, 5, 6]]
