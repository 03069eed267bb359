"""What all benchmarks share: arguments, turns, and a report with hardware and versions."""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch

from pipeline.runtime.hardware import hardware

__all__ = ["argument_parser", "in_turns", "report"]

T = TypeVar("T")


def argument_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the option `--out`.

    Args:
        doc: docstring of the benchmark; its first line is the description.
    """
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="also write the results to this file")
    return parser


def in_turns(
    contenders: Mapping[str, Callable[[], T]], rounds: int, warm_up_rounds: int = 1
) -> dict[str, list[T]]:
    """Results of each contender, without those of the warm-up.

    Each round runs every contender once, in order, so that other load on the machine affects all
    of them.
    """
    results: dict[str, list[T]] = {name: [] for name in contenders}
    for turn in range(warm_up_rounds + rounds):
        for name, contender in contenders.items():
            result = contender()
            if turn >= warm_up_rounds:
                results[name].append(result)
    return results


def report(results: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Prints results with command, commit, hardware and versions as the last line.

    Args:
        results: of the benchmark.
        arguments: of the benchmark; `arguments.out` is a file for the same content, or None.
    """
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    module = f"benchmarks.{Path(sys.argv[0]).stem}"
    content = {
        "command": " ".join(["python", "-m", module, *sys.argv[1:]]),
        "commit": commit,
        "hardware": hardware().model_dump(),
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "numpy", "pillow", "ray")},
        },
        **results,
    }
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(content))
