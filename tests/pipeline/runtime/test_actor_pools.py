"""Actors as the scheduler sees them, and which ones start and end; without Ray."""

import logging
from typing import Any, cast

import numpy as np
import pytest

from pipeline.runtime.actor_pools import ActorPools, ActorPoolSpecs, PoolSpec
from pipeline.runtime.supervised_actor import (
    ActorDown,
    ActorGone,
    ActorKind,
    ActorUp,
    SupervisedActor,
)
from pipeline.runtime.supervisor import ActorSupervisor
from pipeline.scheduling import (
    DECODERS,
    Decode,
    Limits,
    Pool,
    Retire,
    Scheduler,
    ShardArrived,
)


class FakeSupervisor:
    """Starts and removes actors without Ray."""

    def __init__(self) -> None:
        self.actors: list[SupervisedActor] = []
        self.removed: list[SupervisedActor] = []

    def start(self, kind: ActorKind) -> SupervisedActor:
        self.actors.append(SupervisedActor(len(self.actors), kind, kind.start()))
        return self.actors[-1]

    def remove(self, actor: SupervisedActor) -> None:
        self.removed.append(actor)


class World:
    """One decoder and one cascade actor, on nodes that a test can drain."""

    def __init__(self) -> None:
        self.supervisor = FakeSupervisor()
        self.scheduler = Scheduler(Limits(4, 10_000, (Pool(1, 1, 10),)))
        self.draining: set[str] = set()
        specs = ActorPoolSpecs(
            decoders=PoolSpec(ActorKind("decoder", lambda: "a handle")),
            pools=(PoolSpec(ActorKind("pool 1", lambda: "a handle")),),
            writer=ActorKind("writer", lambda: "a handle"),
        )
        supervisor = cast(ActorSupervisor, self.supervisor)
        self.pools = ActorPools(specs, supervisor, self.scheduler, lambda: self.draining)
        self.pools.start()
        self.cascade, self.decoder = self.supervisor.actors

    def bring_up(self, actor: SupervisedActor, node: str = "node a") -> None:
        actor.down_s, actor.node = None, node
        self.pools.handle(ActorUp(actor))

    def decode(self) -> list[Any]:
        self.scheduler.handle(ShardArrived(0, np.arange(4)))
        return self.scheduler.next_actions()


@pytest.fixture
def world() -> World:
    return World()


def test_actors_get_work_once_they_are_up(world: World) -> None:
    assert world.decode() == []
    assert world.scheduler.load(DECODERS).num_actors == 1
    world.bring_up(world.decoder)
    (action,) = world.scheduler.next_actions()
    assert isinstance(action, Decode)
    assert world.pools.actor(action.actor) is world.decoder
    assert world.pools.pool_of(world.decoder.number) == DECODERS
    assert world.pools.pool_of(world.cascade.number) == 0


def test_the_images_of_an_actor_that_fails_wait_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.bring_up(world.decoder)
    assert len(world.decode()) == 1
    world.pools.handle(ActorDown(world.decoder, "it died", is_attempt=True))
    assert caplog.messages == [
        "lost decoder #1 (it died): 4 images in 1 block go to other actors; the attempt counts"
    ]
    assert world.scheduler.load(DECODERS).queued_images == 4
    assert world.supervisor.removed == []


def test_the_loss_of_an_actor_on_a_draining_node_is_no_attempt(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.bring_up(world.decoder)
    world.decode()
    world.draining.add("node a")
    world.pools.handle(ActorDown(world.decoder, "it died", is_attempt=True))
    assert caplog.messages == [
        "lost decoder #1 (its node was taken away): 4 images in 1 block go to other actors"
    ]


def test_an_actor_on_a_draining_node_is_replaced_once_and_ends_when_it_is_empty(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world.bring_up(world.cascade, "node b")
    world.draining.add("node b")
    world.pools.adjust()
    world.pools.adjust()
    assert [actor.kind.name for actor in world.supervisor.actors] == ["pool 1", "decoder", "pool 1"]
    assert world.cascade.is_leaving
    assert world.scheduler.next_actions() == [Retire(world.cascade.number)]
    world.pools.retire(world.cascade.number)
    assert world.supervisor.removed == [world.cascade]
    assert world.scheduler.load(0).num_actors == 1
    assert caplog.messages == [
        "the node of pool 1 #0 is draining; starting a replacement",
        "pool 1 #0 has handed over its images and ends",
    ]


def test_a_draining_actor_that_fails_is_removed(world: World) -> None:
    world.bring_up(world.cascade, "node b")
    world.draining.add("node b")
    world.pools.adjust()
    world.pools.handle(ActorDown(world.cascade, "it died", is_attempt=True))
    assert world.supervisor.removed == [world.cascade]
    assert world.scheduler.load(0).num_actors == 1


def test_the_images_of_an_actor_that_is_gone_wait_again(world: World) -> None:
    world.bring_up(world.decoder)
    world.decode()
    world.pools.handle(ActorGone(world.decoder))
    assert world.scheduler.load(DECODERS).num_actors == 0
    assert world.scheduler.load(DECODERS).queued_images == 4
