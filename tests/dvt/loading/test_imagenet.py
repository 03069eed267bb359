"""The class names of published checkpoints."""

from dvt.loading.imagenet import NUM_CLASSES, class_names, wordnet_ids


def test_classes_are_in_the_order_of_their_wordnet_ids() -> None:
    assert len(class_names()) == len(wordnet_ids()) == NUM_CLASSES == 1000
    assert list(wordnet_ids()) == sorted(set(wordnet_ids()))
    assert (wordnet_ids()[0], class_names()[0]) == ("n01440764", "tench")
    assert (wordnet_ids()[999], class_names()[999]) == ("n15075141", "toilet tissue")


def test_two_names_occur_twice() -> None:
    names = class_names()
    assert sorted(name for name in set(names) if names.count(name) > 1) == ["crane", "maillot"]
