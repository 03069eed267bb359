"""What every benchmark shares: where and with what it ran, and one JSON line last."""

import argparse
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pipeline.runtime.hardware import hardware

__all__ = ["report"]


def report(figures: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Adds where and with what it was measured, keeps it if asked to, prints it as the last line.

    Args:
        figures: what was measured.
        arguments: of the benchmark; `arguments.out` is a file for the results, or None.
    """
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    content = {
        "command": " ".join(
            ["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]
        ),
        "commit": commit,
        "hardware": hardware().model_dump(),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "numpy")},
        **figures,
    }
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(content))
