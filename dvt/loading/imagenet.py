"""ImageNet's 1,000 classes, the classes of every published checkpoint.

Class ids follow the order of WordNet ids. Two names occur twice (crane, maillot), so a class is
identified by its WordNet id.
"""

from functools import cache
from importlib.resources import files

__all__ = ["NUM_CLASSES", "class_names", "wordnet_ids"]

NUM_CLASSES = 1000


@cache
def _classes() -> tuple[tuple[str, str], ...]:
    text = (files("dvt") / "imagenet_classes.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines()]
    return tuple((wordnet_id, name) for wordnet_id, name in rows)


def class_names() -> tuple[str, ...]:
    """English names in order of the class ids, e.g. "tench" for 0."""
    return tuple(name for _, name in _classes())


def wordnet_ids() -> tuple[str, ...]:
    """WordNet ids in order of the class ids, e.g. "n01440764" for 0."""
    return tuple(wordnet_id for wordnet_id, _ in _classes())
