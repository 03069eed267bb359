"""Pictures as files in a folder: one folder a class, or a table of labels beside them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.datasets.base import FilePicture, Label, Sample
from pipeline.errors import UsageError
from pipeline.sources.folder import FolderSource

__all__ = ["TRUTH", "ClassFolders", "TruthFolder"]

TRUTH = "truth.parquet"


@dataclass(frozen=True, slots=True)
class ClassFolders:
    """CLASS/anything/below.jpg; files beside the class folders have no label and are left out."""

    root: Path
    class_names = None

    def labels(self) -> Iterator[Label]:
        """See `LabelledSource.labels`."""
        return (sample.label for sample in self.samples())

    def samples(self) -> Iterator[Sample]:
        """See `LabelledSource.samples`; keys are paths below the folder."""
        for image in FolderSource.open(str(self.root)).list_images():
            folder, slash, _ = image.key.partition("/")
            if slash:
                yield Sample(image.key, Label(folder), FilePicture(image.uri))


@dataclass(frozen=True, slots=True)
class TruthFolder:
    """`truth.parquet` (columns `key`, `label`) beside `images/`; null labels are left out."""

    root: Path
    class_names = None

    def labels(self) -> Iterator[Label]:
        """See `LabelledSource.labels`."""
        return (sample.label for sample in self.samples())

    def samples(self) -> Iterator[Sample]:
        """See `LabelledSource.samples`; keys are paths below `images`."""
        try:
            table = pq.read_table(self.root / TRUTH, columns=["key", "label"])
        except (pa.ArrowException, OSError) as error:
            raise UsageError(f"data: cannot read {self.root / TRUTH}: {error}") from error
        label_of = dict(zip(table["key"].to_pylist(), table["label"].to_pylist(), strict=True))
        for image in FolderSource.open(str(self.root / "images")).list_images():
            label = label_of.get(image.key)
            if label is not None:
                yield Sample(image.key, Label(str(label)), FilePicture(image.uri))
