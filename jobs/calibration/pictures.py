"""The pictures that a model is calibrated on, with their labels where the model has the classes."""

from typing import Literal

import dvt
from jobs.datasets import ClassIds, LabelledSource, check_labels, open_labelled, open_pictures
from pipeline.errors import UsageError

__all__ = ["open_calibration_pictures"]


def open_calibration_pictures(
    data: str, model: dvt.Model, of: Literal["auto", "accuracy", "agreement"] = "auto"
) -> tuple[LabelledSource, ClassIds | None]:
    """Opens pictures, and the class ids of their labels.

    Args:
        data: a labelled data set, or what `dvt tag` takes.
        model: whose classes the labels name.
        of: what is to be calibrated; auto: accuracy if a label names a class of the model.

    Returns:
        The pictures, and the class ids; None to ignore labels.

    Raises:
        UsageError: the data cannot be used, or lack the labels that `of` needs.
    """
    if of == "agreement":
        return open_pictures(data), None
    ids = ClassIds.of_model(model.spec.num_classes, model.labels)
    if "://" not in data:
        try:
            labelled = open_labelled(data)
        except UsageError:
            if of == "accuracy":
                raise
            return open_pictures(data), None  # a format that has no labels, or no such data at all
        if of == "accuracy" or _has_known_label(labelled, ids):
            check_labels(labelled, ids)
            return labelled, ids
    elif of == "accuracy":
        raise UsageError(f"of: must be agreement for images without labels (got {data})")
    return open_pictures(data), None


def _has_known_label(source: LabelledSource, ids: ClassIds) -> bool:
    """Whether a label names a class of the model; assumed where labels cannot be read alone."""
    labels = source.labels()
    if labels is None:
        return True
    for label in labels:
        try:
            ids.id_of(label)
        except UsageError:
            continue
        return True
    return False
