"""Actor pools as users write them: stages, number of actors, and what each actor needs.

    1-3                                   one pool with all stages (the default)
    1 | 2-3                               two pools
    1 actors=1-4 threads=2 | 2-3 gpus=1 label:zone=eu

In YAML also as a list: `pools: [{stages: 1, actors: 1-4}, {stages: 2-3, gpus: 1}]`. Independent of
model and machine; `runtime.resource_plan` fills in what is not given.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from dvt.validation import first_problem

__all__ = ["PoolSettings", "Pools", "parse_pools", "parse_stages"]


def _range(value: object) -> object:
    """`3` and `"3"` are (3, 3); `"1-4"` is (1, 4)."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return value
    match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", str(value))
    if match is None:
        raise ValueError(f"must be a number or a range such as 1-4 (got {value!r})")
    first, last = int(match[1]), int(match[2] or match[1])
    if not 1 <= first <= last:
        raise ValueError(f"must be a range of numbers from 1, smaller one first (got {value!r})")
    return first, last


Range = Annotated[tuple[int, int], BeforeValidator(_range)]


class PoolSettings(BaseModel):
    """One pool.

    Attributes:
        stages: first and last, from 1.
        actors: minimum and maximum; in between, the number follows the backlog.
        cpus: Ray CPUs of each actor; None for `threads`.
        gpus: Ray GPUs of each actor; None for 1 if `device` is "cuda".
        threads: compute threads of each actor; None for a share of the cores.
        device: "auto" uses a GPU if there is one.
        labels: Ray node labels that the actors require.
        batch_size: images per forward pass; None for that of the job.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stages: Range
    actors: Range = (1, 1)
    cpus: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None
    gpus: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None
    threads: Annotated[int | None, Field(ge=1)] = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    labels: dict[str, str] = {}
    batch_size: Annotated[int | None, Field(ge=1, le=4096)] = None

    def __str__(self) -> str:
        first, last = self.stages
        return str(first) if first == last else f"{first}-{last}"


def parse_pools(value: object) -> tuple[PoolSettings, ...]:
    """Parses pools from text, or from a list as in YAML.

    Raises:
        ValueError: malformed, or a stage is missing or out of order.
    """
    if isinstance(value, str):
        entries: list[Any] = [_words(piece) for piece in value.split("|")]
    elif isinstance(value, list | tuple):
        entries = list(value)
    else:
        raise ValueError(f"must be like '1-3' or '1 | 2-3' (got {value!r})")
    pools = []
    expected = 1
    for entry in entries:
        try:
            pool = PoolSettings.model_validate(entry)
        except ValidationError as error:
            raise ValueError(first_problem(error)) from error
        if pool.stages[0] != expected:
            raise ValueError(
                f"must be like '1-3' or '1 | 2-3', with every stage once and in order "
                f"(got {pool} where stage {expected} must come)"
            )
        expected = pool.stages[1] + 1
        pools.append(pool)
    if not pools:
        raise ValueError("must name at least one pool")
    return tuple(pools)


def _optional_pools(value: object) -> tuple[PoolSettings, ...] | None:
    return None if value is None else parse_pools(value)


Pools = Annotated[tuple[PoolSettings, ...] | None, BeforeValidator(_optional_pools)]
"""Pools from text or a list; None for one pool with all stages."""


def parse_stages(text: str) -> tuple[tuple[int, int], ...]:
    """First and last stage of each pool: `"1 | 2-3"` is ((1, 1), (2, 3)).

    Raises:
        ValueError: see `parse_pools`.
    """
    return tuple(pool.stages for pool in parse_pools(text))


def _words(piece: str) -> dict[str, Any]:
    """`2-3 gpus=1 label:zone=eu` as the fields of a pool."""
    stages, *words = re.sub(r"\s*-\s*", "-", piece).split() or [""]
    entry: dict[str, Any] = {"stages": stages}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise ValueError(f"must have the form name=value after the stages (got {word!r})")
        if name.startswith("label:"):
            entry.setdefault("labels", {})[name.removeprefix("label:")] = value
        else:
            entry[name] = value
    return entry
