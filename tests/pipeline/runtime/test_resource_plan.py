import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import dvt
from dvt.inference import encode_state, state_bytes
from dvt.inference.state_codec import STATE_FORMATS
from dvt.loading import shipped_models
from jobs.commands.tag import TagJob
from pipeline.errors import UsageError
from pipeline.pools import parse_pools
from pipeline.runtime import resource_plan
from pipeline.runtime.actors.cascade import CascadeActor
from pipeline.runtime.hardware import available_cpus
from pipeline.runtime.resource_plan import Plan
from pipeline.settings import TagSettings

SPEC = dvt.create_model("dvt_tiny_48").spec
THRESHOLDS = (0.5, 0.5, float("-inf"))


def plan(pools: str | None = None, decoders: int | None = None) -> Plan:
    settings = TagSettings(
        input=("a",),
        out="o",
        model="shapes",
        decoders=decoders,
        pools=None if pools is None else parse_pools(pools),
    )
    return resource_plan.plan_job(settings, SPEC, THRESHOLDS, "float32")


@pytest.mark.parametrize("cpus", [1, 2, 8, 64])
@pytest.mark.parametrize("decoders", [None, 1, 5])
@pytest.mark.parametrize("pools", [None, "1 | 2-3", "1 | 2 actors=1-3 threads=2 | 3 cpus=0.5"])
def test_ray_gets_as_many_processors_as_its_actors_ask_for(
    monkeypatch: pytest.MonkeyPatch, cpus: int, decoders: int | None, pools: str | None
) -> None:
    """With fewer, one of them would never be scheduled, and Ray would wait forever."""
    monkeypatch.setattr(resource_plan, "available_cpus", lambda: cpus)
    found = plan(pools, decoders)
    most = found.num_decoders + sum(pool.max_actors * pool.cpus for pool in found.pools)
    assert found.num_cpus >= most
    assert found.num_decoders >= 1


@pytest.mark.parametrize("cpus", [2, 8, 64])
def test_decoders_and_the_one_pool_fill_the_cores(
    monkeypatch: pytest.MonkeyPatch, cpus: int
) -> None:
    monkeypatch.setattr(resource_plan, "available_cpus", lambda: cpus)
    found = plan()
    (pool,) = found.pools
    assert found.num_decoders + pool.num_threads == cpus


def test_a_pool_gets_what_it_asks_for() -> None:
    found = plan("1 actors=2-4 cpus=1.5 threads=3 batch_size=16 label:zone=eu | 2-3")
    first, second = found.pools
    assert (first.min_actors, first.max_actors, first.cpus) == (2, 4, 1.5)
    assert (first.num_threads, first.batch_size) == (3, 16)
    assert first.labels == {"zone": "eu"}
    assert second.stages == (2, 3)
    assert found.limits.block_length == 16


def test_room_is_kept_for_exactly_the_state_that_travels() -> None:
    """An object larger than what was kept for it would break the queue's limit."""
    executor = dvt.create_model("dvt_tiny_48").make_executor()
    size = SPEC.image_size
    pixels = executor.upload(np.zeros((4, size, size, 3), np.uint8))()
    state = executor.run(0, pixels, None, 4).state
    assert state is not None
    for state_format in STATE_FORMATS:
        encoded = encode_state(state, state_format)
        assert encoded.num_bytes == 4 * state_bytes(SPEC.stages[0].state, state_format)


@pytest.mark.parametrize(
    ("pools", "message"),
    [
        ("1-2", r"pools: must cover stages 1 to 3 of .* \(got 1-2\)"),
        ("1 | 2-4", r"pools: must cover stages 1 to 3"),
        ("1 | 2-3 device=cuda", r"pools: pool 2-3 asks for a GPU, but this machine has none"),
        ("1 | 2-3 gpus=0.5", r"pools: pool 2-3 asks for a GPU, but this machine has none"),
    ],
)
def test_pools_that_cannot_be_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, pools: str, message: str
) -> None:
    monkeypatch.setattr(resource_plan, "best_device", lambda: torch.device("cpu"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UsageError, match=message):
        plan(pools)


def test_no_more_processors_are_used_than_the_process_may_run_on() -> None:
    assert 1 <= available_cpus() <= len(os.sched_getaffinity(0))


def test_pools_on_different_devices_share_one_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    def dtype_of(device: torch.device) -> torch.dtype:
        return torch.float32 if device.type == "cpu" else torch.bfloat16

    monkeypatch.setattr(resource_plan, "best_device", lambda: torch.device("cuda"))
    monkeypatch.setattr("dvt.model.inference_dtype", dtype_of)

    def dtype(pools: str) -> str:
        settings = TagSettings(input=("a",), out="o", pools=parse_pools(pools))
        return resource_plan.job_dtype(settings, dvt.load_model("shapes"))

    assert dtype("1 | 2-3") == "bfloat16"
    assert dtype("1 device=cpu | 2-3") == "float32"
    plan = resource_plan.plan_job(
        TagSettings(input=("a",), out="o", pools=parse_pools("1 device=cpu | 2-3")),
        SPEC,
        THRESHOLDS,
        "float32",
    )
    assert [pool.dtype for pool in plan.pools] == ["float32", "float32"]
    assert plan.pools[0].state_format == "float32"


def test_options_that_were_given_are_distinguished_from_defaults() -> None:
    part = TagJob(input=("a",), out="o", decode="fast", full_depth=True).part(TagSettings)
    assert part.model_fields_set == {"input", "out", "decode"}


def test_an_actor_that_loads_another_model_ends_the_run(tmp_path: Path) -> None:
    """As after its file, or its groups, were replaced while the run works."""
    shutil.copytree(shipped_models()["shapes"], tmp_path / "model")
    (tmp_path / "model" / "groups.json").write_text('{"round": ["circle", "ring"]}')
    settings = TagSettings(input=("a",), out="o", model=str(tmp_path / "model"))
    model = dvt.load_model("shapes")
    thresholds = (0.5,) * (model.spec.num_stages - 1) + (0.0,)
    for digest in ("of the run", model.digest()):
        plan = resource_plan.plan_job(settings, model.spec, thresholds, "float32", digest)
        with pytest.raises(
            UsageError, match=rf"has changed since the run started: .*not {digest};"
        ):
            CascadeActor(settings, plan.pools[0], thresholds).reset()
