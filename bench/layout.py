"""The rooms of the project and which of them import which, read from the code.

    python bench/layout.py

Prints the table of CONTRIBUTING.md. A room stands below all that it imports; a circle is an error.
"""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = {"kernels": ROOT / "kernels", "export": ROOT / "export"}
TOP = "mygo_edge"  # the commands and Learner, above all rooms; errors, files and options, below them


def rooms() -> dict[str, Path]:
    """Room -> folder."""
    inside = {path.name: path for path in (ROOT / "mygo_edge").iterdir() if (path / "__init__.py").exists()}
    return {**inside, **FOLDERS}


def imports(folder: Path) -> Iterator[str]:
    """Modules of the project that the files of a folder import to run; not those for the checker of types alone."""
    for file in sorted(folder.rglob("*.py")):
        tree = ast.parse(file.read_text())
        guarded = {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for part in ast.walk(node)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and id(node) not in guarded:
                yield node.module


def uses() -> dict[str, set[str]]:
    """Room -> the rooms that it imports."""
    known = rooms()
    found: dict[str, set[str]] = {name: set() for name in known}
    for name, folder in known.items():
        for module in imports(folder):
            parts = module.split(".")
            if parts[0] == TOP and len(parts) > 1 and parts[1] in known and parts[1] != name:
                found[name].add(parts[1])
    return found


def table() -> str:
    """Markdown, the lowest room first. Raises graphlib.CycleError for a circle."""
    found = uses()
    lines = ["| room | imports |", "|---|---|"]
    for name in TopologicalSorter(found).static_order():
        lines.append(f"| `{name}` | {', '.join(f'`{other}`' for other in sorted(found[name])) or '–'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
