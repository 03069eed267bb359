"""Classes of several models in one order."""

import pytest

from dvt.errors import ModelError
from dvt.members.alignment import align_classes


def test_equal_orders_need_no_table() -> None:
    assert align_classes(["a", "b"], [("x", "y"), ("x", "y")]) == [None, None]


def test_names_match_but_for_case_underscores_and_synonyms() -> None:
    own = ("Great_white_shark", "tench, Tinca tinca", "crane")
    assert align_classes(["a", "b"], [own, ("tench", "crane", "great white shark")]) == [
        (1, 2, 0),
        None,
    ]


def test_equal_names_keep_their_order() -> None:
    assert align_classes(["a", "b"], [("crane", "x", "crane"), ("x", "crane", "crane")]) == [
        (1, 0, 2),
        None,
    ]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (None, "member a: has no class names"),
        (("x", "z"), "member a: its 2 classes are not the 2 of b; only b has 'y'"),
        (("x", "y", "z"), "member a: its 3 classes are not the 2 of b; only a has 'z'"),
        (("x",), "only b has 'y'"),
    ],
)
def test_other_classes_are_refused_by_name(own: tuple[str, ...] | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        align_classes(["a", "b"], [own, ("x", "y")])
