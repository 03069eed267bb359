"""Command line of the evidence; see the package's docstring."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.evidence.measure import measure
from benchmarks.evidence.page import page
from benchmarks.evidence.throughput import throughput
from dvt.errors import ModelError
from dvt.inference import deterministic_matmul
from pipeline.errors import UsageError

Command = Callable[[argparse.Namespace], None]

COMMANDS: dict[str, Command] = {"measure": measure, "throughput": throughput, "page": page}


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence", description="The evidence, command by command."
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--models", type=Path, help="folder of the trained models")
    parser.add_argument("--data", type=Path, help="labelled test images")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="page: folder of the pages")
    parser.add_argument("--check", action="store_true", help="page: fail if a page is out of date")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--num-images", type=int, default=2048, help="throughput: number of images")
    parser.add_argument("--rounds", type=int, default=5, help="throughput: rounds per model")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 256])
    return parser.parse_args(given)


def main() -> int:
    """Runs a command; a user's error is one line."""
    given = arguments()
    deterministic_matmul()
    torch.set_num_threads(given.threads)
    try:
        if given.command != "page" and (given.models is None or given.data is None):
            raise UsageError("models, data: must be given")
        COMMANDS[given.command](given)
    except (UsageError, ModelError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
