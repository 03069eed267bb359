"""Scenarios in which everything fails, each seed another: for tests and benchmarks."""

from pipeline.simulation.scenario import Scenario

__all__ = ["disaster"]

_SPLITS = (
    ("1-3", (12,)),
    ("1 | 2-3", (6, 8)),
    ("1-2 | 3", (9, 4)),
    ("1 | 2 | 3", (6, 4, 4)),
)
_BUDGETS_GB = (0.2, 1.0, 20.0)


def disaster(seed: int, images: int = 20_000) -> Scenario:
    """A small cluster on which some part fails every few hundred milliseconds.

    Seeds go through four splits of the stages, three budgets (one too small to be of use), with
    and without images that kill actors, with and without restarts of the coordinator.

    Args:
        seed: of the scenario.
        images: in the archive.
    """
    pools, actors = _SPLITS[seed % 4]
    return Scenario(
        images=images,
        pools=pools,
        actors=actors,
        decoders=12,
        stage_ms=(100.0, 200.0, 400.0),
        decode_ms=3.0,
        drift=0.5,
        jitter=0.1,
        stragglers=0.1,
        slow_storage=0.02,
        budget_gb=_BUDGETS_GB[seed % 3],
        poison=1 / 2000 if seed % 5 == 0 else 0.0,
        actor_losses=3600.0,
        node_losses=600.0,
        spot_drains=900.0,
        object_losses=3600.0,
        resizes=3600.0,
        coordinator_losses=600.0 if seed % 2 else 0.0,
        actors_per_node=3,
        notice_s=1.0,
        restart_s=0.5,
        commit_s=0.5,
        seed=seed,
    )
