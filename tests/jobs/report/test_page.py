"""The page shows the data in every state of an output, and no string can break out of it."""

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs.report import build_report, render_html, write_report
from jobs.report.formatting import duration, gmacs, percent
from pipeline.deadline.log import ThresholdLog
from pipeline.errors import UsageError
from pipeline.logs import visible
from pipeline.storage import open_output_store

MakeOutput = Callable[..., Path]

HOSTILE = "a\"b'</td><script>alert(1)</script>\u202egpj.exe\nnext & more"


class Elements(HTMLParser):
    """Collects tags, attributes and text as a browser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def replace_column(table: pa.Table, column: str, value: str) -> pa.Table:
    index = table.schema.get_field_index(column)
    return table.set_column(index, column, pa.array([value] * table.num_rows))


def test_the_headline_says_how_many_exited_first_and_the_cost(
    make_output: MakeOutput, tags: pa.Table
) -> None:
    data = build_report(make_output(tags))
    first = data.exits[0].num_images / data.num_tagged
    assert data.compute.ratio is not None
    assert (
        f"{100 * first:.0f}\u00a0% of the images exited at the first stage; compute was "
        f"{data.compute.ratio:.2f} of full depth."
    ) in render_html(data)


def test_a_cascade_of_members_is_also_compared_with_its_last_member_alone(
    make_output: MakeOutput, tags: pa.Table
) -> None:
    data = build_report(make_output(tags))
    per_image = data.compute.per_image
    assert per_image is not None
    model = data.run.model.model_copy(update={"last_member": ("large", 4 * per_image)})
    html = render_html(replace(data, run=data.run.model_copy(update={"model": model})))
    assert "; 75.0\u00a0% against large alone" in Elements(html).text
    assert "alone" not in Elements(render_html(data)).text


def test_the_page_has_no_scripts_and_no_external_resources(
    make_output: MakeOutput, tags: pa.Table, dead_letters: pa.Table
) -> None:
    shards = pa.table(
        {
            "run": ["a"] * 4,
            "elapsed_s": [1.0, 2.0, 3.0, 4.0],
            "num_images": [9, 9, 9, 9],
            "num_other_files": [0, 0, 0, 0],
        }
    )
    page = Elements(render_html(build_report(make_output(tags, dead_letters, shards))))
    assert not {"script", "link", "iframe", "object", "use", "image"} & set(page.names)
    sources = [value or "" for name, value in page.attributes if name in ("src", "href")]
    assert len(sources) == 24
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert page.names.count("svg") >= 6
    assert "Throughput of the last run" in page.text


def test_other_files_are_listed_by_kind_and_are_no_images(
    make_output: MakeOutput, tags: pa.Table
) -> None:
    kinds = ["video", "sidecar", "sidecar", "sidecar", "sidecar", "text"]
    keys = [f"other/{number}" for number in (0, 4, 3, 2, 1, 5)]
    summary = {"images": 906, "seconds": 4000.0, "images_per_second": 0.225}
    others = pa.table({"key": keys, "kind": kinds})
    data = build_report(make_output(tags, other_files=others, summary=summary))
    assert (data.num_images, data.num_other_files, data.finished) == (900, 6, True)
    page = Elements(render_html(data))
    assert "900in the archive, beside 6 other files" in page.text
    shown = page.text[page.text.index("6 files of the archive are no pictures") :]
    parts = ("sidecar4other/1, other/2, other/3, …", "text1other/5", "video1other/0")
    places = [shown.index(part) for part in parts]
    assert places == sorted(places)


def test_hostile_strings_stay_text(
    make_output: MakeOutput, tags: pa.Table, dead_letters: pa.Table
) -> None:
    for column in ("key", "label", "uri"):
        tags = replace_column(tags, column, HOSTILE)
    for column in ("key", "reason", "detail"):
        dead_letters = replace_column(dead_letters, column, HOSTILE)
    out = make_output(
        tags,
        dead_letters,
        other_files=pa.table({"key": [HOSTILE], "kind": [HOSTILE]}),
        inputs=[HOSTILE],
        versions={HOSTILE: HOSTILE},
        hardware={"cpu": HOSTILE, "num_cpus": 2, "gpus": [HOSTILE]},
        model={
            "name": HOSTILE,
            "digest": HOSTILE,
            "num_classes": 25,
            "stages": ["4x4 tokens", "6x6 tokens", "8x8 tokens"],
            "gmacs_per_exit": [1.0, 2.5, 5.0],
        },
    )
    html = render_html(build_report(out))
    page = Elements(html)
    assert "script" not in page.names
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "\u202e" not in html
    # Spelled out, not dropped: the reader can still find the file.
    assert "a\"b'</td><script>alert(1)</script>\\u{202e}gpj.exe\\u{000a}next & more" in page.text


def test_right_to_left_names_are_shown_as_they_are() -> None:
    assert visible("תמונה 👩\u200d🔬 é") == "תמונה 👩\u200d🔬 é"


def test_a_missing_dead_letters_table_means_none(make_output: MakeOutput, tags: pa.Table) -> None:
    html = render_html(build_report(make_output(tags)))
    assert "None: every image that was read has a tag." in html


@pytest.mark.parametrize("with_table", [True, False])
def test_empty_tags_make_a_page(make_output: MakeOutput, tags: pa.Table, with_table: bool) -> None:
    html = render_html(build_report(make_output(tags.slice(0, 0) if with_table else None)))
    assert "No images are tagged yet." in html
    assert "Easiest images" not in html


def test_an_unfinished_run_says_so(make_output: MakeOutput, tags: pa.Table) -> None:
    assert "Unfinished run" in render_html(build_report(make_output(tags)))


def test_a_finished_run_does_not(make_output: MakeOutput, tags: pa.Table) -> None:
    summary = {"images": 900, "seconds": 4000.0, "images_per_second": 0.225}
    html = render_html(build_report(make_output(tags, summary=summary)))
    assert "Unfinished run" not in html
    assert "1\u00a0h 7\u00a0min" in html


def test_a_full_depth_run_shows_no_thresholds(make_output: MakeOutput, tags: pa.Table) -> None:
    deep = tags.filter(pc.equal(tags["exit_stage"], 3))
    html = render_html(build_report(make_output(deep, thresholds=[2.0, 2.0])))
    assert "No image exited at the first stage; compute was 1.00 of full depth." in html
    assert "none (full depth)" in html
    assert 'class="threshold"' not in html


@pytest.mark.parametrize("cost", [0.1, 0.7, 2.709])
def test_full_depth_saves_exactly_nothing_in_spite_of_float32_costs(
    make_output: MakeOutput, tags: pa.Table, cost: float
) -> None:
    """The table has float32: 0.1 is stored as 0.10000000149, 0.7 as 0.69999998."""
    deep = tags.filter(pc.equal(tags["exit_stage"], 3))
    column = deep.schema.get_field_index("gmacs")
    deep = deep.set_column(column, "gmacs", pa.array([cost] * deep.num_rows, pa.float32()))
    model = {
        "name": "m",
        "digest": "d",
        "num_classes": 25,
        "stages": ["4x4 tokens", "6x6 tokens", "8x8 tokens"],
    }
    costs = [cost / 4, cost / 2, cost]
    out = make_output(deep, model=model | {"gmacs_per_exit": costs}, thresholds=[2.0, 2.0])
    saved = Elements(render_html(build_report(out))).text.partition("Compute saved")[2]
    assert saved.startswith("0.0\u00a0%of the MACs of full depth")


def test_an_image_that_is_gone_becomes_a_placeholder(
    make_output: MakeOutput, tags: pa.Table, pictures: list[Path]
) -> None:
    for picture in pictures:
        picture.unlink()
    html = render_html(build_report(make_output(tags)))
    assert html.count("no longer there") == 24
    assert "<img" not in html


def test_time_saved_is_not_claimed(make_output: MakeOutput, tags: pa.Table) -> None:
    html = render_html(build_report(make_output(tags)))
    assert "no full-depth run was timed here" in html


def test_the_report_is_replaced_in_one_step(make_output: MakeOutput, tags: pa.Table) -> None:
    out = make_output(tags)
    (out / "report.html").write_text("old")
    assert write_report(out) == str(out / "report.html")
    html = (out / "report.html").read_text(encoding="utf-8")
    assert html == render_html(build_report(out))
    elsewhere = out.parent / "new" / "page.html"
    assert write_report(out, elsewhere) == str(elsewhere)
    assert [path.name for path in elsewhere.parent.iterdir()] == ["page.html"]
    assert not list(out.glob("*.partial")) + list(out.glob(".*.partial"))


def test_a_failed_report_leaves_the_old_one(make_output: MakeOutput, tags: pa.Table) -> None:
    out = make_output(tags)
    (out / "report.html").write_text("old")
    (out / "run.json").write_text("{")
    with pytest.raises(UsageError, match=r"run\.json .*Invalid JSON"):
        write_report(out)
    assert (out / "report.html").read_text() == "old"


def test_colours_of_the_exits_are_those_of_the_style_sheet(
    make_output: MakeOutput, tags: pa.Table
) -> None:
    html = render_html(build_report(make_output(tags)))
    used = set(re.findall(r"var\((--exit-\d)\)", html))
    assert used >= {"--exit-1", "--exit-2", "--exit-3"}
    assert all(f"{name}: #" in html for name in used)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (-1e-9, "0.0 %"),
        (0.0, "0.0 %"),
        (0.0001, "< 0.1 %"),
        (0.9999, "> 99.9 %"),
        (1.0, "100.0 %"),
    ],
)
def test_percent_rounds_no_part_to_nothing_or_all(share: float, text: str) -> None:
    assert percent(share).replace("\u00a0", " ") == text


def test_units_follow_the_size() -> None:
    assert gmacs(2.5) == "2.50\u00a0GMACs"
    assert gmacs(0.002709) == "2.71\u00a0MMACs"
    assert gmacs(44_100.0) == "44.1\u00a0TMACs"
    assert duration(59.96) == "1\u00a0min 0\u00a0s"
    assert duration(3600.0) == "1\u00a0h 0\u00a0min"
    assert duration(None) == "–"


def test_an_audit_has_a_section_with_its_intervals(
    make_output: MakeOutput, audited_tags: pa.Table
) -> None:
    data = build_report(make_output(audited_tags, audit=0.3))
    assert data.audit is not None
    html = render_html(data)
    assert "Audit: early answers against full depth" in html
    low, high = percent(data.audit.agreement_low, 2), percent(data.audit.agreement_high, 2)
    assert f"the share is {low} to {high} with 95 % confidence" in html
    without = data.audit.model_copy(update={"images": 0})
    assert "Audit:" not in render_html(replace(data, audit=without))
    assert "Audit:" not in render_html(replace(data, audit=None))


def test_changed_thresholds_are_shown_over_time(make_output: MakeOutput, tags: pa.Table) -> None:
    """Runs `a` and `b` are earlier than the last; of 41 entries, 24 are shown."""
    out = make_output(tags)
    before = render_html(build_report(out))
    assert "Thresholds over time" not in before
    assert "Loosest thresholds allowed" not in before
    used = ThresholdLog(open_output_store(out), "a", lambda: None)
    used.add(1.0, 0, 9, (0.111, 0.111))
    used.write()
    used = ThresholdLog(open_output_store(out), "b", lambda: None)
    for move in range(40):
        used.add(60.0 * move, 100 * move, move, (2.0 if move < 2 else 0.9 - move / 1000, 0.5))
    used.write()
    text = Elements(render_html(build_report(out))).text
    assert "thresholds changed 39 times. The table shows some of the changes." in text
    assert "unused" in text
    assert "0.8610" in text
    assert "Loosest thresholds allowed" in text
    assert text.count("0.1110") == 2
    assert text.count("0.5000") == 23
