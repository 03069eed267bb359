"""`dvt cascade` end to end: members in, a model out that the other commands take."""

from pathlib import Path

import pytest

import dvt
from dvt.loading import load_cascade, load_model, save_model
from jobs.commands.cascade import CascadeJob, run_cascade
from jobs.commands.eval import EvalJob, run_eval
from pipeline.errors import UsageError


def first_stage() -> dvt.Cascade:
    """The first stage of `shapes` as a model of its own, with its classes in another order."""
    whole = load_cascade("shapes")
    assert whole.labels is not None
    order = list(range(len(whole.labels)))[::-1]
    config = whole.config.with_changes(
        name="first", grids=whole.config.grids[:1], feature_reuse=False, relation_reuse=False
    )
    alone = dvt.Cascade(config, tuple(whole.labels[number] for number in order))
    weights = {key: value for key, value in whole.state_dict().items() if key in alone.state_dict()}
    for name in ("stages.0.head.weight", "stages.0.head.bias"):
        weights[name] = weights[name][order]
    alone.load_state_dict(weights)
    return alone.eval()


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("members") / "first"
    save_model(first_stage(), folder)
    return str(folder), "shapes"


def test_a_cascade_is_made_evaluated_and_refused_twice(
    members: tuple[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "both"
    job = CascadeJob(
        member=members, out=out, data="shapes:80:3", keep_all=True, batch_size=16, max_drop=0.05
    )
    result = run_cascade(job)
    assert [member["in_cascade"] for member in result.data["members"]] == [True, True]
    assert result.data["of"] == "accuracy"
    assert any("not proven" in line for line in result.lines)  # 80 pictures prove little
    cascade = load_model(out)
    shapes = load_model("shapes")
    assert cascade.labels == shapes.labels
    assert cascade.spec.num_stages == 1 + shapes.spec.num_stages
    assert len(cascade.thresholds()) == cascade.spec.num_stages
    evaluated = run_eval(EvalJob(model=str(out), data="shapes:60:9", batch_size=16)).data
    assert evaluated["gmacs_per_exit"] == pytest.approx(cascade.spec.gmacs_per_exit)
    alone = evaluated["members"]["members"]
    assert [member["name"] for member in alone] == ["first", shapes.spec.name]
    of_shapes = run_eval(EvalJob(model="shapes", data="shapes:60:9", batch_size=16)).data
    assert alone[1]["accuracy"] == pytest.approx(of_shapes["accuracy_per_exit"][-1])
    assert evaluated["members"]["baseline"] in ("first", shapes.spec.name)
    assert evaluated["members"]["cascade"]["images_per_second"] > 0
    with pytest.raises(UsageError, match=r"out: .*both exists already"):
        run_cascade(job)
    assert [path.name for path in tmp_path.iterdir()] == ["both"]


def test_a_failure_leaves_nothing_behind(members: tuple[str, str], tmp_path: Path) -> None:
    job = CascadeJob(member=members, out=tmp_path / "x", data=str(tmp_path / "none"))
    with pytest.raises(UsageError, match="none"):
        run_cascade(job)
    assert not list(tmp_path.iterdir())


def test_members_of_other_classes_are_refused(members: tuple[str, str], tmp_path: Path) -> None:
    job = CascadeJob(member=("cifar10", members[1]), out=tmp_path / "x", data="shapes:20:3")
    with pytest.raises(dvt.ModelError, match="member dvt_conv_32: its 10 classes are not"):
        run_cascade(job)
