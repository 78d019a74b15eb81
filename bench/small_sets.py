"""Sets of a few hundred images a class, and two hard ones, learnt by MyGO, fine-tuning and joint training: pixels that
are not digits. MyGO learns them once more as it does unless told otherwise: by patches.

    python bench/small_sets.py --fashion IDX --photos DIR [--fonts /usr/share/fonts] [--work runs/small]

letters: capital letters drawn with the fonts below --fonts, 240 training images a class; fonts of training and test
differ. The published figures are with those of the packages of Debian in FONTS, unpacked by dpkg -x. fashion: the first
165 training images a class of Fashion-MNIST, whose IDX files IDX holds. photos: the same of DIR, a folder of
train/CLASS and test/CLASS; grey, 28 pixels. signs: a class is four signs that have nothing in common, drawn like the
letters, 1,200 images a class. photos-colour: all of DIR, in colour, 32 pixels. Finished runs are kept. Summaries are
copied to bench/results/small/, and are committed.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.photo_sets import fashion

RESULTS = Path(__file__).parent / "results" / "small"
FONTS = """adf-accanthis adf-berenis adf-gillius adf-ikarius adf-tribun adf-universalis adf-verana beteckna breip cabin
cantarell comfortaa comic-neue courier-prime crosextra-caladea crosextra-carlito dancingscript dejavu-core dejavu-extra
dustin ebgaramond ecolier-court firacode freefont-ttf goudybookletter hack humor-sans inconsolata isabella junicode jura
karla kristi lato league-spartan liberation linuxlibertine lobster oldstandard open-sans play prociono quicksand
roboto-unhinted rufscript sil-andika sil-charis texgyre tlwg-garuda tomsontalks urw-base35 vollkorn yanone-kaffeesatz"""
GAN = ["--memory.generator", "convolutional", "--methods", "mygo", "finetune", "joint"]
DEFAULT = ["--methods", "mygo"]
KINDS = {"": GAN, "-patches": DEFAULT}
RUNS = {  # tasks and seeds of each set
    "letters-10": (5, 3),
    "fashion": (5, 3),
    "photos": (5, 3),
    "letters-26": (13, 1),
    "signs": (5, 1),
    "photos-colour": (5, 1),
}
SIGNS = ["".join(four) for four in zip("ABCDEFGHJK", "rqnhgfedba", "0123456789", "LMNPQRTUVY", strict=True)]  # a class
DRAWN_SIGNS, TEST_SIGNS = 1200, 200
TRAINING, TEST = 165, 200  # images a class, but letters
DRAWN_TRAINING, DRAWN_TEST = 240, 60
SIDE = 28


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path, required=True, help="folder with Fashion-MNIST's IDX files")
    parser.add_argument("--photos", type=Path, required=True, help="folder of train/CLASS and test/CLASS")
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"), help="folder of TrueType fonts")
    parser.add_argument("--work", type=Path, default=Path("runs/small"), help="folder of sets and runs")
    names = [f"{name}{kind}-seed{seed}" for name, (_, seeds) in RUNS.items() for kind in KINDS for seed in range(seeds)]
    parser.add_argument("--only", nargs="*", choices=names, default=names, help="these runs alone")
    options = parser.parse_args()
    sets = options.work / "sets"
    make_sets(options.fashion, options.photos, options.fonts, sets)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name, (tasks, seeds) in RUNS.items():
        for seed in range(seeds):
            folder = options.photos if name == "photos-colour" else sets / name
            for kind, how in KINDS.items():
                if (run := f"{name}{kind}-seed{seed}") in options.only:
                    learn(run, folder, tasks, how, seed, options.work)


def make_sets(fashion_files: Path, photos: Path, fonts: Path, to: Path) -> None:
    """The folders of images, those that are not there yet."""
    if not (to / "fashion").is_dir():
        fashion(fashion_files, to / "all-fashion")
        first_of_each(to / "all-fashion", to / "fashion")
        shutil.rmtree(to / "all-fashion")
    if not (to / "photos").is_dir():
        first_of_each(photos, to / "photos")
    for letters in ("ABCDEFGHIJ", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"):
        if not (folder := to / f"letters-{len(letters)}").is_dir():
            draw_classes({letter: letter for letter in letters}, fonts, folder, (DRAWN_TRAINING, DRAWN_TEST), seed=0)
    if not (to / "signs").is_dir():
        classes = {f"c{place}": signs for place, signs in enumerate(SIGNS)}
        draw_classes(classes, fonts, to / "signs", (DRAWN_SIGNS, TEST_SIGNS), seed=1)


def first_of_each(source: Path, to: Path) -> None:
    """The first images of each class."""
    for part, count in (("train", TRAINING), ("test", TEST)):
        for folder in sorted((source / part).iterdir()):
            (to / part / folder.name).mkdir(parents=True)
            for file in sorted(folder.iterdir())[:count]:
                shutil.copyfile(file, to / part / folder.name / file.name)


def draw_classes(classes: dict[str, str], fonts: Path, to: Path, counts: tuple[int, int], seed: int) -> None:
    """Classes of one or more signs, in turn, of random fonts and sizes, moved and turned a little; a fifth of the
    families is for testing alone.
    """
    source = random.Random(seed)
    families: dict[str, list[Path]] = {}
    for file in sorted([*fonts.rglob("*.ttf"), *fonts.rglob("*.otf")]):
        if draws(file, "".join(classes.values())):
            families.setdefault(file.stem.split("-")[0][:10], []).append(file)
    names = sorted(families)
    source.shuffle(names)
    cut = len(names) // 5
    for part, kept, count in (("test", names[:cut], counts[1]), ("train", names[cut:], counts[0])):
        files = [file for name in kept for file in families[name]]
        for name, signs in classes.items():
            (to / part / name).mkdir(parents=True)
            for index in range(count):
                sign = signs[index % len(signs)]
                draw(sign, source.choice(files), source).save(to / part / name / f"{index:04}.png")


def draws(file: Path, letters: str) -> bool:
    """Whether a font tells the letters apart: symbols and other scripts do not."""
    try:
        font = ImageFont.truetype(str(file), 40)
        shapes = {bytes(font.getmask(letter)) for letter in letters}
    except (OSError, ValueError):
        return False
    return len(shapes) > 0.8 * len(letters) and min(sum(shape) for shape in shapes) > 500


def draw(letter: str, file: Path, source: random.Random) -> Image.Image:
    """A white letter on black, drawn twice as large."""
    size = source.randint(32, 46)
    image = Image.new("L", (2 * SIDE, 2 * SIDE))
    pen = ImageDraw.Draw(image)
    left, top, right, bottom = pen.textbbox((0, 0), letter, ImageFont.truetype(str(file), size))
    fit = min(1.0, 50 / max(right - left, bottom - top, 1))
    font = ImageFont.truetype(str(file), max(8, int(size * fit)))
    left, top, right, bottom = pen.textbbox((0, 0), letter, font)
    place = [SIDE - (low + high) / 2 + source.uniform(-2, 2) for low, high in ((left, right), (top, bottom))]
    pen.text((place[0], place[1]), letter, 255, font)
    turned = image.rotate(source.uniform(-10, 10), Image.Resampling.BILINEAR)
    return turned.resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def learn(name: str, folder: Path, tasks: int, how: list[str], seed: int, work: Path) -> None:
    """Run or resume one run to its end and copy its summary."""
    out = work / name
    form = ["--folder.size", "32"] if name.startswith("photos-colour") else ["--folder.colour", "grey"]
    words = ["--dataset", "folder", *form, "--tasks", str(tasks), *how, "--seed", str(seed)]
    arguments = [*words, "--data-root", str(folder), "--out", str(out)]
    if (out / "config.json").exists():
        arguments = ["--resume", str(out)]
    with (work / f"{name}.log").open("a") as log:
        subprocess.run([sys.executable, "-m", "mygo_edge.train", *arguments], stdout=log, stderr=log, check=True)
    summary = json.loads((out / "summary.json").read_text())
    config = json.loads((out / "config.json").read_text())
    summary["command"] = " ".join(["python -m mygo_edge.train", *words, "--data-root", f"SETS/{folder.name}"])
    summary |= {key: config[key] for key in ("versions", "device", "git_commit")}
    (RESULTS / f"{name}.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(f"{name}: done", flush=True)


if __name__ == "__main__":
    main()
