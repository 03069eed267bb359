"""The commands of the evidence; see the package's text."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.evidence.ablation import ablation
from benchmarks.evidence.curves import curves
from benchmarks.evidence.page import page
from benchmarks.evidence.pictures import pictures
from benchmarks.evidence.recording import record
from benchmarks.evidence.savings import savings
from benchmarks.evidence.signals import signals
from benchmarks.evidence.throughput import throughput
from dvt.errors import ModelError
from dvt.inference import deterministic_matmul
from pipeline.errors import UsageError

Command = Callable[[argparse.Namespace], None]

COMMANDS: dict[str, Command] = {
    "record": record,
    "curves": curves,
    "savings": savings,
    "ablation": ablation,
    "signals": signals,
    "pictures": pictures,
    "throughput": throughput,
    "page": page,
}


def run_all(given: argparse.Namespace) -> None:
    """All commands; one that lacks what it needs is left out, and told."""
    left_out = {}
    for name, command in COMMANDS.items():
        try:
            command(given)
        except (UsageError, ModelError) as error:
            left_out[name] = str(error)
            print(f"left out: {name}: {error}", file=given.messages)
    print(json.dumps({"done": [name for name in COMMANDS if name not in left_out], **left_out}))


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence", description="The evidence, command by command."
    )
    parser.add_argument("command", choices=[*COMMANDS, "all"])
    parser.add_argument("--models", type=Path, help="folder of the trained models")
    parser.add_argument("--data", type=Path, help="labelled test pictures")
    parser.add_argument(
        "--records", type=Path, default=Path("build/evidence"), help="what `record` keeps"
    )
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="pages that `page` writes")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--check", action="store_true", help="page: fail if it is stale")
    parser.add_argument("--of", help="pictures: the model, else the shipped one")
    parser.add_argument("--out", type=Path, help="pictures: folder for the sheet of pictures")
    parser.add_argument("--pictures", type=int, default=2048, help="throughput: how many")
    parser.add_argument("--rounds", type=int, default=5, help="throughput: of either model")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 256])
    parser.add_argument(
        "--static", type=int, nargs="+", default=[3], choices=[1, 2, 3], help="throughput: stages"
    )
    return parser.parse_args(given)


def main() -> int:
    """Runs a command; what a person did wrong is one line."""
    given = arguments()
    given.messages = sys.stderr
    deterministic_matmul()
    torch.set_num_threads(given.threads)
    needs_models = given.command in ("record", "throughput", "all")
    try:
        if needs_models and given.models is None:
            raise UsageError("models: must be given, the folder of the trained models")
        (run_all if given.command == "all" else COMMANDS[given.command])(given)
    except (UsageError, ModelError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
