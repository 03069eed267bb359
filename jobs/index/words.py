"""The words by which an image is found: its label, the label's synonyms, and its groups."""

from collections.abc import Iterable
from functools import cache, lru_cache

from dvt.labels import imagenet

__all__ = ["label_words", "words_of"]


@lru_cache(maxsize=65_536)
def label_words(label: str, is_imagenet: bool = False) -> tuple[str, ...]:
    """A label and its synonyms, the label first.

    Args:
        label: maybe several words for the same, as in "tench, Tinca tinca".
        is_imagenet: the model has ImageNet's classes, whose synonyms are known.
    """
    parts = [part.strip().replace("_", " ") for part in label.split(",")]
    known = _imagenet_words() if is_imagenet else {}
    others = (word for part in parts for word in known.get(part.casefold(), ()))
    return tuple(dict.fromkeys(word for word in (*parts, *others) if word))


def words_of(label: str | None, groups: Iterable[str] | None, is_imagenet: bool) -> list[str]:
    """Words of one image, without repetitions: those of the label, then its groups."""
    return list(dict.fromkeys((*label_words(label or "", is_imagenet), *(groups or ()))))


@cache
def _imagenet_words() -> dict[str, tuple[str, ...]]:
    """All words for the classes that a word names; two classes may share a name."""
    found: dict[str, tuple[str, ...]] = {}
    for synset in imagenet.classes():
        words = (synset.name, *synset.synonyms)
        for word in words:
            found[word.casefold()] = (*found.get(word.casefold(), ()), *words)
    return found
