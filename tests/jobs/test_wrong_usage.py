"""Wrong input ends with exit code 2 and one line that says what to do."""

import json
from pathlib import Path

import pytest
from PIL import Image

from jobs import cli
from tests.command_line import SHAPES


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (64, 64), "red").save(folder / "a.png")
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = cli.run([str(argument) for argument in arguments])
    return code, capsys.readouterr().err.strip()


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    code, err = run(capsys, *arguments)
    lines = [line for line in err.splitlines() if not line.startswith("20")]
    assert code == 2, err
    assert len(lines) == 1, err
    return lines[0]


def test_no_such_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = refused(capsys, "tag", *SHAPES, tmp_path / "nowhere", "--out", tmp_path / "o")
    assert "input: no such folder" in line
    assert not (tmp_path / "o").exists()


def test_an_empty_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    line = refused(capsys, "tag", *SHAPES, tmp_path / "empty", "--out", tmp_path / "o")
    assert "no images" in line
    assert not (tmp_path / "o").exists()


def test_an_unknown_model(
    capsys: pytest.CaptureFixture[str], archive: Path, tmp_path: Path
) -> None:
    line = refused(capsys, "tag", archive, "--out", tmp_path / "o", "--model", "resnet")
    assert "'resnet'" in line
    assert "shapes" in line


@pytest.mark.parametrize(
    ("content", "word"),
    [("[0.5]", "2 values"), ('{"thresholds": "high"}', "list of numbers"), ("{", "list of numb")],
)
def test_thresholds_of_the_wrong_length_or_kind(
    capsys: pytest.CaptureFixture[str], archive: Path, tmp_path: Path, content: str, word: str
) -> None:
    path = tmp_path / "t.json"
    path.write_text(content)
    line = refused(capsys, "tag", *SHAPES, archive, "--out", tmp_path / "o", "--thresholds", path)
    assert word in line
    assert not (tmp_path / "o").exists()


def test_an_output_that_is_something_else(
    capsys: pytest.CaptureFixture[str], archive: Path, tmp_path: Path
) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "thesis.tex").touch()
    assert "choose another --out" in refused(
        capsys, "tag", *SHAPES, archive, "--out", tmp_path / "o"
    )


def test_an_output_in_the_way_is_said_before_the_archive_is_looked_into(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "o").write_text("a file")
    line = refused(capsys, "tag", *SHAPES, tmp_path / "nowhere", "--out", tmp_path / "o")
    assert "out: must be a folder" in line


@pytest.mark.usefixtures("ray_session")
def test_an_output_of_another_archive(
    capsys: pytest.CaptureFixture[str], archive: Path, tmp_path: Path
) -> None:
    other = tmp_path / "others"
    other.mkdir()
    (other / "b.png").write_text("not a picture")
    code, err = run(capsys, "tag", *SHAPES, other, "--out", tmp_path / "o")
    assert code == 0, err
    line = refused(capsys, "tag", *SHAPES, archive, "--out", tmp_path / "o")
    assert "another archive" in line
    assert "--overwrite" in line
    thresholds = tmp_path / "t.json"
    thresholds.write_text("[0.1, 0.2]")
    line = refused(
        capsys, "tag", *SHAPES, other, "--out", tmp_path / "o", "--thresholds", thresholds
    )
    assert "holds results of stricter thresholds" in line


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        (["--batch-size", "0"], "batch-size"),
        (["--top-k", "many"], "top-k: must be a whole number (got 'many')"),
        (["--top-k", "0"], "top-k: must be at least 1 (got '0')"),
        (["--decode", "well"], "decode: must be 'exact' or 'fast' (got 'well')"),
        (["--decode-seconds", "301"], "decode-seconds: must be at most stalled-s, 300 (got 301)"),
        (["--max-errors", "200%"], "max-errors: must be a number of images or a share such as 1%"),
        (["--audit", "0%"], "audit"),
        (["--audit", "1"], "audit"),
        (["--no-such-flag"], "no-such-flag"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_a_wrong_flag_is_named_with_its_value(
    capsys: pytest.CaptureFixture[str],
    archive: Path,
    tmp_path: Path,
    flags: list[str],
    field: str,
) -> None:
    assert field in refused(capsys, "tag", *SHAPES, archive, "--out", tmp_path / "o", *flags)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            ["--deadline", "soon", "--max-drop", "1%"],
            "must be a time such as 90s, 45m, 2h or 1h30m",
        ),
        (["--deadline", "2", "--max-drop", "1%"], "must be a time such as"),
        (["--deadline", "2h"], "deadline: needs either max-drop or floor"),
        (["--deadline", "2h", "--max-drop", "1%", "--floor", "95%"], "needs either"),
        (["--deadline", "2h", "--max-drop", "1%", "--full-depth"], "combined with full-depth"),
        (["--deadline", "2h", "--floor", "95%", "--budget", "3M"], "combined with budget"),
        (["--deadline", "2h", "--floor", "95%", "--thresholds", "t.json"], "combined with thresh"),
        (["--floor", "95%"], "floor: applies to deadline only"),
        (["--deadline", "2h", "--floor", "0"], "floor: must be a share between 0 and 100 %"),
        (["--deadline", "2h", "--max-drop", "0.001%"], "takes at least 299,572 images in each"),
    ],
)
def test_a_deadline_needs_one_limit_and_nothing_else_that_sets_thresholds(
    capsys: pytest.CaptureFixture[str], archive: Path, tmp_path: Path, flags: list[str], line: str
) -> None:
    assert line in refused(capsys, "tag", *SHAPES, archive, "--out", tmp_path / "o", *flags)
    assert not (tmp_path / "o").exists()


def test_a_missing_flag_is_named(capsys: pytest.CaptureFixture[str], archive: Path) -> None:
    assert "out: must be given" in refused(capsys, "tag", *SHAPES, archive)


def test_a_yaml_file_may_hold_every_flag_and_an_unknown_key_is_named(
    capsys: pytest.CaptureFixture[str], archive: Path, tmp_path: Path
) -> None:
    config = tmp_path / "job.yaml"
    config.write_text(f"input: {archive}\nout: {tmp_path / 'o'}\nbatch-size: 0\n")
    assert "batch-size" in refused(capsys, "tag", "--config", config)
    config.write_text(f"input: {archive}\nout: {tmp_path / 'o'}\nbatchsize: 8\n")
    assert "batchsize" in refused(capsys, "tag", "--config", config)


def test_json_in_a_yaml_file_counts_like_the_flag(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "job.yaml"
    config.write_text(f"out: {tmp_path / 'a'}\nnum-images: 2\nsize: 32x32\njson: true\n")
    assert cli.run(["shapes", "--config", str(config)]) == 0
    assert json.loads(capsys.readouterr().out)["num_images"] == 2
    config.write_text(f"out: {tmp_path / 'a'}\njson: loud\n")
    assert "json: must be true or false" in refused(capsys, "shapes", "--config", config)


def test_a_report_of_something_else(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "run.json" in refused(capsys, "report", tmp_path)
