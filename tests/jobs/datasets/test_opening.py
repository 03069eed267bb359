"""What may be named, and what is said of the rest."""

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.datasets import open_labelled
from jobs.datasets.drawn import DrawnShapes
from jobs.datasets.folder import ClassFolders, TruthFolder
from jobs.datasets.parquet import ParquetFiles
from jobs.datasets.tar import TarFiles
from pipeline.errors import UsageError

MAX_BYTES = 2**20


def made(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names_of(root: Path, data: str) -> list[str]:
    source = open_labelled(str(root / data), MAX_BYTES)
    assert isinstance(source, TarFiles | ParquetFiles)
    return [str(path.relative_to(root)) for path in source.paths]


def test_ranges_keep_their_leading_zeros_and_may_be_several(tmp_path: Path) -> None:
    made(tmp_path, *(f"{part}/v-{n:02}.tar" for part in (1, 2) for n in range(8, 12)))
    assert names_of(tmp_path, "1/v-{09..11}.tar") == ["1/v-09.tar", "1/v-10.tar", "1/v-11.tar"]
    assert names_of(tmp_path, "{1..2}/v-{08..08}.tar") == ["1/v-08.tar", "2/v-08.tar"]
    with pytest.raises(UsageError, match=r"v-12\.tar"):
        names_of(tmp_path, "1/v-{08..12}.tar")
    with pytest.raises(UsageError, match="must not go down"):
        names_of(tmp_path, "1/v-{11..08}.tar")


def test_globs_are_sorted_and_go_together_with_ranges(tmp_path: Path) -> None:
    made(tmp_path, "b1.tar", "a1.tar.gz", "a2.tgz", "a3.TAR", "x.parquet")
    assert names_of(tmp_path, "a*") == ["a1.tar.gz", "a2.tgz", "a3.TAR"]
    assert names_of(tmp_path, "?{1..2}.t*") == ["a1.tar.gz", "b1.tar", "a2.tgz"]
    assert names_of(tmp_path, "*.parquet") == ["x.parquet"]


def test_a_name_that_exists_is_taken_as_it_is(tmp_path: Path) -> None:
    made(tmp_path, "a[1]{0..1}.tar")
    assert names_of(tmp_path, "a[1]{0..1}.tar") == ["a[1]{0..1}.tar"]


def test_a_folder_is_what_lies_in_it(tmp_path: Path) -> None:
    made(tmp_path / "t", "0.tar", "0.parquet", "0_stats.json")
    made(tmp_path / "p", "0.parquet", "README.md")
    made(tmp_path / "truth", "truth.parquet", "images/a.png")
    made(tmp_path / "c", "cat/a.png")
    kinds = {
        name: type(open_labelled(str(tmp_path / name), MAX_BYTES))
        for name in ("t", "p", "truth", "c")
    }
    assert kinds == {"t": TarFiles, "p": ParquetFiles, "truth": TruthFolder, "c": ClassFolders}
    assert open_labelled("shapes:5:9", MAX_BYTES) == DrawnShapes(5, 9)
    assert open_labelled("shapes:5", MAX_BYTES) == DrawnShapes(5, 0)


@pytest.mark.parametrize("data", ["nowhere", "nowhere/*.tar", "a.png", "{1..2}", "*.*", "c*"])
def test_anything_else_is_refused_by_its_name(tmp_path: Path, data: str) -> None:
    made(tmp_path, "a.png", "b.tar", "c1/cat/a.png", "c2/cat/a.png")
    with pytest.raises(UsageError) as caught:
        open_labelled(str(tmp_path / data), MAX_BYTES)
    assert ("1" if data == "{1..2}" else data) in str(caught.value)


def test_worker_processes_need_not_load_torch() -> None:
    """They import this package to unpickle their work; torch would take seconds and memory each."""
    code = "import sys, jobs.datasets; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
