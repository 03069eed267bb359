"""Files that crash, hang or exhaust their decoder, in real processes."""

import io
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from PIL import Image

from pipeline.decoding import DecodedSize, DecodeSettings, IsolatedDecoder, decode
from pipeline.errors import ImageError, PipelineError, Reason
from pipeline.records import ImageRecord
from pipeline.runtime.actors.decode import DecodeActor
from pipeline.sources.fetching import ArchiveFetcher
from pipeline.storage.s3_connection import S3Options
from tests.pipeline.decoding.crashing_child import MAGIC

SETTINGS = DecodeSettings(resize=64, crop=48, decode_seconds=1.0, memory_limit_bytes=2**30)
CRASHING = "tests.pipeline.decoding.crashing_child"


def picture(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (80 + number, 60), (number, 255 - number, 128)).save(stream, "PNG")
    return stream.getvalue()


def bad(what: str) -> bytes:
    return MAGIC + what.encode()


@pytest.fixture(scope="module")
def decoder() -> Iterator[IsolatedDecoder]:
    made = IsolatedDecoder(SETTINGS, CRASHING)
    yield made
    made.close()


def outcomes_of(decoder: IsolatedDecoder, contents: list[bytes]) -> list[str | None]:
    """Details of the errors; checks that all else has its own pixels and size."""
    pixels, outcomes = decoder.decode_all(contents, len(contents))
    taken = iter(pixels)
    details: list[str | None] = []
    for content, outcome in zip(contents, outcomes, strict=True):
        if isinstance(outcome, ImageError):
            details.append(outcome.detail)
            continue
        details.append(None)
        expected = decode(content, SETTINGS) if not content.startswith(MAGIC) else None
        got = next(taken)
        if expected is not None:
            np.testing.assert_array_equal(got, expected.pixels)
            assert outcome == DecodedSize(expected.width, expected.height)
    assert next(taken, None) is None
    return details


def test_pixels_and_sizes_are_those_of_the_decoder_in_this_process(
    decoder: IsolatedDecoder,
) -> None:
    assert outcomes_of(decoder, [picture(n) for n in range(40)]) == [None] * 40
    assert outcomes_of(decoder, [picture(n) for n in range(100)]) == [None] * 100
    assert outcomes_of(decoder, []) == []


@pytest.mark.parametrize(
    ("what", "detail"),
    [
        ("crash", "it crashed its decoder twice (Segmentation fault)"),
        ("abort", "it crashed its decoder twice (Aborted)"),
        ("hang", "decoding it took longer than 1 s"),
        ("memory", "not enough memory to decode it"),
    ],
)
@pytest.mark.parametrize("place", [0, 9])
def test_a_file_that_ends_its_decoder_costs_itself_and_little_time(
    decoder: IsolatedDecoder, what: str, detail: str, place: int
) -> None:
    contents = [picture(n) for n in range(16)]
    contents[place] = bad(what)
    expected: list[str | None] = [None] * 16
    expected[place] = detail
    started = time.monotonic()
    assert outcomes_of(decoder, contents) == expected
    assert time.monotonic() - started < 20


def test_bad_files_side_by_side_are_all_found(decoder: IsolatedDecoder) -> None:
    contents = [bad("crash"), bad("crash"), picture(1), bad("hang"), b"", bad("abort")]
    details = outcomes_of(decoder, contents)
    assert [detail is None for detail in details] == [False, False, True, False, False, False]
    assert outcomes_of(decoder, [picture(3)]) == [None]


def test_a_file_that_crashes_a_decoder_once_is_tried_again_and_keeps_its_place(
    decoder: IsolatedDecoder, tmp_path: Path
) -> None:
    contents = [picture(1), bad(f"crash once at {tmp_path / 'mark'}"), picture(2), picture(3)]
    assert outcomes_of(decoder, contents) == [None] * 4


def test_files_larger_than_the_pipe_pass_and_are_sent_again_after_a_crash(
    decoder: IsolatedDecoder,
) -> None:
    long = picture(5) + bytes(5_000_000)
    assert outcomes_of(decoder, [long, bad("crash"), long, long])[1] is not None
    assert outcomes_of(decoder, [long] * 3) == [None] * 3


def test_the_next_file_is_fetched_while_one_is_decoded(decoder: IsolatedDecoder) -> None:
    taken: list[float] = []

    def contents() -> Iterable[bytes]:
        for content in (bad("hang"), picture(1), picture(2)):
            taken.append(time.monotonic())
            yield content

    decoder.decode_all(contents(), 3)
    assert taken[2] - taken[0] < SETTINGS.decode_seconds / 2


def test_an_error_of_the_source_leaves_no_pending_responses(decoder: IsolatedDecoder) -> None:
    def contents() -> Iterable[bytes]:
        yield picture(1)
        raise RuntimeError("of the source")

    with pytest.raises(RuntimeError, match="of the source"):
        decoder.decode_all(contents(), 2)
    assert outcomes_of(decoder, [picture(2)]) == [None]


def test_a_child_that_does_not_start_is_an_error_and_no_dead_letter() -> None:
    decoder = IsolatedDecoder(SETTINGS, "pipeline.no_such_module")
    with pytest.raises(PipelineError, match="no_such_module"):
        decoder.decode_all([picture(1)], 1)


@pytest.mark.usefixtures("ray_session")
def test_the_actor_reports_such_files_as_dead_letters_and_goes_on(tmp_path: Path) -> None:
    contents = [picture(1), bad("crash"), picture(2), bad("hang"), picture(3)]
    images = []
    for number, content in enumerate(contents):
        (tmp_path / f"{number}").write_bytes(content)
        uri = (tmp_path / f"{number}").as_uri()
        images.append(ImageRecord(f"{number}", uri, len(content)))
    images.append(ImageRecord("gone", (tmp_path / "gone").as_uri(), 0))
    remote: Any = ray.remote(DecodeActor)
    actor = remote.remote(ArchiveFetcher(S3Options()), SETTINGS, child=CRASHING)
    decoded, result = actor.decode.remote(images, "a-shard")
    block, outcome = ray.get([decoded, result], timeout=120)
    assert outcome.decoded_rows == [0, 2, 4]
    assert [letter.key for letter in outcome.unpredicted] == ["1", "3", "gone"]
    assert {letter.reason for letter in outcome.unpredicted[:2]} == {Reason.UNREADABLE}
    assert block.pixels.shape == (3, 48, 48, 3)
    assert block.info.column("width").to_pylist() == [81, 82, 83]
