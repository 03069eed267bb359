from pipeline.records import ImageRecord
from pipeline.sources.sharding import Shard, cut_shards


def records(count: int) -> list[ImageRecord]:
    return [
        ImageRecord(f"{number:07}.jpg", f"file:///a/{number:07}.jpg", 100 + number)
        for number in range(count)
    ]


def test_every_image_is_in_exactly_one_shard_and_in_order() -> None:
    images = records(5000)
    shards = list(cut_shards(images, mean_length=100, max_length=400))
    assert [image for shard in shards for image in shard.images] == images


def test_shards_are_about_as_long_as_asked_and_never_longer_than_the_maximum() -> None:
    shards = list(cut_shards(records(20_000), mean_length=100, max_length=300))
    assert max(len(shard.images) for shard in shards) <= 300
    assert 60 <= 20_000 / len(shards) <= 140


def test_a_new_file_changes_one_shard_and_no_other() -> None:
    images = records(5000)
    added = sorted(
        [*images, ImageRecord("0002500a.jpg", "file:///a/0002500a.jpg", 1)], key=lambda i: i.key
    )
    before = {shard.name for shard in cut_shards(images, mean_length=100, max_length=10_000)}
    after = {shard.name for shard in cut_shards(added, mean_length=100, max_length=10_000)}
    assert len(before - after) == 1
    assert 1 <= len(after - before) <= 2


def test_a_file_of_another_size_or_etag_gives_its_shard_another_name() -> None:
    def name(size: int, etag: str | None) -> str:
        image = ImageRecord("a.jpg", "file:///a.jpg", size, etag)
        shard: Shard = next(cut_shards([image]))
        return shard.name

    assert len({name(1, None), name(2, None), name(1, "x"), name(1, "y")}) == 4
    assert name(1, "x") == name(1, "x")


def test_listing_is_consumed_only_as_far_as_shards_are_taken() -> None:
    taken = 0

    def stream() -> object:
        nonlocal taken
        for image in records(10_000):
            taken += 1
            yield image

    next(cut_shards(stream(), mean_length=50, max_length=200))  # type: ignore[arg-type]
    assert taken <= 200
