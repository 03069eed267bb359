"""A run that continues an output keeps the commit of a model of the hub."""

from pathlib import Path

import pyarrow as pa
import pytest

import dvt
from pipeline.job import with_pinned_model
from pipeline.output.layout import Output
from pipeline.records import TAGS_SCHEMA
from pipeline.runtime.run_record import new_run_file
from pipeline.settings import TagSettings
from tests.dvt.members.tiny_networks import TinyNet, onnx_model, write_onnx
from tests.small_hub import SmallHub

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")


def network_files(folder: Path, seed: int) -> dict[str, bytes]:
    write_onnx(folder, onnx_model(TinyNet(seed)), labels=list("abcde"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def start(settings: TagSettings) -> str:
    """What `run.json` says of the model once a run has begun."""
    settings = with_pinned_model(settings)
    model = dvt.load_model(settings.model)
    run = new_run_file(settings, ("pictures",), model, model.thresholds())
    output = Output(settings.out)
    recorded = output.claim(run, settings.overwrite, pa.schema(TAGS_SCHEMA))
    output.release()
    return recorded.settings.model


def test_a_continued_run_keeps_its_commit_when_the_branch_moves(
    hub: SmallHub, tmp_path: Path
) -> None:
    repository = hub.repository("tiny/moving")
    first = repository.commit(network_files(tmp_path / "a", 1))
    settings = TagSettings(
        input=(str(tmp_path),), out=str(tmp_path / "out"), model="hf-hub:tiny/moving"
    )
    assert start(settings) == f"hf-hub:tiny/moving@{first}"
    second = repository.commit(network_files(tmp_path / "b", 2))
    assert start(settings) == f"hf-hub:tiny/moving@{first}"
    # A retry loads what `run.json` says; a new output takes today's commit.
    recorded = Output(settings.out).run_file().settings.model
    assert recorded == f"hf-hub:tiny/moving@{first}"
    other = settings.model_copy(update={"out": str(tmp_path / "other")})
    assert start(other) == f"hf-hub:tiny/moving@{second}"
    anew = settings.model_copy(update={"overwrite": True})
    assert start(anew) == f"hf-hub:tiny/moving@{second}"


def test_a_revision_that_is_given_wins(hub: SmallHub, tmp_path: Path) -> None:
    repository = hub.repository("tiny/given")
    repository.commit(network_files(tmp_path / "a", 1))
    settings = TagSettings(
        input=(str(tmp_path),), out=str(tmp_path / "out"), model="hf-hub:tiny/given"
    )
    start(settings)
    second = repository.commit(network_files(tmp_path / "b", 2))
    given = settings.model_copy(update={"model": "hf-hub:tiny/given@main"})
    assert with_pinned_model(given).model == f"hf-hub:tiny/given@{second}"
