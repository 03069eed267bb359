"""Labelled pictures for training and evaluation.

A data set is named by
    a folder of folders, each named like its class;
    a folder with `truth.parquet` (columns `key`, `label`) beside `images/`, as `dvt shapes` writes;
    tar files in the layout of WebDataset, or with folders named like their class inside;
    Parquet files with a column of encoded pictures and one of labels;
    `shapes:NUM` or `shapes:NUM:SEED`: the first pictures of the drawn data set.
Tars and Parquet files may be one file, a folder of them, a glob, or a range `{000..012}`.
A label is a class name, an ImageNet class's WordNet id, or a class id. All pictures pass through
the decoding of the engine, so that a model is trained and judged on what it will see.

One format is one file here, an implementation of `LabelledSource` that `opening` knows of. Worker
processes import this package, so it stays free of torch.
"""

from jobs.datasets.base import Label, LabelledSource, Sample
from jobs.datasets.classes import ClassIds
from jobs.datasets.decoding import (
    DecodedPart,
    LabelledPictures,
    check_labels,
    check_readable,
    decoded_parts,
    load_labelled,
)
from jobs.datasets.opening import open_labelled
from jobs.datasets.unlabelled import Sampled, open_pictures

__all__ = [
    "ClassIds",
    "DecodedPart",
    "Label",
    "LabelledPictures",
    "LabelledSource",
    "Sample",
    "Sampled",
    "check_labels",
    "check_readable",
    "decoded_parts",
    "load_labelled",
    "open_labelled",
    "open_pictures",
]
