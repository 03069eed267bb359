"""`dvt simulate`: figures for a person and a program; the same seed, the same run."""

from pathlib import Path
from typing import Any

import pytest

from tests.command_line import dvt

SMALL = ("--images", 5000, "--actors", 4, "--decoders", 4)
REAL_TIME = {"wall_s", "scheduling_s", "images_per_scheduling_s"}


def figures(*flags: object) -> dict[str, Any]:
    done = dvt("simulate", *flags, "--json")
    assert done.code == 0, done.err
    return {key: value for key, value in done.json.items() if key not in REAL_TIME}


def test_the_same_seed_is_the_same_run_and_another_seed_another() -> None:
    faults = ("--actor-losses", 5000, "--restart-s", 0.2)
    first = figures(*SMALL, *faults, "--seed", 1)
    assert first["faults"]["actor_losses"] > 0
    assert first["run_again"] > 0
    assert first == figures(*SMALL, *faults, "--seed", 1)
    assert first != figures(*SMALL, *faults, "--seed", 2)


def test_without_faults_throughput_is_what_the_stages_allow() -> None:
    """60 % leave after 20 ms a batch, 25 % after 60 ms, 15 % after 140 ms: 48 ms a batch."""
    content = figures("--images", 100_000, "--actors", 4, "--decoders", 8, "--jitter", 0)
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
    done = dvt("simulate", "--config", config)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["pool", "decode", "1", "2-3"]
    assert "2,000 images in" in lines[4]
    assert "each ended once" in lines[4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pools", "1 | 3"], "pools: must be like '1-3'"),
        (["--actors", "3,4"], "actors: 1 numbers are needed"),
        (["--exits", "0.5,0.2,0.2"], "exits: must add up to 1"),
        (["--stage-ms", "10"], "stage_ms: 3 values are needed"),
        (["--images", "-1"], "images"),
    ],
)
def test_wrong_input_is_one_line(arguments: list[str], message: str) -> None:
    done = dvt("simulate", *arguments)
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1
    assert message in done.err
