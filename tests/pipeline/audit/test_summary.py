"""Which images are audited, and how often the intervals contain the truth."""

from hashlib import blake2b

import numpy as np
import pytest

from dvt.calibration import clopper_pearson
from pipeline.audit.summary import AuditCounts, AuditSummary, in_audit, summarise_audit

GMACS = (1.0, 2.0, 4.0)


def keys_of(archive: int, num_images: int) -> list[str]:
    return [f"archive-{archive}/{number:06d}.jpg" for number in range(num_images)]


def summary_of(images: list[int], agreeing: list[int], computed: list[int]) -> AuditSummary:
    counts = AuditCounts(len(images))
    counts.images += images
    counts.agreeing += agreeing
    return summarise_audit(counts, np.array(computed), GMACS[: len(images)])


def test_the_sample_depends_on_keys_alone_and_a_larger_share_contains_the_smaller() -> None:
    keys = keys_of(0, 20_000)
    few, many = in_audit(keys, 0.05), in_audit(keys, 0.3)
    assert (in_audit(keys[::-1], 0.05) == few[::-1]).all()
    assert not (few & ~many).any()
    assert in_audit(keys, 1.0).all()
    # Five standard deviations: 154 and 324.
    assert abs(few.sum() - 1000) < 154
    assert abs(many.sum() - 6000) < 324


def test_the_sample_is_independent_of_the_halves_of_a_calibration() -> None:
    keys = keys_of(0, 20_000)
    half = np.array([blake2b(key.encode(), digest_size=1).digest()[0] & 1 for key in keys])
    drawn = half[in_audit(keys, 0.2)]
    assert abs(drawn.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(drawn))


def test_the_figures_of_a_small_audit() -> None:
    """95 of 100 agree; half of the images save 3/4 each, three in ten save 1/2 each: 52.5 %."""
    audit = summary_of([50, 30, 20], [48, 27, 20], [500, 300, 200])
    assert (audit.images, audit.agreeing, audit.agreement) == (100, 95, 0.95)
    assert (audit.agreement_low, audit.agreement_high) == clopper_pearson(95, 100)
    assert [part.agreement for part in audit.exits] == [0.96, 0.9, 1.0]
    assert audit.exits[1].agreement_low == clopper_pearson(27, 30)[0]
    assert audit.compute_saved == pytest.approx(0.525)
    at_first, at_second = clopper_pearson(50, 100, 0.975), clopper_pearson(80, 100, 0.975)
    assert audit.compute_saved_low == pytest.approx(0.25 * at_first[0] + 0.5 * at_second[0])
    assert audit.compute_saved_high == pytest.approx(0.25 * at_first[1] + 0.5 * at_second[1])
    assert audit.extra_gmacs == 50 * 3 + 30 * 2


def test_an_empty_sample_has_the_widest_intervals() -> None:
    audit = summary_of([0, 0, 0], [0, 0, 0], [5, 3, 2])
    assert audit.agreement is None
    assert (audit.agreement_low, audit.agreement_high) == (0.0, 1.0)
    assert (audit.compute_saved_low, audit.compute_saved_high) == (0.0, 0.75)


def test_a_model_with_one_exit_agrees_and_saves_nothing() -> None:
    audit = summary_of([10], [10], [100])
    assert audit.agreement == 1.0
    assert (audit.compute_saved, audit.compute_saved_low, audit.compute_saved_high) == (0, 0, 0)


def test_the_intervals_contain_the_truth_for_at_least_95_of_100_archives() -> None:
    """200 archives of 1,000 images, a fifth of them audited; each archive's truth is counted.

    The sample depends on the keys alone, so the result is the same in every run of the test.
    """
    num_archives, num_images = 200, 1000
    random = np.random.default_rng(5)
    held_agreement = held_saving = 0
    widths = []
    for archive in range(num_archives):
        exits = random.choice([1, 2, 3], num_images, p=[0.6, 0.25, 0.15])
        agrees = (exits == 3) | (random.random(num_images) < random.uniform(0.8, 0.99))
        drawn = in_audit(keys_of(archive, num_images), 0.2)
        counts = AuditCounts(3)
        for part in np.array_split(np.flatnonzero(drawn), 3):
            counts.add(exits[part].astype(np.int8), agrees[part])
        audit = summarise_audit(counts, np.bincount(exits, minlength=4)[1:], GMACS)
        assert audit.images == drawn.sum()
        held_agreement += audit.agreement_low <= agrees.mean() <= audit.agreement_high
        assert audit.compute_saved is not None
        held_saving += audit.compute_saved_low <= audit.compute_saved <= audit.compute_saved_high
        widths.append(audit.agreement_high - audit.agreement_low)
    assert held_agreement >= 0.95 * num_archives
    assert held_saving >= 0.95 * num_archives
    assert np.mean(widths) < 0.12, "too wide to prove anything"
