"""Which class a label means: names first, then WordNet ids, then ids in the model's own order."""

import pytest

from dvt.labels.imagenet import class_names, wordnet_ids
from jobs.datasets import ClassIds, Label
from jobs.datasets.classes import names_in
from pipeline.errors import UsageError

ANIMALS = ClassIds(3, ("cat", "dog", "7"))
IMAGENET = ClassIds(1000, class_names(), wordnet_ids())


@pytest.mark.parametrize(
    ("label", "number"),
    [
        (Label("dog"), 1),
        (Label("1"), 1),
        (Label("7"), 2),  # a class of that name, not an id out of range
        (Label("cat", 2), 0),  # the data count in another order: the name wins
    ],
)
def test_names_win_over_ids(label: Label, number: int) -> None:
    assert ANIMALS.id_of(label) == number


@pytest.mark.parametrize("text", ["3", "-1", "007", "01", "1.0", "²", "bird", "", "9" * 5000])
def test_a_class_that_the_model_lacks_is_named(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        ANIMALS.id_of(Label(text))
    assert repr(text[:80]) in str(caught.value)
    assert "0 to 2" in str(caught.value)


def test_imagenet_classes_go_by_name_wordnet_id_and_number() -> None:
    assert IMAGENET.id_of(Label("tench")) == 0
    assert IMAGENET.id_of(Label("n01440764")) == 0
    assert IMAGENET.id_of(Label("999")) == 999
    assert [IMAGENET.id_of(Label(text)) for text in wordnet_ids()] == list(range(1000))


def test_a_name_that_occurs_twice_needs_a_wordnet_id_or_a_number() -> None:
    cranes = [number for number, name in enumerate(class_names()) if name == "crane"]
    assert len(cranes) == 2
    for number in cranes:
        assert IMAGENET.id_of(Label("crane", number)) == number
        assert IMAGENET.id_of(Label(wordnet_ids()[number])) == number
    with pytest.raises(UsageError) as caught:
        IMAGENET.id_of(Label("crane"))
    for number in cranes:
        assert wordnet_ids()[number] in str(caught.value)


def test_a_model_without_names_takes_ids_alone() -> None:
    ids = ClassIds(10, None)
    assert ids.id_of(Label("9")) == 9
    with pytest.raises(UsageError, match="the model has no class names"):
        ids.id_of(Label("cat"))


def test_labels_come_from_fields_of_either_type() -> None:
    assert Label.of(3) == Label("3", 3)
    assert Label.of("cat") == Label("cat")
    assert Label.of(3, "cat") == Label("cat", 3)
    assert Label.of(None) is None
    with pytest.raises(UsageError, match="label must be"):
        Label.of([3])
    with pytest.raises(UsageError, match="label_name must be"):
        Label.of(3, b"cat")


def test_classes_of_the_data_are_sorted_numbers_by_value() -> None:
    assert names_in([Label("b"), Label("a"), Label("b")]) == ("a", "b")
    assert names_in([Label("10"), Label("9")]) == ("9", "10")
    assert names_in([Label("10"), Label("9a")]) == ("10", "9a")
