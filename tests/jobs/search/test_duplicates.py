"""`dvt duplicates` on made-up tags with planted copies."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from benchmarks.made_up_tags import MadeUpOutput, made_up_keys
from jobs.index.update import update_index
from jobs.search import near_pairs
from jobs.search.near_pairs import components
from tests.command_line import dvt, rows, succeeded

KEYS = made_up_keys(800)
COPIED = KEYS[5:600:30]


class WithCopies(MadeUpOutput):
    """Keys such as a.jpg-copy2 have the vector of a.jpg, slightly changed."""

    def _rows(self, keys: Sequence[str], generation: int) -> pa.Table:
        table = super()._rows(keys, generation)
        vectors = np.array(table["embedding"].to_pylist(), dtype=np.float32)
        numbers = {key: number for number, key in enumerate(keys)}
        noise = np.random.default_rng(1).standard_normal(vectors.shape).astype(np.float32)
        for key, number in numbers.items():
            if "-copy" in key:
                vectors[number] = vectors[numbers[key.partition("-copy")[0]]] + 0.01 * noise[number]
        place = table.schema.get_field_index("embedding")
        column = pa.array(vectors.tolist(), pa.list_(pa.float32()))
        return table.set_column(place, table.schema.field(place), column)


def copies_of(key: str) -> list[str]:
    return [f"{key}-copy{number}" for number in range(1 + COPIED.index(key) % 3)]


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("duplicates")
    out = WithCopies(folder / "out")
    out.write(sorted([*KEYS, *(copy for key in COPIED for copy in copies_of(key))]))
    update_index(out.folder, folder / "index", "lancedb")
    return folder / "index", out.folder


@pytest.mark.parametrize("rows_per_cell", [4096, 100])
def test_planted_copies_are_grouped_with_the_best_first(
    made_up: tuple[Path, Path], tmp_path: Path, rows_per_cell: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_pairs, "_ROWS_PER_CELL", rows_per_cell)
    monkeypatch.setattr(near_pairs, "_MAX_ROWS", 4 * rows_per_cell)
    monkeypatch.setattr(near_pairs, "_BLOCK_ROWS", 64)
    monkeypatch.setattr(near_pairs, "_BLOCK_COLUMNS", 96)
    index, out = made_up
    file = tmp_path / "new" / "duplicates.parquet"
    done = succeeded(dvt("duplicates", index, "--to", file, "--json")).json
    found = pq.read_table(file).to_pylist()
    tags = {row["key"]: row for row in rows(out / "tags")}
    assert (done["images"], done["groups"]) == (len(tags), len(COPIED))
    assert done["duplicates"] == sum(len(copies_of(key)) for key in COPIED)
    groups: dict[int, list[dict[str, object]]] = {}
    for row in found:
        groups.setdefault(row["group"], []).append(row)
    assert {frozenset(str(row["key"]) for row in group) for group in groups.values()} == {
        frozenset([key, *copies_of(key)]) for key in COPIED
    }

    def size(key: object) -> tuple[int, int]:
        tag = tags[str(key)]
        return tag["width"] * tag["height"], int(tag["etag"].partition("-")[0], 16)

    for group in groups.values():
        assert [row["best"] for row in group] == [True] + [False] * (len(group) - 1)
        sizes = [size(row["key"]) for row in group]
        assert sizes == sorted(sizes, reverse=True)
        assert all(float(str(row["similarity"])) > 0.95 for row in group)


def test_csv_and_a_bound_that_nothing_reaches(made_up: tuple[Path, Path], tmp_path: Path) -> None:
    index, _ = made_up
    file = tmp_path / "duplicates.csv"
    succeeded(dvt("duplicates", index, "--to", file))
    assert pa_csv.read_csv(file).num_rows == len(COPIED) + sum(map(len, map(copies_of, COPIED)))
    done = succeeded(dvt("duplicates", index, "--to", file, "--min-similarity", 1.0))
    assert "0 groups of near-duplicates" in done.out
    assert len(file.read_text(encoding="utf-8").splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["duplicates.csv"]


def test_wrong_calls_are_one_line(made_up: tuple[Path, Path], tmp_path: Path) -> None:
    index, _ = made_up
    out = MadeUpOutput(tmp_path / "out", width=0)
    out.write(KEYS[:9])
    update_index(out.folder, tmp_path / "index", "lancedb")
    for arguments, message in [
        ([index, "--to", "x.txt"], "to: must end with .parquet or .csv"),
        ([index, "--to", "x.csv", "--min-similarity", 2], "min-similarity"),
        ([tmp_path / "index", "--to", "x.csv"], "it is an index of words only"),
    ]:
        done = dvt("duplicates", *arguments)
        assert (done.code, len(done.err.splitlines())) == (2, 1)
        assert message in done.err


def test_components_are_those_of_the_pairs() -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        left, right = random.integers(0, 60, (2, 40))
        expected = np.arange(60)
        for _ in range(60):
            for a, b in zip(left, right, strict=True):
                expected[[a, b]] = min(expected[a], expected[b])
        found = components(60, iter([(left[:15], right[:15]), (left[15:], right[15:])]))
        assert found.tolist() == expected.tolist()


def test_images_without_vectors_are_left_out(tmp_path: Path) -> None:
    class HardlyAnyVectors(MadeUpOutput):
        def _rows(self, keys: Sequence[str], generation: int) -> pa.Table:
            table = super()._rows(keys, generation)
            place = table.schema.get_field_index("embedding")
            vectors: list[list[float] | None] = [None] * len(keys)
            vectors[700] = vectors[1500] = table["embedding"][700].as_py()
            column = pa.array(vectors, pa.list_(pa.float32()))
            return table.set_column(place, table.schema.field(place), column)

    out = HardlyAnyVectors(tmp_path / "out", width=8)
    keys = made_up_keys(2000)
    out.write(keys)
    update_index(out.folder, tmp_path / "index", "lancedb")
    file = tmp_path / "duplicates.parquet"
    done = succeeded(dvt("duplicates", tmp_path / "index", "--to", file, "--json")).json
    assert (done["images"], done["groups"]) == (2, 1)
    assert set(pq.read_table(file)["key"].to_pylist()) == {keys[700], keys[1500]}


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float16]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths, dtype=np.float16)


@pytest.fixture
def small_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_pairs, "_ROWS_PER_CELL", 50)
    monkeypatch.setattr(near_pairs, "_MAX_ROWS", 200)
    monkeypatch.setattr(near_pairs, "_BATCH_ROWS", 300)


@pytest.mark.usefixtures("small_cells")
def test_cells_find_nearly_all_near_pairs() -> None:
    random = np.random.default_rng(4)
    base = random.standard_normal((1000, 32))
    vectors = unit(np.concatenate([base, base + 0.05 * random.standard_normal(base.shape)]))
    roots = components(2000, near_pairs.near_pairs(vectors, 0.95))
    assert np.mean(roots[:1000] == roots[1000:]) > 0.97
    assert len(np.unique(roots)) >= 1000


def test_equal_vectors_are_not_compared_with_each_other() -> None:
    random = np.random.default_rng(5)
    vectors = unit(random.standard_normal((100_000, 8)))
    vectors[1:99_000] = vectors[0]
    vectors[99_999] = vectors[99_998]
    pairs = list(near_pairs.near_pairs(vectors, 1.1))
    assert sum(len(left) for left, _ in pairs) == 99_000
    roots = components(len(vectors), iter(pairs))
    assert roots.tolist() == [0] * 99_000 + [*range(99_000, 99_999), 99_998]


def test_equal_hashes_are_not_yet_equal_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = unit(np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 1.0], [1.0, 2.0]]))
    assert near_pairs._firsts(vectors).tolist() == [0, 1, 1, 0]
    sums = np.unique
    monkeypatch.setattr(np, "unique", lambda hashes, **options: sums(hashes * 0, **options))
    assert near_pairs._firsts(vectors).tolist() == [0, 1, 2, 0]


@pytest.mark.usefixtures("small_cells")
@pytest.mark.parametrize("has_useless_centres", [False, True])
def test_a_crowd_of_near_vectors_is_divided(
    has_useless_centres: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(6)
    crowd = 1.0 + 0.05 * random.standard_normal((3000, 16))
    vectors = unit(np.concatenate([crowd, random.standard_normal((500, 16))]))
    if has_useless_centres:
        monkeypatch.setattr(near_pairs, "_centres", lambda *_: np.ones((2, 16), np.float32))
    rows = np.arange(len(vectors))
    sizes = [len(own) + len(visiting) for own, visiting in near_pairs._cells(vectors, rows)]
    assert max(sizes) <= 200
    assert sum(sizes) < 8 * len(vectors)
    roots = components(len(vectors), near_pairs.near_pairs(vectors, 0.98))
    assert np.mean(roots[:3000] == 0) > 0.99
    assert len(np.unique(roots[3000:])) > 450
