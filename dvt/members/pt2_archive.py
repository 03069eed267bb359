"""Reads the archive of a `torch.export` program without running anything in it.

`torch.export.load` unpickles tensors and sample inputs, evaluates expressions for sizes, resolves
any name in `torch`, generates and runs Python code, and loads compiled libraries. Here the archive
is JSON and raw bytes of tensors, and all else is refused or left alone. `pt2_program` runs it.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dvt.errors import CheckpointError
from dvt.members.network import LARGEST_TENSOR, damage_in_one_line, one_line

__all__ = ["DTYPES", "Pt2Archive", "read_archive"]

# `ScalarType` of torch/_export/serde/schema.py.
DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
_SCHEMA = 8  # major version of torch/_export/serde/schema.py
_STRIDED = 7
_TENSOR_CONSTANT = "tensor_"


@dataclass(frozen=True, slots=True)
class Pt2Archive:
    """Content of an archive.

    Attributes:
        graph: nodes, inputs and outputs.
        signature: what the inputs and outputs are.
        tensors: parameters, buffers and constants by name.
    """

    graph: Mapping[str, Any]
    signature: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def read_archive(path: Path) -> Pt2Archive:
    """Reads a `.pt2` file.

    Raises:
        CheckpointError: unreadable, damaged, of another format, or with pickled or compiled code;
            without the path.
    """
    try:
        with damage_in_one_line(), zipfile.ZipFile(path) as archive:
            return _read(archive)
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror or one_line(error)})") from error
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise CheckpointError("truncated, damaged or not a torch.export program") from error


def _read(archive: zipfile.ZipFile) -> Pt2Archive:
    # All names are below one folder, named after the file when it was written.
    members = {}
    for info in archive.infolist():
        if info.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError("its entries must not be compressed")
        members[info.filename.partition("/")[2]] = info
    if "archive_format" not in members:
        raise CheckpointError(
            "not a torch.export program of torch 2.9 or newer; export the model again"
        )
    if any(name.startswith("data/aotinductor/") for name in members):
        raise CheckpointError("refused, it holds compiled code")
    models = [name for name in members if name.startswith("models/")]
    if len(models) != 1:
        raise CheckpointError(f"must hold one program (got {len(models)})")
    program = json.loads(archive.read(members[models[0]]))
    version = program["schema_version"]["major"]
    if version != _SCHEMA:
        raise CheckpointError(f"schema_version: must be {_SCHEMA} (got {version})")
    name = models[0].removeprefix("models/").removesuffix(".json")
    tensors: dict[str, Tensor] = {}
    contents: dict[str, bytearray] = {}  # by entry, which several tensors may share
    for kind, folder in (("weights", "data/weights"), ("constants", "data/constants")):
        config = members.get(f"{folder}/{name}_{kind}_config.json")
        if config is None:
            raise CheckpointError(
                f"its {kind} are pickled; export the model again with torch 2.9 or newer"
            )
        for key, entry in json.loads(archive.read(config))["config"].items():
            is_tensor = kind == "weights" or entry["path_name"].startswith(_TENSOR_CONSTANT)
            if entry["use_pickle"] or not is_tensor:
                raise CheckpointError(f"refused, {key!r} is pickled")
            info = members[f"{folder}/{entry['path_name']}"]
            if info.filename not in contents:
                contents[info.filename] = bytearray(archive.read(info))
            tensors[key] = _tensor(contents[info.filename], info.filename, entry)
    graph_module = program["graph_module"]
    return Pt2Archive(graph_module["graph"], graph_module["signature"], tensors)


def _tensor(content: bytearray, name: str, entry: Mapping[str, Any]) -> Tensor:
    described = entry["tensor_meta"]
    dtype = DTYPES[described["dtype"]]
    sizes = [int(side["as_int"]) for side in described["sizes"]]
    strides = [int(side["as_int"]) for side in described["strides"]]
    if described["layout"] != _STRIDED or min(sizes, default=0) < 0 or min(strides, default=0) < 0:
        raise CheckpointError(f"tensor {name!r}: must be dense")
    if prod(sizes) > LARGEST_TENSOR:  # a stride of 0 needs no bytes
        raise CheckpointError(f"tensor {name!r}: must have at most {LARGEST_TENSOR} values")
    if not prod(sizes):
        return torch.empty(sizes, dtype=dtype)
    values = torch.frombuffer(content, dtype=dtype)
    offset = int(described["storage_offset"]["as_int"])
    try:
        return values.as_strided(sizes, strides, offset)
    except RuntimeError as error:
        raise CheckpointError(f"tensor {name!r}: has too few bytes") from error
