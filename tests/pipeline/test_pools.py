"""Pools as a person writes them."""

import pytest

from pipeline.pools import parse_pools, parse_stages


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("1-3", ((1, 3),)),
        ("1|2-3", ((1, 1), (2, 3))),
        (" 1 | 2 | 3 ", ((1, 1), (2, 2), (3, 3))),
        ("1 - 2 | 3", ((1, 2), (3, 3))),
    ],
)
def test_stages_are_read_off_the_text(text: str, stages: tuple[tuple[int, int], ...]) -> None:
    assert parse_stages(text) == stages


def test_text_and_yaml_say_the_same() -> None:
    text = parse_pools("1 actors=1-4 threads=2 | 2-3 gpus=1 device=cuda label:zone=eu")
    listed = parse_pools(
        [
            {"stages": 1, "actors": "1-4", "threads": 2},
            {"stages": "2-3", "gpus": 1, "device": "cuda", "labels": {"zone": "eu"}},
        ]
    )
    assert text == listed
    assert text[0].actors == (1, 4)
    assert [str(pool) for pool in text] == ["1", "2-3"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "stages"),
        ("2-3", "every stage once"),
        ("1 | 3", "every stage once"),
        ("1 | 1-2", "every stage once"),
        ("3-1", "stages"),
        ("1 actors=0 | 2-3", "actors"),
        ("1 actors=4-2 | 2-3", "actors"),
        ("1 threads=x | 2-3", "threads"),
        ("1 colour=red | 2-3", "colour"),
        ("1 quick | 2-3", "name=value"),
        ("1 device=tpu | 2-3", "device"),
        (5, "must be like"),
        ([], "at least one pool"),
        ([7], "dictionary"),
    ],
)
def test_anything_else_is_refused_with_what_was_received(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_pools(value)
