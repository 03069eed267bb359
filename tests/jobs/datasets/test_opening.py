"""What may be named as a data set, and what is refused."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.datasets import Sampled, open_labelled, open_pictures
from jobs.datasets.drawn import DrawnShapes
from pipeline.errors import UsageError
from tests.jobs.datasets.conftest import write_tar
from tests.s3 import TestStore


def made(root: Path, *names: str) -> None:
    """Tars and Parquet files of one labelled picture each; other files are empty."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".tar", ".gz", ".tgz"):
            write_tar(path, [("cat/x.jpg", b"x")])
        elif path.suffix == ".parquet":
            pq.write_table(pa.table({"image": [b"x"], "label": ["cat"]}), path)
        else:
            path.touch()


def keys(root: Path, data: str) -> list[str]:
    return [sample.key for sample in open_labelled(str(root / data)).samples()]


def test_ranges_keep_their_leading_zeros_and_may_be_several(tmp_path: Path) -> None:
    made(tmp_path, *(f"{part}/v-{n:02}.tar" for part in (1, 2) for n in range(8, 12)))
    assert keys(tmp_path, "1/v-{09..11}.tar") == [f"v-{n}.tar/cat/x" for n in ("09", "10", "11")]
    assert keys(tmp_path, "{1..2}/v-{08..08}.tar") == ["1/v-08.tar/cat/x", "2/v-08.tar/cat/x"]
    with pytest.raises(UsageError, match=r"v-12\.tar"):
        keys(tmp_path, "1/v-{08..12}.tar")
    with pytest.raises(UsageError, match=r"^data: .*must not go down"):
        keys(tmp_path, "1/v-{11..08}.tar")


def test_globs_are_sorted_and_go_together_with_ranges(tmp_path: Path) -> None:
    made(tmp_path, "b1.tar", "a1.tar.gz", "a2.tgz", "a3.TAR", "x.parquet")
    assert keys(tmp_path, "a*") == [f"{name}/cat/x" for name in ("a1.tar.gz", "a2.tgz", "a3.TAR")]
    assert keys(tmp_path, "?{1..2}.t*") == [
        f"{name}/cat/x" for name in ("a1.tar.gz", "a2.tgz", "b1.tar")
    ]
    assert keys(tmp_path, "*.parquet") == ["x.parquet/0"]


def test_a_name_that_exists_is_taken_as_it_is(tmp_path: Path) -> None:
    made(tmp_path, "a[1]{0..1}.tar")
    assert keys(tmp_path, "a[1]{0..1}.tar") == ["a[1]{0..1}.tar/cat/x"]


def test_a_folder_is_what_lies_in_it(tmp_path: Path) -> None:
    made(tmp_path / "t", "0.tar", "0.parquet", "0_stats.json")
    made(tmp_path / "p", "0.parquet", "README.md")
    made(tmp_path / "truth", "images/a.png", "images/b.png")
    pq.write_table(pa.table({"key": ["a.png"], "label": ["cat"]}), tmp_path / "truth/truth.parquet")
    made(tmp_path / "c", "cat/a.png", "README.md")
    assert keys(tmp_path, "t") == ["0.tar/cat/x"]
    assert keys(tmp_path, "p") == ["0.parquet/0"]
    assert keys(tmp_path, "truth") == ["a.png"]
    assert keys(tmp_path, "c") == ["cat/a.png"]
    assert open_labelled("shapes:5:9") == DrawnShapes(5, 9)
    assert open_labelled("shapes:5") == DrawnShapes(5, 0)


def test_data_sets_may_lie_on_s3(s3: TestStore, tmp_path: Path) -> None:
    made(tmp_path, "0.tar", "truth.parquet")
    pq.write_table(pa.table({"key": ["a.png"], "label": ["dog"]}), tmp_path / "truth.parquet")
    bucket = s3.new_bucket()
    truth = (tmp_path / "truth.parquet").read_bytes()
    s3.put(bucket, {"tars/0.tar": (tmp_path / "0.tar").read_bytes()})
    s3.put(bucket, {"shapes/truth.parquet": truth, "shapes/images/a.png": b"x"})
    found = {
        (sample.key, sample.label.text)
        for name in ("tars", "shapes")
        for sample in open_labelled(f"s3://{bucket}/{name}").samples()
    }
    assert found == {("0.tar/cat/x", "cat"), ("a.png", "dog")}


def test_without_labels_any_archive_is_a_set_of_pictures(tmp_path: Path) -> None:
    made(tmp_path / "c", "cat/a.png", "loose.png")
    made(tmp_path / "truth", "images/a.png", "images/b.png")
    pq.write_table(pa.table({"key": ["a.png"], "label": ["cat"]}), tmp_path / "truth/truth.parquet")
    for name, expected in (("c", ["cat/a.png", "loose.png"]), ("truth", ["a.png", "b.png"])):
        source = open_pictures(str(tmp_path / name))
        assert [sample.key for sample in source.samples()] == expected


def test_a_sample_is_drawn_by_keys_and_keeps_the_order_of_the_data(tmp_path: Path) -> None:
    made(tmp_path, *(f"cat/{n:03}.png" for n in range(100)))
    source = open_labelled(str(tmp_path))
    drawn = [sample.key for sample in Sampled(source, 10).samples()]
    assert drawn == sorted(drawn)
    assert len(set(drawn)) == 10
    assert set(drawn) < {sample.key for sample in Sampled(source, 20).samples()}
    assert len(list(Sampled(source, 1000).samples())) == 100


@pytest.mark.parametrize("data", ["nowhere", "nowhere/*.tar", "a.png", "{1..2}", "*.*", "c*"])
def test_anything_else_is_refused_by_its_name(tmp_path: Path, data: str) -> None:
    made(tmp_path, "a.png", "b.tar", "c1/cat/a.png", "c2/cat/a.png")
    with pytest.raises(UsageError, match=r"^data: ") as caught:
        open_labelled(str(tmp_path / data))
    assert ("1" if data == "{1..2}" else data) in str(caught.value)


def test_worker_processes_need_not_load_torch() -> None:
    """They import this package to unpickle their work; torch would take seconds and memory each."""
    code = "import sys, jobs.datasets; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
