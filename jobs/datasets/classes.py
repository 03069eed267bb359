"""From what the data say about a class to the id that a model answers with."""

from collections.abc import Iterable, Sequence
from typing import Self

from jobs.datasets.base import Label
from pipeline.errors import UsageError

__all__ = ["ClassIds", "names_in"]

_SHOWN = 80  # characters of what may be a whole caption


class ClassIds:
    """Finds the class ids of a model.

    A text that is a class name or an alias means that class. Decimal digits that are neither mean
    the class id, in the model's own order. A number beside a name is not looked at, except to
    choose between classes of the same name ("crane" is a bird and a machine in ImageNet).

    Args:
        num_classes: of the model.
        names: in order of the ids; None where the model has none, and only ids can be resolved.
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
        """With WordNet ids for ImageNet's classes, two pairs of which share a name."""
        from dvt.loading import imagenet

        is_imagenet = names is not None and tuple(names) == imagenet.class_names()
        return cls(num_classes, names, imagenet.wordnet_ids() if is_imagenet else ())

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
            f"data: class {label.text[:_SHOWN]!r} is {len(ids)} classes of the model; say which by "
            f"{' or '.join(others)}"
        )

    def _as_number(self, text: str) -> int:
        # Only the plain form counts: "007" is rather the name of a folder than a class id.
        is_short = len(text) <= len(str(self._num_classes))
        if is_short and text.isascii() and text.isdigit() and text == str(int(text)):
            number = int(text)
            if number < self._num_classes:
                return number
        allowed = "their names or ids" if self._has_names else "ids, for it has no class names"
        raise UsageError(
            f"data: class {text[:_SHOWN]!r} is none of the model's {self._num_classes:,}; allowed "
            f"are {allowed} from 0 to {self._num_classes - 1}"
        )


def names_in(labels: Iterable[Label]) -> tuple[str, ...]:
    """Class names for a model that has none yet: those of the data, sorted; numbers by value."""
    texts = {label.text for label in labels}
    are_numbers = all(text.isascii() and text.isdigit() for text in texts)
    return tuple(sorted(texts, key=(lambda text: (len(text), text)) if are_numbers else None))
