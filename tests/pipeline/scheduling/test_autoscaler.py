"""The autoscaler: worked numbers, and a pool simulated in steps of five seconds."""

from pipeline.scheduling import ActorRange, Autoscaler, PoolMetrics


def metrics(
    actors: int,
    images: int,
    busy_s: float,
    done: int,
    forwarded: int = 0,
    ready: int | None = None,
    *,
    is_starting: bool = False,
    is_full: bool = False,
    calls: int = 0,
) -> PoolMetrics:
    up = actors if ready is None else ready
    return PoolMetrics(actors, up, is_starting, is_full, calls, images, busy_s, done, forwarded)


def test_a_busy_pool_grows_to_finish_its_backlog_in_half_a_minute() -> None:
    """600 images of 0.1 s are 60 s of work for one actor: two do it in 30 s."""
    autoscaler = Autoscaler((ActorRange(1, 8),))
    assert autoscaler.targets([metrics(1, 600, busy_s=5.0, done=50)], elapsed_s=5.0) == [2]


def test_a_pool_at_most_doubles_and_stays_within_its_limits() -> None:
    busy = [metrics(2, 100_000, busy_s=10.0, done=100)]
    assert Autoscaler((ActorRange(1, 8),)).targets(busy, 5.0) == [4]
    assert Autoscaler((ActorRange(1, 3),)).targets(busy, 5.0) == [3]


def test_images_further_up_count_with_the_share_that_comes() -> None:
    """1,000 images, of which 40 % come, each taking 0.5 s: 200 s of work, seven actors."""
    first = metrics(1, 1000, busy_s=5.0, done=100, forwarded=40)
    second = metrics(4, 0, busy_s=20.0, done=40)
    assert Autoscaler((ActorRange(1, 1), ActorRange(1, 16))).targets([first, second], 5.0) == [1, 7]


def test_a_pool_shrinks_to_as_many_actors_as_would_be_busy() -> None:
    """Eight actors busy for a quarter of their time are three busy for three quarters."""
    assert Autoscaler((ActorRange(1, 8),)).targets([metrics(8, 0, busy_s=10.0, done=100)], 5.0) == [
        3
    ]
    assert Autoscaler((ActorRange(2, 8),)).targets([metrics(8, 0, busy_s=0.0, done=0)], 5.0) == [2]


def test_nothing_changes_while_actors_are_starting() -> None:
    waiting = [metrics(4, 100_000, busy_s=10.0, done=100, ready=2, is_starting=True)]
    assert Autoscaler((ActorRange(1, 8),)).targets(waiting, 5.0) == [4]


def test_a_busy_pool_with_a_full_queue_doubles_however_short_the_queue_is() -> None:
    """7,000 images of 2 ms are 14 s of work, but the archive waits behind the full queue."""
    full = metrics(2, 7000, busy_s=10.0, done=5000, is_full=True)
    assert Autoscaler((ActorRange(1, 8),)).targets([full], 5.0) == [4]


def test_a_pool_whose_calls_take_longer_than_the_interval_is_not_idle() -> None:
    autoscaler = Autoscaler((ActorRange(1, 8),))
    assert autoscaler.targets([metrics(4, 500, busy_s=0.0, done=0, calls=8)], 5.0) == [4]


def test_a_pool_does_not_grow_if_the_cluster_has_no_room() -> None:
    late = [metrics(4, 100_000, busy_s=15.0, done=100, ready=3)]
    assert Autoscaler((ActorRange(1, 8),)).targets(late, 5.0) == [4]


def test_a_pool_follows_its_backlog_up_and_down_and_settles() -> None:
    """Work for 6 actors arrives for 200 s, then for 2: sizes settle near both."""
    autoscaler = Autoscaler((ActorRange(1, 16),))
    actors, queue, history = 1, 0.0, []
    for tick in range(80):
        queue += (6.0 if tick < 40 else 2.0) * 5.0 / 0.1  # images of 0.1 s that arrive in 5 s
        done = min(queue, actors * 5.0 / 0.1)
        queue -= done
        (actors,) = autoscaler.targets([metrics(actors, int(queue), done * 0.1, int(done))], 5.0)
        history.append(actors)
    assert queue < 100, "the backlog was not finished"
    assert 6 <= max(history) <= 16
    assert all(6 <= size <= 9 for size in history[30:40]), history
    assert all(2 <= size <= 4 for size in history[-10:]), history
    assert len(set(history[-5:])) == 1, "it oscillates"
