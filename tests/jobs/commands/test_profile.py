"""`dvt profile` on the shipped model: the table and the JSON."""

import math

import pytest

import dvt as package
from dvt.cost import stage_cost
from tests.command_line import SHAPES, dvt


def test_the_json_has_every_stage_at_every_batch_size_and_its_figures_agree() -> None:
    done = dvt("profile", *SHAPES, "--batch-sizes", "2,5", "--rounds", 2, "--threads", 1, "--json")
    assert done.code == 0, done.err
    content = done.json
    rows = content["stages"]
    assert [(row["batch_size"], row["stage"]) for row in rows] == [
        (batch_size, stage) for batch_size in (2, 5) for stage in (1, 2, 3)
    ]
    config = package.load_cascade("shapes").config
    for row in rows:
        useful = stage_cost(config, row["stage"] - 1).useful
        expected = row["images_per_second"] * useful / 1e9
        share = row["gmacs_per_second"] / content["matmul_limit_gmacs_s"]
        assert row["share_of_limit"] == pytest.approx(share)
        assert row["gmacs_per_second"] == pytest.approx(expected)
        assert 0 < row["share_of_limit"] < 1.5, "noisy, but of the right order"
        # Recomputing includes the stage itself.
        assert row["recompute_ms"] >= 1000 / row["images_per_second"] * 0.999
        assert (row["state_bytes"] == 0) == (row["stage"] == 3)
    # 5 tokens, 3 layers of 3 heads, 16 features of 96 channels on grids of 2 and 4, 2 bytes each.
    assert rows[0]["state_bytes"] == 2 * (4 * 96 + 9 * 5 * 5)
    assert rows[1]["state_bytes"] == 2 * (16 * 96 + 9 * 17 * 17)
    wire_ms = rows[1]["state_bytes"] * 8 / 10e9 * 1000
    assert math.isclose(rows[1]["network_ms"], rows[1]["forward_ms"] + wire_ms, rel_tol=1e-6)


def test_the_table_names_the_machine_and_fits_a_terminal() -> None:
    done = dvt("profile", *SHAPES, "--batch-sizes", 1, "--rounds", 1, "--state-format", "int8")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert "matmul limit" in lines[0]
    assert "recompute" in lines[1]
    assert [line.split()[0] for line in lines[2:5]] == ["1", "2", "3"]
    assert max(map(len, lines[1:])) <= 120


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-sizes", "8,none"], "batch-sizes.1"),
        (["--batch-sizes", "0"], "must be at least 1"),
        (["--model", "dvt_t2t_vit_99"], "'dvt_t2t_vit_99' not found"),
        (["--dtype", "float8"], "'auto', 'float32' or 'bfloat16'"),
        (["--network-gbit", "0"], "must be above 0"),
    ],
)
def test_wrong_input_is_refused_in_one_line(arguments: list[str], message: str) -> None:
    done = dvt("profile", *arguments)
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1
    assert message in done.err
