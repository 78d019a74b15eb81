"""The argument parser of the device's commands."""

import argparse
from typing import NoReturn

from mygo_edge.errors import MygoEdgeError


class OneLineParser(argparse.ArgumentParser):
    """argparse, but raising MygoEdgeError, which `mygo_edge.errors.run_command` turns into one line and status 2."""

    def error(self, message: str) -> NoReturn:
        raise MygoEdgeError(f"{message} (see {self.prog} --help)")
