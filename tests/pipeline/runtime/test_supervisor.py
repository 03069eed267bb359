"""The supervisor with Ray's replies and the clock under control."""

from typing import Any

import pytest
import ray

from pipeline.runtime.supervised_actor import ActorDown, ActorKind, ActorUp, CallReturned
from pipeline.runtime.supervisor import ActorSupervisor

STALLED_S = 300.0


class Reset:
    def remote(self) -> str:
        return f"reset {id(self)}"


class Handle:
    def __init__(self) -> None:
        self.reset = Reset()


class FakeRay:
    """Stands in for `ray`: replies are given by hand."""

    exceptions = ray.exceptions

    def __init__(self) -> None:
        self.replies: dict[str, Any] = {}

    def wait(self, references: list[str], num_returns: int = 1, **_: Any) -> tuple[list[str], Any]:
        return [name for name in references if name in self.replies][:num_returns], None

    def get(self, reference: str) -> Any:
        return self.replies[reference]

    def kill(self, *_: Any, **__: Any) -> None:
        pass


class Clock:
    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.mark.parametrize("has_reply", [True, False])
def test_an_actor_is_not_blamed_for_the_time_that_an_event_takes(
    monkeypatch: pytest.MonkeyPatch, has_reply: bool
) -> None:
    """A commit of 301 s beside a prediction that is finished, or nearly."""
    fake, clock = FakeRay(), Clock()
    monkeypatch.setattr("pipeline.runtime.supervisor.ray", fake)
    monkeypatch.setattr("pipeline.runtime.supervisor.time", clock)
    supervisor = ActorSupervisor(STALLED_S)
    actors = [supervisor.start(ActorKind(name, Handle)) for name in ("writer", "pool")]
    fake.replies |= {actor.handle.reset.remote(): None for actor in actors}
    assert [type(event) for event in supervisor.wait()] == [ActorUp, ActorUp]
    for actor, name in zip(actors, ("file", "prediction"), strict=True):
        supervisor.expect(name, actor, name, name)
    fake.replies["file"] = None
    events = []
    for event in supervisor.wait():
        events.append(event)
        clock.now_s += STALLED_S + 1
        if has_reply:
            fake.replies["prediction"] = None
    assert events == [CallReturned("file", None)]
    clock.now_s += 1
    fake.replies["prediction"] = None
    assert list(supervisor.wait()) == [CallReturned("prediction", None)]


def test_an_actor_that_does_not_reply_is_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, clock = FakeRay(), Clock()
    monkeypatch.setattr("pipeline.runtime.supervisor.ray", fake)
    monkeypatch.setattr("pipeline.runtime.supervisor.time", clock)
    supervisor = ActorSupervisor(STALLED_S)
    actor = supervisor.start(ActorKind("pool", Handle))
    fake.replies[actor.handle.reset.remote()] = None
    list(supervisor.wait())
    supervisor.expect("prediction", actor, "prediction", "a batch")
    wait = fake.wait

    def slow_wait(*arguments: Any, **options: Any) -> tuple[list[str], Any]:
        clock.now_s += 0.2 if options.get("timeout") else 0.0
        return wait(*arguments, **options)

    monkeypatch.setattr(fake, "wait", slow_wait)
    while not (events := list(supervisor.wait())):
        assert clock.now_s < 1000 + 2 * STALLED_S
    assert isinstance(events[0], ActorDown)
    assert "no reply for 300 s to a batch" in events[0].reason
