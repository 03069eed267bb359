"""Held-out and test pictures of the evidence, in memory."""

from argparse import Namespace
from hashlib import sha256
from pathlib import Path

import dvt
from benchmarks.evidence.records import DataFacts
from jobs.datasets import LabelledPictures, load_labelled
from pipeline.errors import UsageError
from pipeline.runtime.resource_plan import decode_settings

__all__ = ["PictureSets"]


class PictureSets:
    """Labelled pictures in memory; files of the same content are decoded once."""

    def __init__(self) -> None:
        self._known: dict[object, tuple[LabelledPictures, DataFacts]] = {}

    def test(self, given: Namespace, model: dvt.Cascade) -> tuple[LabelledPictures, DataFacts]:
        """The test pictures at the size of a model.

        Raises:
            UsageError: they cannot be read, or have a class that the model lacks.
        """
        if given.data is None or not given.data.is_file():
            raise UsageError(
                "data: must be a file of labelled test pictures such as cifar10/test.parquet "
                f"(got {given.data})"
            )
        return self._loaded(given.data, model)

    def validation(self, folder: Path, model: dvt.Cascade) -> tuple[LabelledPictures, DataFacts]:
        """The pictures that were held out when the model in this folder was trained.

        Raises:
            UsageError: the folder has none.
        """
        path = folder / "training" / "validation.parquet"
        if not path.is_file():
            raise UsageError(f"models: {folder} has no training/validation.parquet to choose by")
        return self._loaded(path, model)

    def _loaded(self, path: Path, model: dvt.Cascade) -> tuple[LabelledPictures, DataFacts]:
        settings = decode_settings(model.config)
        content = sha256(path.read_bytes()).hexdigest()
        known_as = (path.name, content, settings, model.labels)
        if known_as not in self._known:
            pictures = load_labelled(str(path), settings, model.labels)
            if pictures.num_unreadable:
                raise UsageError(f"data: {path} has {pictures.num_unreadable} unreadable pictures")
            digest = sha256(pictures.pixels.data)
            digest.update(pictures.labels.data)
            num_images = len(pictures.labels)
            facts = DataFacts(name=path.name, num_images=num_images, digest=digest.hexdigest()[:16])
            self._known[known_as] = pictures, facts
        return self._known[known_as]
