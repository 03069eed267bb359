"""Parquet files with pictures or with their URIs."""

import datetime
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ImageError, UsageError
from pipeline.sources import Archive, SourceOptions, open_archive
from pipeline.sources.sharding import cut_shards
from tests.s3 import TestStore


def fetched(archive: Archive, max_bytes: int = 2**24) -> dict[str, bytes | ImageError]:
    images = list(archive.list_images())
    fetcher = pickle.loads(pickle.dumps(archive.fetcher))
    return dict(
        zip((image.key for image in images), fetcher.fetch_all(images, max_bytes), strict=True)
    )


PICTURES = [bytes([n]) * (200 * n + 1) for n in range(100)]


@pytest.mark.parametrize("place", ["local", "s3"])
@pytest.mark.parametrize("kind", ["binary", "large", "struct", "dictionary", "view"])
def test_bytes_in_rows_are_read_in_any_order_of_row_groups(
    s3: TestStore, tmp_path: Path, place: str, kind: str
) -> None:
    image = {
        "binary": pa.array(PICTURES, pa.binary()),
        "large": pa.array(PICTURES, pa.large_binary()),
        "struct": pa.array([{"bytes": content, "path": None} for content in PICTURES]),
        "view": pa.array(PICTURES, pa.binary_view()),
        "dictionary": pa.array(PICTURES, pa.binary()).dictionary_encode(),
    }[kind]
    pq.write_table(pa.table({"image": image}), tmp_path / "a.parquet", row_group_size=30)
    location = str(tmp_path / "a.parquet")
    if place == "s3":
        bucket = s3.new_bucket()
        s3.put(bucket, {"d/a.parquet": (tmp_path / "a.parquet").read_bytes()})
        location = f"s3://{bucket}/d/"
    archive = open_archive([location])
    assert fetched(archive) == {f"a.parquet/{n}": content for n, content in enumerate(PICTURES)}
    assert archive.is_cheap_to_list
    images = list(archive.list_images())[::-1]
    assert list(archive.fetcher.fetch_all(images, 2**20)) == PICTURES[::-1]
    shards = list(cut_shards(archive.list_images(), mean_length=10**9))
    assert [len(shard.images) for shard in shards] == [30, 30, 30, 10], "row groups are shards"


def test_uris_in_rows_are_fetched_wherever_they_lead(s3: TestStore, tmp_path: Path) -> None:
    bucket = s3.new_bucket()
    s3.put(bucket, {"x.jpg": b"on s3"})
    (tmp_path / "here.jpg").write_bytes(b"here")
    uris = [f"s3://{bucket}/x.jpg", str(tmp_path / "here.jpg"), "here.jpg", "http://a/b", None]
    keys = ["one", "two", "three", "four", "five"]
    pq.write_table(pa.table({"uri": uris, "key": keys}), tmp_path / "list.parquet")
    got = fetched(open_archive([str(tmp_path / "list.parquet")]))
    assert (got["one"], got["two"], got["three"]) == (b"on s3", b"here", b"here")
    assert "'http' is not a readable scheme" in str(got["four"])
    assert "names no URI" in str(got["five"])


