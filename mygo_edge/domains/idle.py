"""Options that were given and do nothing where a learner works: it says so, since nobody gives them for that."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from mygo_edge.domains.domain import Domain
from mygo_edge.domains.features import Features
from mygo_edge.domains.vectors import Vectors
from mygo_edge.options import TrainOptions, preset_defaults

_BY_STEPS = {"steps", "dreams_per_task", "learning_rate"}  # of a sampled sleep above a trunk
_OF_GAUSSIANS = {"rank", "power"}
_OF_A_FILE = {"output", "mean", "std"}  # of a trunk that is an ONNX file
_WHERE = {
    "features": "above a trunk, where wakes and sleeps are in closed form",
    "file": "with a trunk that is no ONNX file of the user's",
    "pixels": "on pixels, where there is no trunk",
    "vectors": "with a GAN of vectors",
}


def idle_options(domain: Domain, options: TrainOptions) -> list[str]:
    """A line for every group of options that differ from the preset's and do nothing in `domain`."""
    lines = []
    for where, names in (
        (domain.name if domain.name in _WHERE else "vectors", sorted(_idle(domain, options))),
        ("file", sorted(_idle_of_trunk(domain, options))),
    ):
        if names:
            do = "does" if len(names) == 1 else "do"
            lines.append(f"{', '.join(names)} {do} nothing {_WHERE[where]}")
    return lines


def _idle(domain: Domain, options: TrainOptions) -> Iterator[str]:
    if isinstance(domain, Features):
        sleep = {"form", "prior"} | (_BY_STEPS if options.sleep.form == "sampled" else set())
        works = {"wake": set(), "memory": {"generator"} | _OF_GAUSSIANS, "sleep": sleep}
    else:
        works = {"memory": {field.name for field in fields(options.memory)} - _OF_GAUSSIANS}
        if not isinstance(domain, Vectors):
            works["trunk_input"] = set()
    for part, working in works.items():
        yield from (f"--{_named(part)}.{name.replace('_', '-')}" for name in _changed(options, part) - working)


def _idle_of_trunk(domain: Domain, options: TrainOptions) -> Iterator[str]:
    named = options.trunk is not None and not options.trunk.endswith(".onnx") and isinstance(domain, Features | Vectors)
    for name in _changed(options, "trunk_input") & _OF_A_FILE if named else ():
        yield f"--trunk.{name}"


def _changed(options: TrainOptions, part: str) -> set[str]:
    """Fields of a part of the tree whose value is neither the preset's nor the field's own default."""
    plain: list[Any] = [getattr(o, part) for o in (TrainOptions(), preset_defaults(options.preset, options.dataset))]
    given = getattr(options, part)
    return {
        field.name
        for field in fields(given)
        if getattr(given, field.name) not in [getattr(one, field.name) for one in plain]
    }


def _named(part: str) -> str:
    return "trunk" if part == "trunk_input" else part
