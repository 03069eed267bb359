"""What is too much for one picture, and how many may fail, are for a person to say."""

import io
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from dvt import load_model
from jobs import cli
from pipeline.runtime.resource_plan import decode_settings, plan_job
from pipeline.settings import TagSettings
from tests.command_line import SHAPES, dvt, rows


@pytest.mark.usefixtures("ray_session")
def test_a_share_of_failures_ends_a_run_over_tars_whose_images_nobody_counted(
    tmp_path: Path,
) -> None:
    """12 of 20 pictures have more pixels than allowed, and only half of them may fail."""
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number in range(20):
            stream = io.BytesIO()
            size = (64, 64) if number < 8 else (64, 65)
            Image.new("RGB", size, (number, 9, 9)).save(stream, "PNG")
            entry = tarfile.TarInfo(f"{number:02}.png")
            entry.size = stream.tell()
            archive.addfile(entry, io.BytesIO(stream.getvalue()))
    limits = ("--max-pixels", "4096", "--max-errors", "50%")
    done = dvt("tag", *SHAPES, tmp_path / "a.tar", "--out", tmp_path / "out", *limits)
    assert done.code == 3, done.err
    assert done.err.strip().splitlines()[-1].startswith("dvt: max-errors: 12 images failed, at")
    letters = rows(tmp_path / "out" / "dead_letters")
    assert {letter["reason"] for letter in letters} == {"too_large"}
    assert len(letters) == 12


def test_limits_of_a_picture_reach_the_decoders() -> None:
    spec = load_model("shapes").spec
    usual_settings = TagSettings(input=("a",), out="b", model="shapes")
    limits = {"max_pixels": 10, "max_bytes": 20, "decode_seconds": 1.5}
    settings = usual_settings.model_copy(update=limits)
    thresholds = (0.5,) * spec.num_stages
    decode = plan_job(settings, spec, thresholds, "float32").decode
    assert (decode.max_pixels, decode.max_bytes, decode.decode_seconds) == (10, 20, 1.5)
    usual = plan_job(usual_settings, spec, thresholds, "float32").decode
    assert usual == decode_settings(spec)


@pytest.mark.parametrize(
    ("flag", "value", "allowed"),
    [
        ("--max-pixels", "many", "a number of pixels such as 200M"),
        ("--max-bytes", "0", "a size such as 256MiB"),
        ("--decode-seconds", "0", "must be above 0"),
        ("--decode-seconds", "301", "at most stalled-s, 300"),
    ],
)
def test_a_limit_that_is_none_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, flag: str, value: str, allowed: str
) -> None:
    code = cli.run(["tag", *SHAPES, str(tmp_path), "--out", str(tmp_path / "o"), flag, value])
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 2
    assert len(lines) == 1
    assert flag.removeprefix("--") in lines[0]
    assert allowed in lines[0]
