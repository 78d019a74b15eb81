"""What a run writes for people: summary.json, pictures, and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mygo_edge.domains.choice import NOT_PUBLISHED, note_for, terms_of
from mygo_edge.domains.features import Features
from mygo_edge.domains.vectors import Vectors
from mygo_edge.files import write_json
from mygo_edge.measure.feature_plots import plot_feature_dreams
from mygo_edge.measure.plots import plot_accuracies, plot_dreams
from mygo_edge.measure.report import dream_rows, write_report
from mygo_edge.run.folder import read_config

if TYPE_CHECKING:
    from mygo_edge.run.runner import Runner


def summary(run: Runner) -> dict[str, Any]:
    """What summary.json holds."""
    document: dict[str, Any] = {
        "dataset": run.options.dataset,
        "seed": run.options.seed,
        "preset": run.options.preset,
        "learner": run.folder.run_id,
    }
    tasks = [{"name": task.name, "classes": task.classes} for task in run.tasks]
    if chosen := note_for(run.domain, run.options):
        document["chosen"] = chosen
    if isinstance(run.domain, Features | Vectors):
        document["trunk"] = {"name": run.domain.trunk.name, **run.state["trunk"]}
    if terms := terms_of(run.domain):
        document["terms"] = terms
    if isinstance(run.domain, Vectors):
        document["not_published"] = NOT_PUBLISHED
    return document | {"tasks": tasks, "methods": run.state["results"]}


def write_summary(run: Runner) -> None:
    """summary.json, anew."""
    write_json(run.folder.path / "summary.json", summary(run))


def write_outputs(run: Runner, tasks: int) -> None:
    """All of it, after `tasks` tasks."""
    write_summary(run)
    plots, results = run.folder.path / "plots", run.state["results"]
    plot_accuracies(plots, [task.name for task in run.tasks], results)
    dreaming = [method for method in run.methods.values() if method.dreams]
    rows, plane = [], None
    if dreaming and run.domain.name == "pixels":
        plot_dreams(plots, run.domain, run.tasks[:tasks], dreaming[0])
        rows = dream_rows(dreaming[0], run.tasks[:tasks])
    elif dreaming and isinstance(run.domain, Features):
        plane = plot_feature_dreams(plots, run.domain, run.tasks[:tasks], dreaming[0])
    write_report(run.folder.path, summary(run), read_config(run.folder.path), rows, plane)
