"""An output of `dvt tag` with made-up rows: names, groups and clustered vectors that look real."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.output.compaction import merge_small_files
from pipeline.output.delta_table import OutputTable
from pipeline.output.metadata import RunFile
from pipeline.records import TAGS_SCHEMA
from pipeline.storage import open_output_store
from pipeline.storage.local_files import file_uri

__all__ = ["GROUPS_OF_NOUN", "LABELS", "MadeUpOutput", "made_up_keys"]

GROUPS_OF_NOUN = {
    **dict.fromkeys(("terrier", "beagle", "spaniel", "mastiff"), ("dog", "animal")),
    **dict.fromkeys(("tabby", "siamese", "lynx"), ("cat", "animal")),
    **dict.fromkeys(("finch", "heron", "owl", "jay"), ("bird", "animal")),
    **dict.fromkeys(("truck", "tram", "canoe", "bicycle"), ("vehicle",)),
    **dict.fromkeys(("lemon", "pretzel", "espresso", "carbonara"), ("food",)),
    "volcano": (),
}
_KINDS = ["red", "blue", "small", "great", "wild", "old", "night", "river", "mountain", "royal"]
LABELS = [f"{kind} {noun}" for noun in GROUPS_OF_NOUN for kind in _KINDS]

_ROWS_PER_FILE = 100_000
_NOISE = 0.6


def made_up_keys(num_keys: int, first: int = 0) -> list[str]:
    """Keys as of an archive of a person's folders, in order."""
    return [
        f"{2000 + n // 200_000}/Trip_{n // 500:06}/IMG_{n:08}.jpg"
        for n in range(first, first + num_keys)
    ]


class MadeUpOutput:
    """An output that grows, changes and shrinks as one wishes.

    Args:
        folder: where to make it.
        width: of the vectors; 0 for an output without embeddings.
        model: digest of the model that computed them.
        epoch: of the run; a later one for an output that exists.
        archive: folder of the images that it claims to be of.
        model_name: what `--model` was.
    """

    def __init__(
        self,
        folder: Path,
        width: int = 64,
        model: str = "d1",
        epoch: int = 1,
        archive: Path = Path("/archive"),
        model_name: str = "shapes",
    ) -> None:
        self.folder, self._width, self._archive = folder, width, archive
        store = open_output_store(folder)
        store.prepare()
        store.write("run.json", _run_file(folder, model, model_name).model_dump_json().encode())
        self.tags = OutputTable(store.child("tags"), _schema(width, model), epoch, "run", "key")
        random = np.random.default_rng(0)
        self._centres = random.standard_normal((len(LABELS), max(1, width))).astype(np.float32)

    def write(self, keys: Sequence[str], generation: int = 0) -> None:
        """Adds rows, or replaces those of the same keys by others.

        Args:
            keys: in any order.
            generation: another one gives the same keys other content.
        """
        for start in range(0, len(keys), _ROWS_PER_FILE):
            some = keys[start : start + _ROWS_PER_FILE]
            file = self.tags.writer.write(self._rows(some, generation))
            self.tags.commit([file], 1.0, without=some if generation else ())

    def remove(self, keys: Sequence[str]) -> None:
        """Removes rows."""
        self.tags.commit([], 1.0, without=keys)

    def merge_files(self) -> None:
        """Merges small files, as at the end of a run."""
        merge_small_files(self.tags)

    def _rows(self, keys: Sequence[str], generation: int) -> pa.Table:
        digest = hashlib.blake2b(f"{generation} {keys[0]}".encode(), digest_size=8).digest()
        random = np.random.default_rng(int.from_bytes(digest))
        num_rows = len(keys)
        label_ids = (random.random(num_rows) ** 2 * len(LABELS)).astype(np.int32)
        labels = [LABELS[number] for number in label_ids]
        confidences = random.uniform(0.3, 1.0, num_rows).astype(np.float32)
        groups = [GROUPS_OF_NOUN[label.split()[1]] for label in labels]
        columns: dict[str, object] = {
            "key": list(keys),
            "uri": [file_uri(str(self._archive / key).encode()) for key in keys],
            "label": labels,
            "label_id": label_ids,
            "confidence": confidences,
            "top_labels": [[label, LABELS[0]] for label in labels],
            "top_scores": np.stack([confidences, 1 - confidences], axis=1).tolist(),
            "exit_stage": random.integers(1, 4, num_rows),
            "width": random.integers(1, 5, num_rows) * 800,
            "height": random.integers(1, 5, num_rows) * 600,
            "etag": [f"{100_000 + number:x}-{generation:x}" for number in label_ids],
            "groups": groups,
            "group_scores": [[float(c)] * len(g) for c, g in zip(confidences, groups, strict=True)],
            "camera": random.choice(["X100", "D70", "Pixel's"], num_rows).tolist(),
        }
        if self._width:
            columns["embedding"] = self._vectors(label_ids, random)
        schema = self.tags.schema
        missing = {name: None for name in schema.names if name not in columns}
        arrays = [
            pa.nulls(num_rows, schema.field(name).type)
            if name in missing
            else pa.array(columns[name], schema.field(name).type)
            for name in schema.names
        ]
        return pa.Table.from_arrays(arrays, schema=schema)

    def _vectors(self, label_ids: NDArray[np.int32], random: np.random.Generator) -> pa.Array:
        noise = random.standard_normal((len(label_ids), self._width), dtype=np.float32)
        vectors = self._centres[label_ids] + _NOISE * noise
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        values = pa.array(vectors.astype(np.float16).astype(np.float32).ravel())
        offsets = np.arange(0, len(values) + 1, self._width, dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), values)


def _schema(width: int, model: str) -> pa.Schema:
    fields = [
        *TAGS_SCHEMA,
        pa.field("groups", pa.list_(pa.string())),
        pa.field("group_scores", pa.list_(pa.float32())),
        pa.field("camera", pa.string()),
    ]
    if width:
        metadata = {"dvt.model": model}
        fields.append(pa.field("embedding", pa.list_(pa.float32()), metadata=metadata))
    return pa.schema(list({field.name: field for field in fields}.values()))


def _run_file(folder: Path, model: str, model_name: str) -> RunFile:
    identity = {
        "name": "made-up",
        "digest": model,
        "num_classes": len(LABELS),
        "stages": ("a", "b", "c"),
        "gmacs_per_exit": (1.0, 2.0, 3.0),
    }
    return RunFile.model_validate(
        {
            "run": "made-up",
            "inputs": ("file:///archive",),
            "model": identity,
            "thresholds": (0.8, 0.6),
            "dtype": "float32",
            "versions": {},
            "hardware": {"cpu": "none", "num_cpus": 1, "gpus": ()},
            "started_at": "2026-01-01T00:00:00+00:00",
            "settings": {"input": ("/archive",), "out": str(folder), "model": model_name},
        }
    )
