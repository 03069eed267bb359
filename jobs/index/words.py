"""The words by which an image is found: its label, the label's synonyms, and its groups."""

from collections.abc import Iterable
from functools import lru_cache

__all__ = ["label_words", "words_of"]


@lru_cache(maxsize=65_536)
def label_words(label: str) -> tuple[str, ...]:
    """A label and its synonyms; some label files have several words: "tench, Tinca tinca"."""
    parts = [part.strip().replace("_", " ") for part in label.split(",")]
    return tuple(dict.fromkeys(part for part in parts if part))


def words_of(label: str | None, groups: Iterable[str] | None) -> list[str]:
    """Words of one image, without repetitions, those of the label first."""
    return list(dict.fromkeys((*label_words(label or ""), *(groups or ()))))
