"""ImageNet's 1,000 classes: synonyms, hierarchy, groups, and their order in a model.

`imagenet_hierarchy.tsv` holds the classes and all of their hypernyms in WordNet 3.0.
`imagenet_groups.tsv` names the groups, each with one or more nodes of it: a class belongs to a
group if one of them is the class or a hypernym of it. Both are under WordNet's license
(`LICENSE.wordnet`).

Class ids follow the order of WordNet ids. Two names occur twice (crane, maillot), so a class is
identified by its WordNet id.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

__all__ = [
    "NUM_CLASSES",
    "Synset",
    "align",
    "class_names",
    "classes",
    "classes_below",
    "group_nodes",
    "wordnet_ids",
    "wordnet_ids_of",
]

NUM_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class Synset:
    """A node of the hierarchy.

    Attributes:
        wordnet_id: such as "n02088364".
        is_class: whether it is one of the 1,000 classes.
        name: first English word for it.
        synonyms: the other words.
        parents: WordNet ids of its hypernyms; some nodes have two.
    """

    wordnet_id: str
    is_class: bool
    name: str
    synonyms: tuple[str, ...]
    parents: tuple[str, ...]


def _rows(name: str) -> list[list[str]]:
    """Cells of a table without its header."""
    text = (files("dvt.labels") / name).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines()[1:]]


def _list(cell: str) -> tuple[str, ...]:
    return tuple(cell.split("; ")) if cell else ()


@cache
def _hierarchy() -> dict[str, Synset]:
    return {
        wordnet_id: Synset(wordnet_id, is_class == "1", name, _list(synonyms), _list(parents))
        for wordnet_id, is_class, name, synonyms, parents in _rows("imagenet_hierarchy.tsv")
    }


@cache
def classes() -> tuple[Synset, ...]:
    """The classes in order of their ids."""
    return tuple(node for node in _hierarchy().values() if node.is_class)


def class_names() -> tuple[str, ...]:
    """English names in order of the class ids, e.g. "tench" for 0."""
    return tuple(node.name for node in classes())


def wordnet_ids() -> tuple[str, ...]:
    """WordNet ids in order of the class ids, e.g. "n01440764" for 0."""
    return tuple(node.wordnet_id for node in classes())


def group_nodes() -> dict[str, tuple[str, ...]]:
    """The WordNet ids of each group."""
    return {name: _list(nodes) for name, nodes in _rows("imagenet_groups.tsv")}


@cache
def _lineage(wordnet_id: str) -> frozenset[str]:
    """A node and all of its hypernyms."""
    parents = _hierarchy()[wordnet_id].parents
    return frozenset([wordnet_id]).union(*map(_lineage, parents))


def classes_below(nodes: Sequence[str]) -> tuple[int, ...]:
    """Ids of the classes that are one of the nodes or below it, ascending.

    Args:
        nodes: WordNet ids.
    """
    return tuple(
        number
        for number, node in enumerate(classes())
        if not _lineage(node.wordnet_id).isdisjoint(nodes)
    )


@lru_cache(maxsize=16)
def align(labels: tuple[str, ...]) -> tuple[int, ...] | None:
    """ImageNet's class id of each class of a model; None if the classes are not ImageNet's.

    A label may be a WordNet id, a name, a synonym, or several of them in a row, as in "tench, Tinca
    tinca". Underscores count as spaces; case matters only where it tells two classes apart. Labels
    in ImageNet's order may have other names, as long as no label means another class than that of
    its place and most of them are known. In another order, two classes of the same name are assumed
    to keep their relative order.

    Args:
        labels: class names in the order of the model's ids.
    """
    if len(labels) != NUM_CLASSES:
        return None
    meanings = [_meanings(label) for label in labels]
    num_known = sum(number in ids for number, ids in enumerate(meanings))
    if 2 * num_known > NUM_CLASSES and all(
        number in ids for number, ids in enumerate(meanings) if ids
    ):
        return tuple(range(NUM_CLASSES))
    taken = {number for ids in meanings if len(ids) == 1 for number in ids}
    aligned = []
    for ids in meanings:
        left = ids if len(ids) == 1 else ids - taken
        if not left:
            return None
        aligned.append(min(left))
        taken.add(aligned[-1])
    return tuple(aligned) if len(taken) == NUM_CLASSES else None


def wordnet_ids_of(labels: tuple[str, ...]) -> tuple[str, ...] | None:
    """WordNet id of each class of a model; None if the classes are not ImageNet's."""
    aligned = align(labels)
    return None if aligned is None else tuple(wordnet_ids()[number] for number in aligned)


@cache
def _ids_of_text() -> dict[str, frozenset[int]]:
    found: dict[str, set[int]] = {}
    for number, node in enumerate(classes()):
        for text in (node.wordnet_id, node.name, *node.synonyms):
            for key in (text, text.casefold()):
                found.setdefault(key, set()).add(number)
    return {text: frozenset(ids) for text, ids in found.items()}


def _meanings(label: str) -> frozenset[int]:
    """Classes that a label may mean: those that most of its parts name."""
    parts = [part.strip() for part in label.replace("_", " ").split(",")]
    # A Cardigan is a dog, a cardigan is knitwear.
    found = [_ids_of_text().get(part) or _ids_of_text().get(part.casefold()) for part in parts]
    counts = Counter(number for ids in found if ids for number in ids)
    most = max(counts.values(), default=0)
    return frozenset(number for number, count in counts.items() if count == most)
