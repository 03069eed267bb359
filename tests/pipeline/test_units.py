"""Amounts are understood as people write them, and what is unclear is refused."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.units import (
    Bytes,
    CountOrShare,
    Gmacs,
    Mix,
    Pixels,
    Portion,
    Seconds,
    Share,
    counted,
    duration_text,
)


@pytest.mark.parametrize(
    ("text", "gmacs"),
    [
        ("1.2G", 1.2),
        ("300M", 0.3),
        (" 300 mmacs ", 0.3),
        ("2T", 2000.0),
        (".5g", 0.5),
        (None, None),
    ],
)
def test_costs_have_a_unit(text: str, gmacs: float) -> None:
    assert TypeAdapter(Gmacs).validate_python(text) == pytest.approx(gmacs)
    assert TypeAdapter(Gmacs).validate_python(None) is None


@pytest.mark.parametrize(
    ("text", "share"), [("1%", 0.01), ("0.5 %", 0.005), ("0.02", 0.02), (0.02, 0.02), (None, None)]
)
def test_shares_are_percents_or_fractions(text: object, share: float | None) -> None:
    assert TypeAdapter(Share).validate_python(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "share"), [("1%", 0.01), ("100%", 1.0), (" 100 % ", 1.0), (0.2, 0.2), (None, None)]
)
def test_portions_may_be_all(text: object, share: float | None) -> None:
    assert TypeAdapter(Portion).validate_python(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "limit"), [("0", 0), (12, 12), ("1%", 0.01), ("100 %", 1.0), (None, None)]
)
def test_limits_are_counts_or_percents(text: object, limit: float | None) -> None:
    understood: Any = TypeAdapter(CountOrShare).validate_python(text)
    assert (understood, type(understood)) == (limit, type(limit))


@pytest.mark.parametrize(
    ("kind", "text", "amount"),
    [
        (Bytes, "256MiB", 2**28),
        (Bytes, "1.5 GB", 1_500_000_000),
        (Bytes, "300k", 300_000),
        (Bytes, 77, 77),
        (Pixels, "200M", 200_000_000),
        (Pixels, "0.5G", 500_000_000),
        (Pixels, 1000, 1000),
    ],
)
def test_sizes_have_decimal_and_binary_units(kind: Any, text: object, amount: int) -> None:
    assert TypeAdapter(kind).validate_python(text) == amount


@pytest.mark.parametrize("text", ["60/25/15", [60, 25, 15], "0.6/0.25/0.15"])
def test_mixes_are_scaled_to_one(text: object) -> None:
    assert TypeAdapter(Mix).validate_python(text) == pytest.approx((0.6, 0.25, 0.15))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Gmacs, "1.2"),
        (Gmacs, "0G"),
        (Gmacs, "-1G"),
        (Gmacs, "1.2GB"),
        (Gmacs, "nanG"),
        (Share, "1"),
        (Share, "0%"),
        (Share, "100%"),
        (Share, "nan"),
        (Share, "one"),
        (Portion, "1"),
        (Portion, "0"),
        (Portion, "101%"),
        (CountOrShare, "0.5"),
        (CountOrShare, "-1"),
        (CountOrShare, "101%"),
        (Bytes, "0"),
        (Bytes, "much"),
        (Bytes, "2000GiB"),
        (Bytes, "1TiB"),
        (Pixels, "-1M"),
        (Pixels, "10MiB"),
        (Mix, "60"),
        (Mix, "0/0"),
        (Mix, "60/-1"),
        (Mix, "60/nan"),
        (Mix, "a/b"),
    ],
)
def test_what_is_unclear_is_refused(kind: Any, text: str) -> None:
    with pytest.raises(ValidationError, match="must be"):
        TypeAdapter(kind).validate_python(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90.0), ("45m", 2700.0), ("2h", 7200.0), ("1h30m", 5400.0), (" 1d 2H ", 93600.0)],
)
def test_times_have_units(text: str, seconds: float) -> None:
    assert TypeAdapter(Seconds).validate_python(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "0s", "h", "30m1h", "-1h", "1.5h", "400d", "inf"])
def test_unclear_times_are_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="must be a time such as 90s"):
        TypeAdapter(Seconds).validate_python(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(50.0, "50s"), (50.26, "50.3s"), (59.96, "1m00s"), (90, "1m30s"), (7110, "1h58m")],
)
def test_times_are_told_briefly(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_nouns_agree_with_their_numbers() -> None:
    assert [counted(number, "image") for number in (0, 1, 1200)] == [
        *("0 images", "1 image", "1,200 images")
    ]
    assert counted(1, "copy", "copies") == "1 copy"
    assert counted(2, "copy", "copies") == "2 copies"
