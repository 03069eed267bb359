"""`python -m benchmarks.simulate`: its table, its JSON, and the scenarios it refuses."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from benchmarks.simulate import command

SMALL = ("--images", "5000", "--actors", "4", "--decoders", "4")
REAL_TIME = {"wall_s", "scheduling_s", "images_per_scheduling_s"}


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """The command logs to a standard error that ends with it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def run(*flags: str) -> Result:
    return CliRunner().invoke(command, flags)


def result_of(*flags: str) -> dict[str, Any]:
    done = run(*flags, "--json")
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout.splitlines()[-1])
    return {key: value for key, value in content.items() if key not in REAL_TIME}


def test_the_same_seed_is_the_same_run_and_another_seed_another() -> None:
    faults = ("--actor-losses", "5000", "--restart-s", "0.2")
    first = result_of(*SMALL, *faults, "--seed", "1")
    assert first["faults"]["actor_losses"] > 0
    assert first["run_again"] > 0
    assert first == result_of(*SMALL, *faults, "--seed", "1")
    assert first != result_of(*SMALL, *faults, "--seed", "2")


def test_without_faults_throughput_is_what_the_stages_allow() -> None:
    """60 % exit after 20 ms a batch, 25 % after 60 ms, 15 % after 140 ms: 48 ms a batch."""
    content = result_of("--images", "100000", "--actors", "4", "--decoders", "8", "--jitter", "0")
    ideal = 4 * 64 / 0.048
    assert 0.97 * ideal < content["images_per_virtual_s"] < 1.01 * ideal
    decoders, pool = content["pools"]
    assert decoders["pool"] == "decode"
    assert pool["pool"] == "1-3"
    assert pool["utilisation"] > 0.98
    assert content["decoded_again"] == content["run_again"] == content["given_up"] == 0


def test_a_scenario_from_a_file_and_the_table_for_a_person(tmp_path: Path) -> None:
    config = tmp_path / "scenario.yaml"
    config.write_text("images: 2000\npools: 1 | 2-3\nactors: [2, 3]\ndecoders: 2\n")
    done = run("--config", str(config))
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["pool", "decode", "1", "2-3"]
    assert "2,000 images in" in lines[4]
    assert "each completed once" in lines[4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pools", "1 | 3"], "pools: must be like '1-3'"),
        (["--actors", "3,4"], "actors: 1 values are needed"),
        (["--exits", "0.5,0.2,0.2"], "exits: must add up to 1"),
        (["--stage-ms", "10"], "stage-ms: 3 values are needed"),
        (["--images", "-1"], "images"),
    ],
)
def test_a_scenario_that_cannot_be_is_refused(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.output
