"""Kills at random moments change no byte of the tags."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.shapes import WrittenArchive
from tests.command_line import rows
from tests.failures.cluster import TestCluster, running_cluster
from tests.failures.random_kills import run_calmly, run_with_kills, sorted_table


@pytest.fixture(scope="module")
def cluster() -> Iterator[TestCluster]:
    with running_cluster(workers=2, cpus_per_node=4) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def calm(archive_5000: WrittenArchive, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("calm") / "out"
    run_calmly(archive_5000.images, out)
    return sorted_table(out)


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.night) for seed in range(2, 6))]
)
def test_the_table_is_byte_identical_to_that_of_an_undisturbed_run(
    cluster: TestCluster, calm: bytes, archive_5000: WrittenArchive, tmp_path: Path, seed: int
) -> None:
    out = tmp_path / "out"
    disturbed = run_with_kills(cluster, archive_5000.images, out, seed)
    print(f"seed {seed}: {disturbed.kills}, {disturbed.starts} starts")
    assert disturbed.kills, "nothing was killed"
    keys = [row["key"] for row in rows(out / "tags", "SELECT key FROM t")]
    assert len(keys) == len(set(keys)) == 5000
    assert rows(out / "dead_letters") == []
    assert sorted_table(out) == calm