def test_keys_uris_bytes_and_kept_columns_may_have_any_binary_or_text_type(tmp_path: Path) -> None:
    table = pa.table(
        {
            "image": pa.array([b"1234", b"5678"], pa.binary(4)),
            "key": pa.array(["a", "b"], pa.string_view()),
            "text": pa.array(["x", None], pa.string_view()),
            "place": pa.array(["x", "y"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    options = SourceOptions(keep_columns=("text", "place"))
    archive = open_archive([str(tmp_path / "a.parquet")], options)
    assert fetched(archive) == {"a": b"1234", "b": b"5678"}
    assert [image.kept for image in archive.list_images()] == [("x", "x"), (None, "y")]
    (tmp_path / "1.jpg").write_bytes(b"one")
    for kind in (pa.string_view(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        uris = pa.table({"url": pa.array(["1.jpg"]).cast(kind)})
        pq.write_table(uris, tmp_path / "b.parquet")
        assert fetched(open_archive([str(tmp_path / "b.parquet")])) == {"b.parquet/0": b"one"}


def test_images_of_hugging_face_without_bytes_are_read_by_their_paths(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "1.jpg").write_bytes(b"one")
    rows = [
        {"bytes": None, "path": "files/1.jpg"},
        {"bytes": None, "path": None},
        {"bytes": b"two", "path": "two.jpg"},
        {"bytes": b"", "path": "files/1.jpg"},
    ]
    table = pa.table({"image": pa.array(rows, kind)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    got = fetched(open_archive([str(tmp_path / "a.parquet")]))
    assert got.pop("a.parquet/0") == b"one"
    assert "names no URI" in str(got.pop("a.parquet/1"))
    assert got == {"a.parquet/2": b"two", "a.parquet/3": b""}


def test_rows_of_hugging_face_without_bytes_beside_others_are_read_by_their_paths(
    tmp_path: Path,
) -> None:
    (tmp_path / "1.jpg").write_bytes(b"one")
    rows = [
        *({"bytes": b"zero", "path": "0.jpg"}, {"bytes": None, "path": "1.jpg"}),
        *({"bytes": None, "path": "gone.jpg"}, {"bytes": None, "path": ""}, None),
    ]
    pq.write_table(pa.table({"image": rows * 9, "caption": ["x"] * 45}), tmp_path / "a.parquet")
    archive = open_archive([str(tmp_path / "a.parquet")], SourceOptions(keep_columns=("caption",)))
    got = list(fetched(archive).values())
    assert got[0::5] == [b"zero"] * 9
    assert got[1::5] == [b"one"] * 9
    assert all("No such file" in str(error) for error in got[2::5])
    assert "holds no bytes" in str(got[3])
    assert "holds no bytes" in str(got[4])


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_texts_in_the_encodings_of_other_writers_are_read(tmp_path: Path, encoding: str) -> None:
    keys = [f"{number:03}" for number in range(100)]
    captions = [*keys[:-1], "x" * 2**17]
    table = pa.table({"image": keys, "key": keys, "caption": captions})
    table = table.set_column(0, "image", table["image"].cast("binary"))
    columns = dict.fromkeys(("image", "key", "caption"), encoding)
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, use_dictionary=False, column_encoding=columns, row_group_size=60)
    archive = open_archive([str(path)], SourceOptions(keep_columns=("caption",)))
    images = list(archive.list_images())
    assert [image.kept for image in images[:-1]] == [(key,) for key in keys[:-1]]
    got = list(archive.fetcher.fetch_all(images, 2**20))
    assert got[:-1] == [key.encode() for key in keys[:-1]]
    assert "column caption holds more" in str(got[-1])


def test_columns_are_kept_on_request_in_types_that_tags_can_hold(tmp_path: Path) -> None:
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5)
    table = pa.table(
        {
            "image": [b"a", b"b"],
            "label": ["cat", None],
            "n": pa.array([1, 2**32 - 1], pa.uint32()),
            "when": pa.array([moment, None], pa.timestamp("ns")),
            "place": pa.array(["x", "y"]).dictionary_encode(),
            "tags": [["a"], ["b"]],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table.select(["image", "n"]), tmp_path / "b.parquet")
    options = SourceOptions(keep_columns=("label", "n", "when", "place"))
    archive = open_archive([str(tmp_path)], options)
    assert archive.kept == pa.schema(
        {
            "input_label": pa.string(),
            "n": pa.int64(),
            "when": pa.timestamp("us"),
            "place": pa.string(),
        }.items()
    )
    kept = [image.kept for image in archive.list_images()]
    assert kept == [
        ("cat", 1, moment, "x"),
        (None, 2**32 - 1, None, "y"),
        (None, 1, None, None),
        (None, 2**32 - 1, None, None),
    ]
    for name, word in (("nope", "has no column 'nope'"), ("tags", "allowed are numbers, text")):
        with pytest.raises(UsageError, match=f"^keep-columns: .*{word}"):
            open_archive([str(tmp_path / "a.parquet")], SourceOptions(keep_columns=(name,)))
    (tmp_path / "a.jpg").touch()
    with pytest.raises(UsageError, match="only Parquet files have columns"):
        open_archive([str(tmp_path / "a.jpg")], SourceOptions(keep_columns=("n",)))


def test_repeated_keys_get_file_and_row_appended(tmp_path: Path) -> None:
    for name in ("a", "b"):
        table = pa.table({"image": [b"1", b"2", b"3"], "key": ["x", "x", None]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    got = fetched(open_archive([str(tmp_path)]))
    assert list(got) == [
        *("x", "x~a.parquet/1", "a.parquet/2"),
        *("x~b.parquet/0", "x~b.parquet/1", "b.parquet/2"),
    ]


def test_rows_that_hold_nothing_or_too_much_fail_alone(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"a", None, b"b" * 999, b"c"]}), tmp_path / "a.parquet")
    got = fetched(open_archive([str(tmp_path / "a.parquet")]), max_bytes=500)
    assert (got["a.parquet/0"], got["a.parquet/3"]) == (b"a", b"c")
    assert "holds no bytes" in str(got["a.parquet/1"])
    assert "999 bytes, at most 500" in str(got["a.parquet/2"])


def test_damage_in_a_row_group_costs_only_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pictures = [bytes([n, n + 1]) * 5000 for n in range(40)]
    pq.write_table(pa.table({"image": pictures}), path, row_group_size=10, compression="zstd")
    group = pq.ParquetFile(path).metadata.row_group(1).column(0)
    start = group.dictionary_page_offset or group.data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + group.total_compressed_size] = b"\xff" * group.total_compressed_size
    path.write_bytes(content)
    got = list(fetched(open_archive([str(path)])).values())
    assert got[:10] + got[20:] == pictures[:10] + pictures[20:]
    assert all(isinstance(lost, ImageError) for lost in got[10:20])


def test_a_damaged_file_beside_good_ones_is_one_dead_letter(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"a"]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 but no more")
    pq.write_table(pa.table({"caption": ["a"]}), tmp_path / "c.parquet")
    got = fetched(open_archive([str(tmp_path)]))
    assert got.pop("a.parquet/0") == b"a"
    assert set(got) == {"b.parquet/", "c.parquet/"}
    assert "must have a column of bytes" in str(got["c.parquet/"])


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"PAR1", "no readable Parquet file"), (None, "must have a column of")],
)
def test_a_single_file_that_cannot_be_used_is_refused(
    tmp_path: Path, content: bytes | None, word: str
) -> None:
    path = tmp_path / "a.parquet"
    if content is None:
        pq.write_table(pa.table({"caption": ["a"]}), path)
    else:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=f"^input: .*{word}"):
        open_archive([str(path)])
