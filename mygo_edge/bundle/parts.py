"""Older tasks of a manifest in files of their own, so that an update names them again by one hash for all in a file.

A manifest names every task, its classes and its files, which is half a kilobyte for a task of ten classes. So the first
tasks stand apart, in JSON files of role "tasks" that never change while their tasks' files do not; the manifest lists
these as it lists all files, and keeps the newest tasks. Standard library only.
"""

from mygo_edge.bundle.manifest import PART_ROLE, FileEntry, Manifest, Task, compact, entry_json, task_json

PART_BYTES = 4_000  # of entries, from which they stand apart; what a manifest keeps is part of every update


def part_path(index: int) -> str:
    """What the file of that place is called."""
    return f"{PART_ROLE}-{index}.json"


def parts_of(manifest: Manifest) -> tuple[int, list[bytes]]:
    """How many of the first tasks stand apart, and the files that they stand in.

    As many in a file as take `PART_BYTES`, from the first task on: what is learnt later moves none to another file.
    """
    files: dict[str, list[FileEntry]] = {task.name: [] for task in manifest.tasks}
    for entry in manifest.files:
        if entry.task is not None:
            files[entry.task].append(entry)
    apart, parts, tasks = 0, list[bytes](), list[Task]()
    for number, task in enumerate(manifest.tasks, 1):
        tasks.append(task)
        part = _part(tasks, [entry for own in tasks for entry in files[own.name]])
        if len(part) >= PART_BYTES:
            parts.append(part)
            apart, tasks = number, []
    return apart, parts


def _part(tasks: list[Task], files: list[FileEntry]) -> bytes:
    return compact({"tasks": [task_json(task) for task in tasks], "files": [entry_json(entry) for entry in files]})
