"""`dvt tag --audit`: full depth's answers beside the early ones, and everything else unchanged."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from dvt.device import inference_dtype
from jobs.report import build_report
from jobs.shapes import write_shapes
from pipeline.audit.summary import AuditSummary, in_audit
from tests.command_line import SHAPES, dvt, rows, succeeded

pytestmark = pytest.mark.usefixtures("ray_session")

NUM_IMAGES, SHARE = 600, 0.5
HASTY = [0.7, 0.9]  # so that early answers differ from full depth's


def tags(out: Path) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in rows(out / "tags")}


def test_audited_rows_have_the_answer_of_a_full_depth_run_and_all_else_is_as_without(
    tmp_path: Path,
) -> None:
    images = write_shapes(tmp_path / "a", NUM_IMAGES, seed=31, size=(96, 80)).images
    source = min(path for path in images.rglob("*.*") if path.is_file())
    names = (f"zz-{number}{source.suffix}" for number in range(1000))
    broken = images / next(name for name in names if in_audit([name], SHARE)[0])
    broken.write_bytes(b"no picture")
    thresholds = tmp_path / "hasty.json"
    thresholds.write_text(json.dumps(HASTY))
    hasty = ("tag", *SHAPES, images, "--thresholds", thresholds, "--out")
    succeeded(dvt(*hasty, tmp_path / "plain"))
    succeeded(dvt("tag", *SHAPES, images, "--out", tmp_path / "deep", "--full-depth"))
    out = tmp_path / "out"
    done = succeeded(dvt(*hasty, out, "--audit", "50%", "--pools", "1 | 2-3", "--json"))
    plain, deep, got = tags(tmp_path / "plain"), tags(tmp_path / "deep"), tags(out)
    audited = {key for key in got if in_audit([key], SHARE)[0]}
    assert got.keys() == plain.keys()
    assert 200 < len(audited) < 400
    assert {got[key]["exit_stage"] for key in audited} >= {1, 2}, "the audit must meet early exits"

    # In bfloat16 a row's place in its batch may decide about an image on the edge.
    allowed = 0 if inference_dtype(torch.device("cpu")) == torch.float32 else 3
    differing = set()
    for key, row in got.items():
        audit_id, audit_confidence = row.pop("audit_label_id"), row.pop("audit_confidence")
        assert row.pop("audit_agrees") == (
            None if audit_id is None else audit_id == row["label_id"]
        )
        assert (audit_id is not None) == (audit_confidence is not None) == (key in audited)
        exact = ("label_id", "label", "exit_stage", "gmacs", "uri", "width", "height", "shard")
        differs = any(row[name] != plain[key][name] for name in exact)
        if differs or (key in audited and audit_id != deep[key]["label_id"]):
            differing.add(key)
        elif not allowed:
            assert row["exit_confidences"] == pytest.approx(
                plain[key]["exit_confidences"], abs=1e-5
            )
            if key in audited:
                assert audit_confidence == pytest.approx(deep[key]["confidence"], abs=1e-5)
        assert len(row["exit_confidences"]) == row["exit_stage"]
    assert len(differing) <= allowed
    assert all(row["audit_label_id"] is None for row in plain.values())

    said = done.json["audit"]
    agreeing = sum(got[key]["label_id"] == deep[key]["label_id"] for key in audited)
    assert said["images"] == len(audited)
    assert agreeing < len(audited), "early answers must differ, or this shows little"
    assert abs(said["agreeing"] - agreeing) <= allowed
    assert said["agreement_low"] <= said["agreement"] <= said["agreement_high"]
    saved = 1 - done.json["gmacs_per_image"] / done.json["gmacs_full_depth"]
    assert said["compute_saved"] == pytest.approx(saved)
    assert said["extra_gmacs"] > 0
    assert "% answered as at full depth (95 % confidence: " in done.err

    shutil.copy(source, broken)
    again = succeeded(dvt("retry", out, "--json"))
    (key,) = tags(out).keys() - got.keys()
    row = tags(out)[key]
    assert key == broken.name
    assert row["audit_label_id"] == deep[source.relative_to(images).as_posix()]["label_id"]
    assert again.json["audit"]["images"] == len(audited) + 1
    over_all = json.loads((out / "summary.json").read_text())["audit"]
    assert over_all == again.json["audit"]

    in_report = build_report(out).audit
    assert in_report is not None
    of_summary = AuditSummary.model_validate(over_all)
    assert in_report.exits == of_summary.exits
    assert in_report.compute_saved == pytest.approx(of_summary.compute_saved)
    assert in_report.extra_gmacs == pytest.approx(of_summary.extra_gmacs)

    stricter = succeeded(dvt("tag", *SHAPES, images, "--out", out, "--full-depth", "--json"))
    assert stricter.json["audit"]["images"] == len(audited) + 1
    assert stricter.json["audit"]["agreement"] == 1
    assert all(
        (row["audit_label_id"] is not None) == in_audit([key], SHARE)[0]
        for key, row in tags(out).items()
    )
