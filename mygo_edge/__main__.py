"""`mygo-edge COMMAND …`: all commands behind one name. `python -m mygo_edge.train` and the others are the same."""

import sys
from importlib import import_module

import mygo_edge
from mygo_edge.errors import MygoEdgeError, run_command

COMMANDS = {  # name -> module, and what it is for
    "train": ("mygo_edge.train", "learn tasks in wake-sleep cycles, go on, extend, forget"),
    "export": ("mygo_edge.export.__main__", "publish a run as a bundle, in another precision"),
    "sign": ("mygo_edge.sign", "sign what is published"),
    "update": ("mygo_edge.update.__main__", "bring a device's bundle to what was published, or back"),
    "selftest": ("mygo_edge.selftest", "check a bundle on this device"),
    "predict": ("mygo_edge.predict", "name what is in images or texts"),
    "dream": ("mygo_edge.dream", "dream images of a task"),
    "completion": ("mygo_edge.completion", "print a completion script for bash or zsh"),
    "web": ("mygo_edge.web.__main__", "serve a bundle to a browser"),
}


def main() -> None:
    """Run the command that the first argument names."""
    run_command(_dispatch)


def _dispatch() -> None:
    wanted, *rest = sys.argv[1:] or ["--help"]
    if wanted == "--version":
        print(f"mygo_edge {mygo_edge.__version__}")
        return
    if wanted in ("--help", "-h"):
        print("usage: mygo-edge COMMAND ... (COMMAND --help explains it)\n")
        for name, (_, purpose) in COMMANDS.items():
            print(f"  {name:<12}{purpose}")
        print(f"  {'--version':<12}print the version")
        return
    if wanted not in COMMANDS:
        raise MygoEdgeError(f"{wanted!r} is no command; use one of {', '.join(COMMANDS)}")
    import_module(COMMANDS[wanted][0]).main(rest)


if __name__ == "__main__":
    main()
