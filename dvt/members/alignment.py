"""Brings the classes of several models into one order, by their names."""

from collections.abc import Sequence

from dvt.errors import ModelError

__all__ = ["align_classes"]

ClassOrder = tuple[int, ...] | None


def align_classes(
    names: Sequence[str], labels: Sequence[tuple[str, ...] | None]
) -> list[ClassOrder]:
    """For each model, its number of each class of the last model; None where they are the same.

    Names match if they are equal but for case, underscores and synonyms after a comma. Names that
    two classes share, such as ImageNet's cranes, match by their place among the equals.

    Args:
        names: of the models, for errors.
        labels: class names of the models; None where a model has none.

    Raises:
        ModelError: a model has no names, or other classes than the last one.
    """
    for name, own in zip(names, labels, strict=True):
        if own is None:
            raise ModelError(
                f"member {name}: has no class names, so its classes cannot be aligned; add "
                "label_names to its config.json"
            )
    reference = _keys(labels[-1] or ())
    orders: list[ClassOrder] = []
    for name, own in zip(names, labels, strict=True):
        ids = {key: number for number, key in enumerate(_keys(own or ()))}
        missing = [key for key in reference if key not in ids]
        if missing or len(ids) != len(reference):
            extra = [key for key in ids if key not in set(reference)]
            shown, holder = (missing[0], names[-1]) if missing else (extra[0], name)
            raise ModelError(
                f"member {name}: its {len(ids):,} classes are not the {len(reference):,} of "
                f"{names[-1]}; only {holder} has {shown[0]!r}"
            )
        order = tuple(ids[key] for key in reference)
        orders.append(None if order == tuple(range(len(order))) else order)
    return orders


def _keys(labels: Sequence[str]) -> list[tuple[str, int]]:
    """A comparable form of each name, and its place among equal ones."""
    seen: dict[str, int] = {}
    keys: list[tuple[str, int]] = []
    for label in labels:
        text = " ".join(label.split(",")[0].replace("_", " ").casefold().split())
        seen[text] = seen.get(text, -1) + 1
        keys.append((text, seen[text]))
    return keys
