"""Words of labels and groups."""

from jobs.index.words import label_words, words_of


def test_a_label_may_have_several_words() -> None:
    assert label_words("tench, Tinca_tinca") == ("tench", "Tinca tinca")
    assert label_words("") == ()


def test_synonyms_of_imagenet_are_known_for_its_models_only() -> None:
    assert label_words("tench", is_imagenet=True) == ("tench", "Tinca tinca")
    assert label_words("tench") == ("tench",)
    assert "Granny Smith" in label_words("granny_smith", is_imagenet=True)
    assert label_words("no such class", is_imagenet=True) == ("no such class",)


def test_words_do_not_repeat() -> None:
    assert words_of("dog", ["dog", "animal"], False) == ["dog", "animal"]
    assert words_of(None, None, False) == []
