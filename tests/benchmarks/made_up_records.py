"""Records of models that never were: exits of a made-up population, for tests of the evidence."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.evidence.records import DataFacts, Exits, ModelFacts, Record

__all__ = ["CLASSES", "COSTS", "made_up_record"]

CLASSES = ("cat", "dog", "ship")
COSTS = (0.005, 0.02, 0.06)


def made_up_record(
    name: str, qualities: tuple[float, ...], num_images: int = 160, costs: tuple[float, ...] = COSTS
) -> Record:
    """A model whose exits are the better, the higher their quality; the pictures are the same."""
    sizes = {"validation": num_images, "test": num_images}
    data = {
        part: DataFacts(name=f"{part}.parquet", num_images=size, digest=part)
        for part, size in sizes.items()
    }
    facts = ModelFacts(
        name=name,
        preset="made_up",
        digest=f"digest of {name}",
        dtype="float32",
        classes=CLASSES,
        num_parameters=1_000_000,
        tokens=tuple(range(4, 4 + len(qualities))),
        gmacs_per_exit=costs,
        thresholds=(0.8, 0.7) if len(costs) == 3 else None,
        feature_reuse=True,
        relation_reuse=True,
        num_epochs=3,
        train_seconds=60.0,
        validation=data["validation"],
        test=data["test"],
    )
    return Record(facts, _exits(1, num_images, qualities), _exits(2, num_images, qualities))


def _exits(seed: int, num_images: int, qualities: tuple[float, ...]) -> Exits:
    """Pictures differ in difficulty, which all exits and all models share."""
    generator = np.random.default_rng(seed)
    difficulty, luck = generator.normal(size=num_images), generator.random(num_images)
    labels = generator.integers(0, len(CLASSES), num_images)
    chance = 1 / len(CLASSES)
    scores = []
    for quality in qualities:
        right = chance + (1 - chance) / (1 + np.exp(-3 * (quality - difficulty)))
        answers = np.where(luck < right, labels, (labels + 1) % len(CLASSES))
        scores.append(_scores(right, answers))
    keys = tuple(f"{CLASSES[label]}/{number}" for number, label in enumerate(labels))
    return Exits.of_scores(np.stack(scores), labels, keys)


def _scores(
    confidences_n: NDArray[np.float64], answers_n: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Softmax scores [n, C] with this confidence in this answer, the rest shared by the others."""
    others = (1 - confidences_n) / (len(CLASSES) - 1)
    scores = np.repeat(others[:, None], len(CLASSES), axis=1)
    scores[np.arange(len(answers_n)), answers_n] = confidences_n
    return scores.astype(np.float32)
