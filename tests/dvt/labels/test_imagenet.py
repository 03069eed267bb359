"""ImageNet's classes, hierarchy and groups, and the names that models give the classes."""

import random
from importlib.resources import files

import pytest

from dvt.labels import default_groups
from dvt.labels.imagenet import (
    NUM_CLASSES,
    align,
    class_names,
    classes,
    classes_below,
    group_nodes,
    wordnet_ids,
)

IN_ORDER = tuple(range(NUM_CLASSES))
VARIANTS = {
    "names": class_names(),
    "timm": wordnet_ids(),
    "transformers": tuple(", ".join((node.name, *node.synonyms)) for node in classes()),
    "underscores": tuple(name.replace(" ", "_") for name in class_names()),
}


def test_classes_are_in_the_order_of_their_wordnet_ids() -> None:
    assert len(class_names()) == len(wordnet_ids()) == NUM_CLASSES == 1000
    assert list(wordnet_ids()) == sorted(set(wordnet_ids()))
    assert (wordnet_ids()[0], class_names()[0]) == ("n01440764", "tench")
    assert (wordnet_ids()[999], class_names()[999]) == ("n15075141", "toilet tissue")


def test_two_names_occur_twice() -> None:
    names = class_names()
    assert sorted(name for name in set(names) if names.count(name) > 1) == ["crane", "maillot"]


def test_every_class_lies_below_the_root_of_the_hierarchy() -> None:
    assert classes_below(["n00001740"]) == IN_ORDER


def test_groups_are_the_classes_below_their_nodes() -> None:
    groups = default_groups(NUM_CLASSES, class_names())
    members = {
        group.name: [class_names()[number] for number in group.class_ids] for group in groups.groups
    }
    assert len(members) == len(group_nodes()) > 50
    assert all(len(names) > 1 for names in members.values())
    assert len(members["dog"]) == 118
    assert set(members["dog"]) < set(members["mammal"]) < set(members["animal"])
    assert members["fox"] == ["red fox", "kit fox", "Arctic fox", "grey fox"]
    assert {"pizza", "strawberry", "broccoli", "espresso"} <= set(members["food"])
    assert groups.names_of(class_names().index("beagle")) == ("dog", "mammal", "animal")
    assert groups.names_of(class_names().index("pirate")) == ("boat", "vehicle")
    bird, machine = (number for number, name in enumerate(class_names()) if name == "crane")
    assert groups.names_of(bird) == ("aquatic bird", "bird", "animal")
    assert groups.names_of(machine) == ()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_usual_names_of_the_classes_are_aligned_in_any_order(variant: str) -> None:
    labels = VARIANTS[variant]
    assert align(labels) == IN_ORDER
    order = list(IN_ORDER)
    random.Random(3).shuffle(order)
    aligned = align(tuple(labels[number] for number in order))
    assert aligned is not None
    # Names alone do not tell the two classes of one name apart.
    is_twice = {number for number in IN_ORDER if labels.count(labels[number]) > 1}
    assert len(is_twice) == {"timm": 0, "transformers": 2}.get(variant, 4)
    assert all(
        found == number or {found, number} <= is_twice
        for found, number in zip(aligned, order, strict=True)
    )
    assert sorted(aligned) == list(IN_ORDER)


def test_labels_in_imagenets_order_may_have_names_of_their_own() -> None:
    labels = list(class_names())
    labels[7:9] = "rooster", "chicken"
    assert align(tuple(labels)) == align(tuple(map(str.upper, labels))) == IN_ORDER
    labels[1] = "tench"  # the name of another class
    assert align(tuple(labels)) is None


def test_groups_follow_the_order_of_the_model() -> None:
    labels = tuple(sorted(class_names()))
    dogs = next(g for g in default_groups(NUM_CLASSES, labels).groups if g.name == "dog")
    names = {labels[number] for number in dogs.class_ids}
    assert len(dogs.class_ids) == 118
    assert {"beagle", "Samoyed"} <= names
    assert "tabby" not in names


@pytest.mark.parametrize(
    "labels", [("beagle", "tabby"), tuple(f"class {n}" for n in range(1000)), None]
)
def test_other_classes_have_no_groups(labels: tuple[str, ...] | None) -> None:
    assert not default_groups(len(labels or ()), labels)


def test_wordnets_license_lies_beside_the_data() -> None:
    text = (files("dvt.labels") / "LICENSE.wordnet").read_text(encoding="utf-8")
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in text
