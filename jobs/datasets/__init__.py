"""Labelled images for training, evaluation and calibration.

A data set is
    a folder with one subfolder per class, named after it;
    a folder with `truth.parquet` (columns `key`, `label`) beside `images/`, as `dvt shapes` writes;
    tars in WebDataset's layout: labels in `.cls`, `.json` or `.txt`, or class folders in the tar;
    Parquet files with a column of pictures and a column `label`, `label_name`, or both;
    `shapes:NUM` or `shapes:NUM:SEED`: the first drawn shapes of a seed.
Tars and Parquet files may be one file, a folder of them, a glob, or a range `{000..012}`, on this
machine or on S3. A label is a class name, a WordNet id of ImageNet, or a class id.

Listing, fetching and decoding are those of `pipeline`; this package adds labels (`labels`) and
their class ids (`classes`). It does not import torch, because worker processes import it.
"""

from jobs.datasets.base import DecodedBatch, Label, LabelledSource, Sample, in_batches
from jobs.datasets.classes import ClassIds
from jobs.datasets.loading import (
    LabelledPictures,
    check_labels,
    check_readable,
    load_labelled,
    load_pictures,
)
from jobs.datasets.opening import open_labelled, open_pictures
from jobs.datasets.sampled import Sampled

__all__ = [
    "ClassIds",
    "DecodedBatch",
    "Label",
    "LabelledPictures",
    "LabelledSource",
    "Sample",
    "Sampled",
    "check_labels",
    "check_readable",
    "in_batches",
    "load_labelled",
    "load_pictures",
    "open_labelled",
    "open_pictures",
]
