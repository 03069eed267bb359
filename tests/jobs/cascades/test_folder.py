"""The folder of a cascade: what comes from its members, and where it may be."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import dvt
from dvt.embedding import Projection
from dvt.labels import ClassGroups
from dvt.loading import load_model, save_model
from dvt.members.cascade import ExitConfig
from jobs.calibration.calibration_set import calibration_set_path
from jobs.cascades.folder import new_folder, write_cascade
from jobs.cascades.recording import Member, compose
from jobs.commands.calibrate import CalibrateJob, run_calibrate
from pipeline.errors import UsageError

CLASSES = ("ant", "bee", "cat", "dog", "elk")


@pytest.fixture
def members(tiny_cascade: Callable[..., dvt.Cascade], tmp_path: Path) -> list[Member]:
    """Two models with groups, projections and exits of a calibration."""
    for number, name in enumerate(("first", "last")):
        model, folder = tiny_cascade(number), tmp_path / name
        model.labels = CLASSES
        model.own_groups = ClassGroups.of(5, {f"group of {name}": (0, 1)})
        save_model(model, folder)
        width = model.spec.stages[0].embedding_width
        torch.manual_seed(number)
        Projection(torch.zeros(width), torch.randn(width, 2)).save(folder / "embedding.safetensors")
        for kept in ("held_out.safetensors", "group_held_out.safetensors"):
            (folder / kept).touch()
    return [Member(str(tmp_path / name), load_model(tmp_path / name)) for name in ("first", "last")]


def test_groups_come_from_the_last_member_and_the_projection_from_the_first(
    members: list[Member], tmp_path: Path
) -> None:
    stages = sum(member.model.spec.num_stages for member in members)
    cascade = compose(members, "both", [ExitConfig()] * stages)
    with new_folder(tmp_path / "both", members) as folder:
        write_cascade(folder, cascade.config, members, CLASSES)
    model = load_model(tmp_path / "both")
    assert model.groups.names == ("group of last",)
    assert model.projection is not None
    assert members[0].model.projection is not None
    assert torch.equal(model.projection.matrix, members[0].model.projection.matrix)
    assert not list((tmp_path / "both").rglob("*held_out.safetensors"))


@pytest.mark.parametrize("place", ["first/new", "last/deep/new", "both/../first/new"])
def test_the_folder_is_not_made_inside_a_member(
    place: str, members: list[Member], tmp_path: Path
) -> None:
    with (
        pytest.raises(UsageError, match="out: must not be inside the member"),
        new_folder(tmp_path / place, members),
    ):
        pass
    assert not (tmp_path / "last/deep").exists()


def test_a_calibration_set_is_where_the_model_is(members: list[Member], tmp_path: Path) -> None:
    kept = tmp_path / "first" / "held_out.safetensors"
    assert calibration_set_path(f"local-dir:{tmp_path / 'first'}") == kept
    assert calibration_set_path(str(tmp_path / "first" / "model.safetensors")) == kept
    with pytest.raises(UsageError, match="model: no_such not found"):
        calibration_set_path("no_such")


def test_a_calibration_set_is_not_kept_in_the_cache_of_the_hub() -> None:
    job = CalibrateJob(model="hf-hub:own/net", data="shapes:8:1", keep=True)
    with pytest.raises(UsageError, match="keep: cannot write into the hub's cache"):
        run_calibrate(job)
