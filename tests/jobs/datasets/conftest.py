"""The same pictures in every format that can be evaluated."""

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.shapes import CLASSES, write_shapes

DAMAGED = b"\xff\xd8\xff no more than a signature"


@dataclass(frozen=True)
class File:
    """A picture's name without a folder, its content, and its class."""

    name: str
    content: bytes
    label: str

    @property
    def stem(self) -> str:
        return self.name.split(".")[0]

    @property
    def label_id(self) -> int:
        return CLASSES.index(self.label)


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    """A tar of these members in this order, compressed if its name says so."""
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`truth.parquet` beside `images/`, 40 pictures; two of them are spoilt afterwards."""
    root = tmp_path_factory.mktemp("drawn") / "a"
    archive = write_shapes(root, 40, seed=5, size=(64, 64))
    for key in pq.read_table(archive.truth)["key"].to_pylist()[7:9]:
        (archive.images / key).write_bytes(DAMAGED)
    return root


@pytest.fixture(scope="session")
def files(drawn: Path) -> list[File]:
    rows = pq.read_table(drawn / "truth.parquet", columns=["key", "label"]).to_pylist()
    return [
        File(Path(row["key"]).name, (drawn / "images" / row["key"]).read_bytes(), row["label"])
        for row in rows
    ]


def class_folders(out: Path, files: list[File]) -> str:
    for file in files:
        (out / file.label).mkdir(exist_ok=True)
        (out / file.label / file.name).write_bytes(file.content)
    (out / "README").write_text("files beside the class folders have no label")
    return str(out)


def tar_with_cls(out: Path, files: list[File]) -> str:
    """As WebDataset writes ImageNet; the label comes first here."""
    members = []
    for file in files:
        members += [(f"{file.stem}.cls", b"%d" % file.label_id), (file.name, file.content)]
    return str(write_tar(out / "a.tar", members))


def tars_with_json(out: Path, files: list[File]) -> str:
    """As timm's ImageNet: the id in .json; img2dataset's captions must not get in the way."""
    for number, start in enumerate(range(0, len(files), 16), start=8):
        members = []
        for file in files[start : start + 16]:
            fields = json.dumps({"label": file.label_id, "width": 64}).encode()
            members += [(file.name, file.content), (f"{file.stem}.json", fields)]
            members.append((f"{file.stem}.txt", b"a drawing of a shape"))
        write_tar(out / f"val-{number:03}.tar", members)
    return str(out / "val-{008..010}.tar")


def tars_with_txt(out: Path, files: list[File]) -> str:
    """A folder of tars and, as img2dataset leaves it, of Parquet files without pictures."""
    members = []
    for file in files:
        name = f"{file.label}\n".encode()
        members += [(f"./{file.name}", file.content), (f"./{file.stem}.txt", name)]
    write_tar(out / "00000.tar", members)
    pq.write_table(pa.table({"url": ["https://example.org"]}), out / "00000.parquet")
    return str(out)


def tar_gz_with_class_folders(out: Path, files: list[File]) -> str:
    members = [(f"val/{file.label}/with.a.dot.{file.name}", file.content) for file in files]
    return str(write_tar(out / "a.tar.gz", members))


def parquet_with_ids(out: Path, files: list[File]) -> str:
    table = pa.table(
        {
            "image": pa.array([file.content for file in files], pa.binary()),
            "label": [file.label_id for file in files],
            "key": [f"test/{file.stem}" for file in files],
        }
    )
    pq.write_table(table, out / "test.parquet", row_group_size=7)
    return str(out / "test.parquet")


def hugging_face_parquet(out: Path, files: list[File]) -> str:
    """A struct of bytes and path, ids of another order, and names; several files, by a glob."""
    for number, start in enumerate(range(0, len(files), 25)):
        part = files[start : start + 25]
        images = [{"bytes": file.content, "path": file.name} for file in part]
        table = pa.table(
            {
                "img": images,
                "label": [13 - file.label_id for file in part],
                "label_name": [file.label for file in part],
                "key": [file.stem for file in part],
            }
        )
        pq.write_table(table, out / f"test-{number:05}.parquet")
    return str(out / "test-*.parquet")


FORMATS: dict[str, Callable[[Path, list[File]], str]] = {
    maker.__name__: maker
    for maker in (
        class_folders,
        tar_with_cls,
        tars_with_json,
        tars_with_txt,
        tar_gz_with_class_folders,
        parquet_with_ids,
        hugging_face_parquet,
    )
}


@pytest.fixture(params=FORMATS)
def other_format(request: pytest.FixtureRequest, tmp_path: Path, files: list[File]) -> str:
    """A data set's name, for each format in turn."""
    return FORMATS[request.param](tmp_path, files)
