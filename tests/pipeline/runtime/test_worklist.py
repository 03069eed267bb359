"""What a run has to do, and when too many images have failed."""

import pytest

from pipeline.runtime.worklist import allowed_dead_letters


@pytest.mark.parametrize("limit", [None, 0, 7])
def test_a_number_is_one_at_any_time(limit: int | None) -> None:
    assert allowed_dead_letters(limit, None, 0, is_uncountable=True) == limit
    assert allowed_dead_letters(limit, 50, 10, is_uncountable=False) == limit


def test_a_share_of_a_countable_archive_waits_for_the_count() -> None:
    assert allowed_dead_letters(0.01, None, 5000, is_uncountable=False) is None
    assert allowed_dead_letters(0.01, 10_000, 5000, is_uncountable=False) == 100


def test_a_share_of_tars_is_one_of_what_is_listed_from_the_thousandth_image_on() -> None:
    assert allowed_dead_letters(0.01, None, 999, is_uncountable=True) is None
    assert allowed_dead_letters(0.01, None, 1000, is_uncountable=True) == 10
    assert allowed_dead_letters(0.01, None, 2599, is_uncountable=True) == 25


def test_at_the_end_of_the_listing_few_images_are_enough() -> None:
    assert allowed_dead_letters(0.5, 4, 4, is_uncountable=True) == 2
    assert allowed_dead_letters(0.29, 100, 100, is_uncountable=True) == 29
