"""Groups of classes: their parts, and `groups.json`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dvt
from dvt.labels import ClassGroups, load_groups
from dvt.labels.imagenet import class_names
from dvt.loading import load_cascade

LABELS = ("ant", "bee", "cat", "dog", "eel")
GROUPS = {"animal": ["ant", "bee", "cat", "dog", "eel"], "pet": ["cat", "dog"], "dog": ["dog"]}


@st.composite
def class_groups(draw: st.DrawFn) -> ClassGroups:
    num_classes = draw(st.integers(1, 12))
    ids = st.sets(st.integers(0, num_classes - 1), min_size=1)
    members = draw(st.lists(ids, min_size=1, max_size=6))
    return ClassGroups.of(num_classes, {f"g{n}": tuple(each) for n, each in enumerate(members)})


@given(class_groups())
def test_each_class_belongs_to_the_part_of_its_smallest_group(groups: ClassGroups) -> None:
    parts = groups.part_ids()
    assert len(parts) == groups.num_classes
    assert all(parts[part] == part <= class_id for class_id, part in enumerate(parts))
    for class_id in range(groups.num_classes):
        names = groups.names_of(class_id)
        same = {other for other, part in enumerate(parts) if part == parts[class_id]}
        if names:
            assert same == {n for n in range(len(parts)) if groups.names_of(n)[:1] == names[:1]}
        else:
            assert same == {class_id}


def test_a_part_is_what_smaller_groups_leave_of_a_group() -> None:
    groups = ClassGroups.of(6, {"any": range(5), "pet": (2, 3), "dog": (3,)})
    assert groups.part_ids() == (0, 0, 2, 3, 0, 5)
    assert groups.part_ids("label") == (0, 1, 2, 3, 4, 5)
    assert groups.names_of(3) == ("dog", "pet", "any")


def test_a_model_without_groups_can_only_be_sure_of_labels() -> None:
    assert ClassGroups(3).part_ids("label") == (0, 1, 2)
    with pytest.raises(dvt.ModelError, match=r"^sure_of: must be label for a model without groups"):
        ClassGroups(3).part_ids()


@pytest.fixture
def folder(tmp_path: Path, tiny_cascade: Callable[..., dvt.Cascade]) -> Path:
    model = tiny_cascade()
    model.labels = LABELS
    dvt.save_model(model, tmp_path)
    return tmp_path


def test_a_checkpoint_folder_may_bring_groups_of_its_own(folder: Path) -> None:
    assert not dvt.load_model(folder).groups
    (folder / "groups.json").write_text(json.dumps(GROUPS))
    model = load_cascade(folder)
    assert model.groups == ClassGroups.of(5, {"animal": range(5), "pet": (2, 3), "dog": (3,)})
    dvt.save_model(model, folder / "copy")
    assert dvt.load_model(folder / "copy").groups == model.groups
    model.own_groups = None
    dvt.save_model(model, folder / "copy")
    assert not (folder / "copy" / "groups.json").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"pet": ["cat", "wolf"]}, "pet: must be the name of one class of the model (got 'wolf')"),
        ({"pet": []}, "pet: Tuple should have at least 1 item after validation, not 0 (got [])"),
        ({"pet": "cat"}, "pet: must be a list (got 'cat')"),
        ([["cat"]], "configuration: must be a mapping (got [['cat']])"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(folder: Path, content: object, message: str) -> None:
    path = folder / "groups.json"
    path.write_text(json.dumps(content))
    with pytest.raises(dvt.CheckpointError) as caught:
        dvt.load_model(folder)
    assert str(caught.value) == f"{path}: {message}"


def test_a_name_of_two_classes_is_refused(folder: Path) -> None:
    (folder / "labels.json").write_text(json.dumps(("ant", "bee", "cat", "cat", "eel")))
    (folder / "groups.json").write_text(json.dumps({"pet": ["cat"]}))
    with pytest.raises(dvt.CheckpointError, match=r"pet: must be the name of one class .*'cat'\)$"):
        dvt.load_model(folder)


def test_a_name_of_two_imagenet_classes_is_refused_with_their_ids(tmp_path: Path) -> None:
    (tmp_path / "groups.json").write_text(json.dumps({"bird": ["crane"]}))
    with pytest.raises(dvt.CheckpointError, match=r"such as n02012849 or n03126707 \(got 'crane'"):
        load_groups(tmp_path / "groups.json", 1000, class_names())
    (tmp_path / "groups.json").write_text(json.dumps({"bird": ["n02012849", "magpie"]}))
    found = load_groups(tmp_path / "groups.json", 1000, class_names())
    assert found == ClassGroups.of(1000, {"bird": (18, 134)})
    assert json.loads(found.as_json(class_names())) == {"bird": ["n01582220", "n02012849"]}


def test_groups_without_class_names_are_refused(folder: Path) -> None:
    (folder / "labels.json").unlink()
    (folder / "groups.json").write_text(json.dumps(GROUPS))
    with pytest.raises(dvt.CheckpointError, match=r"groups.json: needs the class names"):
        dvt.load_model(folder)
