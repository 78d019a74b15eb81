"""A learner that goes on: learn a task, sleep, publish; later another; forget one; let a device answer.

python examples/learner.py FOLDER
"""

import sys
from pathlib import Path

from sklearn.datasets import load_digits

from mygo_edge import EdgeModel, Learner, TrainOptions
from mygo_edge.options import MemoryOptions, SleepOptions, WakeOptions

QUICK = TrainOptions(
    wake=WakeOptions(min_steps=80), memory=MemoryOptions(epochs=1, min_steps=200), sleep=SleepOptions(steps=80)
)


def main(folder: Path) -> None:
    digits = load_digits()
    images = (digits.images * 15.9).astype("uint8")  # [n, 8, 8]

    def of(*labels: int) -> tuple:
        rows = [label in labels for label in digits.target]
        return images[rows], [str(label) for label in digits.target[rows]]

    def watch(event: dict) -> None:
        if event["event"] == "phase":
            print(f"{event['phase']}: {event['seconds']:.1f} s")

    learner = Learner.create(folder, QUICK, on_event=watch)
    learner.learn("small", *of(0, 1, 2))
    learner.learn("middling", *of(3, 4))  # next week; the first task's data is not needed any more
    learner.learn("large", *of(7, 8, 9))
    learner.forget("middling")
    print("tasks:", learner.tasks)
    print(f"large, task given: {learner.accuracy(*of(7, 8, 9), task='large'):.1%}")

    device = EdgeModel.load(folder / "bundle")  # needs numpy and onnxruntime, no torch
    print("a device says:", device.predict(of(7)[0][:3]))
    print("and dreams", device.dream("large", n=4, seed=1).class_ids)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
