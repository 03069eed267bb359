"""Kills at random moments change no byte of the tags."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command_line import rows
from tests.failures.cluster import TestCluster, running_cluster
from tests.failures.random_kills import run_with_kills, sorted_table
from tests.ray_session import Tagged


@pytest.fixture(scope="module")
def cluster() -> Iterator[TestCluster]:
    with running_cluster(workers=2, cpus_per_node=4) as cluster:
        yield cluster


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.night) for seed in range(2, 6))]
)
def test_the_table_is_byte_identical_to_that_of_an_undisturbed_run(
    cluster: TestCluster, tagged: Tagged, tmp_path: Path, seed: int
) -> None:
    out = tmp_path / "out"
    disturbed = run_with_kills(cluster, tagged.archive.images, out, seed)
    print(f"seed {seed}: {disturbed.kills}, {disturbed.starts} starts")
    assert disturbed.kills, "nothing was killed"
    keys = [row["key"] for row in rows(out / "tags", "SELECT key FROM t")]
    assert len(keys) == len(set(keys)) == tagged.archive.num_images
    assert rows(out / "dead_letters") == []
    assert sorted_table(out) == sorted_table(tagged.out)
