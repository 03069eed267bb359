"""`dvt demo`, and the model that it runs."""

import re
from pathlib import Path

import pytest
from deltalake import DeltaTable

from dvt.loading import shipped_models
from tests.command_line import SHAPES, dvt, succeeded


@pytest.mark.usefixtures("ray_session")
def test_the_demo_prints_its_figures_and_a_second_time_the_same(tmp_path: Path) -> None:
    command = ("demo", "--out", tmp_path / "d", "--num-images", 150, "--damaged", 7)
    first = succeeded(dvt(*command))
    for word in ("accuracy", "images per exit", "MACs saved", "dead letters", "report"):
        assert word in first.out
    page = Path(re.findall(r"^report +(.*)$", first.out, re.MULTILINE)[0])
    assert "<svg" in page.read_text(encoding="utf-8")
    # 7 damaged files, one of which only has a wrong extension and is tagged all the same.
    assert DeltaTable(str(tmp_path / "d" / "results" / "tags")).to_pyarrow_table().num_rows == 151
    assert succeeded(dvt(*command)).out == first.out


def test_the_shipped_model_is_good_at_its_last_exit_and_worse_at_its_first() -> None:
    found = succeeded(dvt("eval", *SHAPES, "--data", "shapes:1000:77", "--json")).json
    first, _, last = found["accuracy_per_exit"]
    assert last >= 0.96  # 97 % and more on larger samples, see docs/shapes.md
    assert first < last
    assert found["default"]["gmacs"] < found["gmacs_per_exit"][-1] / 2
    assert len(found["curves"]["stored"]) == 59


def test_the_shipped_checkpoint_is_small_and_readable_by_all_users() -> None:
    folder = shipped_models()["shapes"]
    assert sum(file.stat().st_size for file in folder.iterdir()) < 6e6
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in folder.iterdir())
