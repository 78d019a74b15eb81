"""Sets of photos for bench/photos.py: who is in them, and how they are split."""

from pathlib import Path

import numpy as np
from PIL import Image

from bench.photo_sets import LEAST, cells, foods, stamps
from bench.photos import resplit


def picture(file: Path, shade: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(file)


def found(folder: Path) -> dict[str, int]:
    """Files of each folder of pictures."""
    return {str(each.relative_to(folder)): len(list(each.iterdir())) for each in sorted(folder.glob("*/*"))}


def test_stamps_leave_out_drawings_mirror_images_and_classes_of_few(tmp_path: Path) -> None:
    source = tmp_path / "from"
    for number in range(LEAST + 1):
        picture(source / "animals" / "birds" / f"{number}.png", number)
        picture(source / "animals" / "birds" / f"{number}_mirror.png", number)
        picture(source / "animals" / "birds" / "cartoon" / f"{number}.png", number)
        picture(source / "symbols" / f"{number}.png", number)
    for number in range(LEAST - 1):
        picture(source / "animals" / "fish" / f"{number}.png", number)
    stamps(source, tmp_path / "to")
    assert found(tmp_path / "to") == {"train/animals-birds": LEAST // 2 + 1, "test/animals-birds": LEAST // 2}


def test_a_picture_that_stands_for_several_foods_is_taken_once(tmp_path: Path) -> None:
    for number in range(2 * LEAST):
        picture(tmp_path / "from" / f"A{number:03}.jpeg", 16 * (number // 2))
    foods(tmp_path / "from", tmp_path / "to")
    assert sum(found(tmp_path / "to").values()) == LEAST
    assert {file.name for file in (tmp_path / "to").rglob("*.jpeg")} == {f"A{2 * n:03}.jpeg" for n in range(LEAST)}


def test_solar_cells_are_classed_by_module_and_likelihood_of_a_defect(tmp_path: Path) -> None:
    names = [f"images/{number}.png" for number in range(LEAST)]
    for number, name in enumerate(names):
        picture(tmp_path / "from" / name, number)
    (tmp_path / "from" / "labels.csv").write_text("".join(f"{name}  0.3333333333333333  mono\n" for name in names))
    cells(tmp_path / "from", tmp_path / "to")
    assert found(tmp_path / "to") == {"train/mono-0.3": LEAST // 2, "test/mono-0.3": LEAST // 2}


def test_other_photos_train_and_test_but_as_many_of_each_class() -> None:
    y, test_y = np.repeat([0, 1], [5, 3]), np.repeat([0, 1], [4, 2])
    x, test_x = np.arange(8)[:, None], np.arange(8, 14)[:, None]
    new_x, new_y, new_test_x, new_test_y = resplit((x, y, test_x, test_y), seed=0)
    assert (new_y == y).all()
    assert (new_test_y == test_y).all()
    assert sorted([*new_x[:, 0], *new_test_x[:, 0]]) == list(range(14))
    assert set(new_x[:, 0]) != set(x[:, 0])
    classes = {int(photo[0]): label for photo, label in zip([*x, *test_x], [*y, *test_y], strict=True)}
    assert [classes[photo] for photo in [*new_x[:, 0], *new_test_x[:, 0]]] == [*y, *test_y]
