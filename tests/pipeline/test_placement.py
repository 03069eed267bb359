import os
from pathlib import Path

import pytest

import dvt
from pipeline import placement
from pipeline.settings import TagSettings


@pytest.mark.parametrize("cpus", [1, 2, 8, 64])
@pytest.mark.parametrize("decoders", [None, 1, 5])
def test_ray_is_told_of_as_many_processors_as_its_actors_ask_for(
    monkeypatch: pytest.MonkeyPatch, cpus: int, decoders: int | None
) -> None:
    """With fewer, one of them would never be scheduled, and Ray would wait for ever."""
    monkeypatch.setattr(placement, "available_cpus", lambda: cpus)
    settings = TagSettings("a", Path("o"), "shapes", num_decoders=decoders)
    config = dvt.create_model("dvt_tiny_48").config
    plan = placement.plan_job(settings, config, (0.5, 0.5, float("-inf")), "float32")
    assert plan.num_cpus >= plan.num_decoders + plan.cascade.num_threads
    assert plan.num_decoders >= 1
    if decoders is None and cpus > 1:
        assert plan.num_decoders + plan.cascade.num_threads == cpus


def test_no_more_processors_are_used_than_the_process_may_run_on() -> None:
    assert 1 <= placement.available_cpus() <= len(os.sched_getaffinity(0))
