"""Groups of a model's classes, such as dog or vehicle.

A class may be in several groups (a beagle is a dog, a mammal and an animal) or in none. The *parts*
divide the classes: each class belongs to the smallest of its groups, and a class without a group is
a part of its own. `--sure-of group` exits on parts.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor

from dvt.errors import CheckpointError, ModelError
from dvt.labels import imagenet
from dvt.validation import first_problem

__all__ = ["GROUPS", "ClassGroups", "Group", "SureOf", "default_groups", "load_groups"]

# File of a checkpoint folder.
GROUPS = "groups.json"

SureOf = Literal["label", "group"]
"""What an image must be sure of to exit: its label, or the part that its label belongs to."""

_Name = Annotated[str, Field(min_length=1, max_length=200)]
_FILE = TypeAdapter(dict[_Name, Annotated[tuple[str, ...], Field(min_length=1)]])


@dataclass(frozen=True, slots=True)
class Group:
    """Classes under one name; their ids are ascending."""

    name: str
    class_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ClassGroups:
    """The groups of a model; false where it has none.

    Attributes:
        num_classes: C, of the model.
        groups: G groups with different names.
    """

    num_classes: int
    groups: tuple[Group, ...] = ()

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the groups, [G]."""
        return tuple(group.name for group in self.groups)

    @property
    def digest(self) -> str:
        """Identifies the groups, 8 hex digits; empty where there are none."""
        if not self.groups:
            return ""
        content = json.dumps([(group.name, group.class_ids) for group in self.groups])
        return hashlib.sha256(content.encode()).hexdigest()[:8]

    def names_of(self, class_id: int) -> tuple[str, ...]:
        """Groups of a class, the smallest first; the first one is its part."""
        found = [group for group in self.groups if class_id in group.class_ids]
        return tuple(group.name for group in sorted(found, key=lambda g: len(g.class_ids)))

    def part_ids(self, sure_of: SureOf = "group") -> tuple[int, ...]:
        """The part of each class, [C]: numbers from 0 below C. For "label", the class itself.

        Raises:
            ModelError: `sure_of` is "group", and there are no groups.
        """
        if sure_of == "label":
            return tuple(range(self.num_classes))
        if not self.groups:
            raise ModelError("sure_of: must be label for a model without groups (got group)")
        smallest = list(range(self.num_classes))
        sizes = [len(group.class_ids) for group in self.groups]
        # Smaller groups replace larger ones, and earlier ones others of their size.
        for number in sorted(range(len(sizes)), key=lambda n: (-sizes[n], -n)):
            for class_id in self.groups[number].class_ids:
                smallest[class_id] = self.num_classes + number
        first: dict[int, int] = {}  # a part has the number of its first class
        return tuple(first.setdefault(part, number) for number, part in enumerate(smallest))

    def parts(self, sure_of: SureOf, device: torch.device | str = "cpu") -> Tensor | None:
        """`part_ids` as a tensor for `dvt.exits.confidence`; None for "label"."""
        return None if sure_of == "label" else torch.tensor(self.part_ids(sure_of), device=device)

    def membership(self, device: torch.device | str = "cpu") -> Tensor:
        """1 where a class is in a group, else 0: [C, G] float64, for `dvt.exits.group_scores`."""
        matrix_CG = torch.zeros(self.num_classes, len(self.groups), dtype=torch.float64)
        for number, group in enumerate(self.groups):
            matrix_CG[list(group.class_ids), number] = 1
        return matrix_CG.to(device)

    def signal(self, sure_of: SureOf) -> str:
        """Names the exit signal, with the digest of the groups that it depends on."""
        return "label" if sure_of == "label" else f"group {self.digest}"

    def as_json(self, labels: tuple[str, ...] | None) -> str:
        """Content of `groups.json`; `labels` are the class names of the model."""
        texts = _unambiguous(labels or ())
        content = {group.name: [texts[n] for n in group.class_ids] for group in self.groups}
        return json.dumps(content, indent=1)

    @classmethod
    def of(cls, num_classes: int, class_ids: dict[str, Sequence[int]]) -> Self:
        """From the class ids of each group, in any order."""
        groups = (Group(name, tuple(sorted(set(ids)))) for name, ids in class_ids.items())
        return cls(num_classes, tuple(groups))


@lru_cache(maxsize=16)
def default_groups(num_classes: int, labels: tuple[str, ...] | None) -> ClassGroups:
    """ImageNet's groups for a model with ImageNet's classes, no groups for any other.

    Args:
        num_classes: of the model.
        labels: names of its classes; None if unknown.
    """
    aligned = imagenet.align(labels) if labels is not None else None
    if aligned is None:
        return ClassGroups(num_classes)
    id_of = {number: class_id for class_id, number in enumerate(aligned)}
    return ClassGroups.of(
        num_classes,
        {
            name: [id_of[number] for number in imagenet.classes_below(nodes)]
            for name, nodes in imagenet.group_nodes().items()
        },
    )


def load_groups(path: Path, num_classes: int, labels: tuple[str, ...] | None) -> ClassGroups | None:
    """Reads `groups.json`; None if the file is missing.

    Args:
        path: of the file: {"group": ["class name", ...]}. Classes of ImageNet may also go by their
            WordNet ids. An empty object means no groups.
        num_classes: of the model.
        labels: names of its classes; None if unknown.

    Raises:
        CheckpointError: the file is damaged or names a class that the model lacks.
    """
    try:
        content = _FILE.validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise CheckpointError(f"{path}: {first_problem(error)}") from error
    if labels is None and content:
        raise CheckpointError(f"{path}: needs the class names of the model (labels.json)")
    unambiguous = _unambiguous(labels or ())
    ids: dict[str, set[int]] = {}
    for number, texts in enumerate(zip(labels or (), unambiguous, strict=True)):
        for text in texts:
            ids.setdefault(text, set()).add(number)

    def id_of(name: str, text: str) -> int:
        found = ids.get(text, set())
        if len(found) == 1:
            return min(found)
        others = " or ".join(unambiguous[n] for n in sorted(found) if unambiguous[n] != text)
        raise CheckpointError(
            f"{path}: {name}: must be the name of one class of the model"
            f"{', such as ' * bool(others)}{others} (got {text[:80]!r})"
        )

    return ClassGroups.of(
        num_classes, {name: [id_of(name, text) for text in content[name]] for name in content}
    )


def _unambiguous(labels: tuple[str, ...]) -> tuple[str, ...]:
    """WordNet ids of the classes if they are ImageNet's, else their names."""
    return imagenet.wordnet_ids_of(labels) or labels
