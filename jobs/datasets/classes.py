"""Aligns the class labels of data with the class ids of a model."""

from collections.abc import Iterable, Sequence
from typing import Self

from jobs.datasets.base import Label
from pipeline.errors import UsageError

__all__ = ["ClassIds", "names_in"]

_SHOWN = 80  # characters of what may be a whole caption


class ClassIds:
    """Finds the class id of a label.

    A text that is a class name or an alias means that class. Decimal digits that are neither mean
    the class id, in the model's order. A number beside a name only decides between classes of that
    name ("crane" is a bird and a machine in ImageNet).

    Args:
        num_classes: of the model.
        names: in the order of the ids; None if the model has no names, so that only ids match.
        aliases: other unambiguous names in the same order, such as WordNet ids; may be empty.
    """

    def __init__(
        self, num_classes: int, names: Sequence[str] | None, aliases: Sequence[str] = ()
    ) -> None:
        self._num_classes = num_classes
        self._has_names = names is not None
        self._ids_of_text: dict[str, list[int]] = {}
        for known in (names or (), aliases):
            for number, text in enumerate(known):
                self._ids_of_text.setdefault(text, []).append(number)
        self._aliases = aliases

    @classmethod
    def of_model(cls, num_classes: int, names: Sequence[str] | None) -> Self:
        """Adds WordNet ids as aliases if the classes are ImageNet's."""
        from dvt.labels import imagenet

        return cls(num_classes, names, imagenet.wordnet_ids_of(tuple(names or ())) or ())

    def id_of(self, label: Label) -> int:
        """The class id, from 0.

        Raises:
            UsageError: the model has no such class, or several of that name.
        """
        ids = self._ids_of_text.get(label.text)
        if ids is None:
            return self._as_number(label.text)
        if len(ids) == 1:
            return ids[0]
        if label.number in ids:
            return label.number
        others = [self._aliases[number] if self._aliases else str(number) for number in ids]
        raise UsageError(
            f"data: class {label.text[:_SHOWN]!r} is ambiguous in the model; use "
            f"{' or '.join(others)}"
        )

    def _as_number(self, text: str) -> int:
        # "007" is more likely the name of a folder than a class id.
        is_short = len(text) <= len(str(self._num_classes))
        if is_short and text.isascii() and text.isdigit() and text == str(int(text)):
            number = int(text)
            if number < self._num_classes:
                return number
        allowed = (
            "their names or ids" if self._has_names else "ids, since the model has no class names,"
        )
        raise UsageError(
            f"data: class {text[:_SHOWN]!r} is none of the model's {self._num_classes:,}; allowed "
            f"are {allowed} from 0 to {self._num_classes - 1}"
        )


def names_in(labels: Iterable[Label]) -> tuple[str, ...]:
    """Class names for a new model: those of the data, sorted; by value if all are numbers."""
    texts = {label.text for label in labels}
    are_numbers = all(text.isascii() and text.isdigit() for text in texts)
    return tuple(sorted(texts, key=(lambda text: (len(text), text)) if are_numbers else None))
