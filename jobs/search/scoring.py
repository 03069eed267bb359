"""Scores of candidates in [0, 1], the reasons for them, and where weak hits begin.

- By words: each word of the query counts with the confidence of the label or the score of the group
  that it names, with `PATH_SCORE` if only the key has it, else with 0. The score is the mean, times
  the share of the words that were found.
- By a picture: the cosine similarity, scaled so that 0 is that of a random pair of images and 1
  that of equal vectors.
- By both: the mean of the two.

Hits are weak from the first one on whose score is below half of the best, and all are if the best
is below `LEAST_SCORE`: nothing in the archive is like what was asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.index.words import label_words

__all__ = [
    "LEAST_SCORE",
    "PATH_SCORE",
    "Hit",
    "WordScore",
    "visual_score",
    "weak_from",
    "word_score",
]

PATH_SCORE = 0.5
LEAST_SCORE = 0.1


@dataclass(frozen=True, slots=True)
class Hit:
    """An image that was found.

    Attributes:
        score: in [0, 1].
        similarity: cosine similarity to the example; None without one.
        reasons: why it was found, in a few words each.
    """

    key: str
    uri: str
    label: str
    confidence: float
    groups: tuple[str, ...]
    exit_stage: int
    width: int | None
    height: int | None
    score: float
    similarity: float | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WordScore:
    """How well an image fits the words of a query."""

    score: float
    num_matched: int
    reasons: tuple[str, ...]


def word_score(
    tokens: Sequence[str], row: Mapping[str, Any], tokens_of: Mapping[str, frozenset[str]]
) -> WordScore:
    """Scores an image for the words of a query.

    Args:
        tokens: of the query, without repetitions.
        row: document of the image.
        tokens_of: the tokens of each of its words and of its key.
    """
    if not tokens:
        return WordScore(0.0, 0, ())
    groups = dict(zip(row.get("groups") or (), row.get("group_scores") or (), strict=False))
    confidence = row["confidence"] or 0.0
    own = label_words(row["label"] or "")
    places = []
    for word in row["words"]:
        if word in groups and word not in own:
            places.append((groups[word] or 0.0, f"group {word}", tokens_of[word]))
        else:
            name = "label" if word == own[0] else "synonym"
            places.append((confidence, f"{name} {word}", tokens_of[word]))
    places.append((PATH_SCORE, "path", tokens_of[row["key"]]))
    total, reasons = 0.0, dict[str, None]()
    num_matched = 0
    for token in tokens:
        best = max((place for place in places if token in place[2]), default=None, key=_by_score)
        if best is not None:
            total += best[0]
            num_matched += 1
            reasons[best[1]] = None
    return WordScore(total * num_matched / len(tokens) ** 2, num_matched, tuple(reasons))


def _by_score(place: tuple[float, str, frozenset[str]]) -> float:
    return place[0]


def visual_score(similarity: float, typical: float) -> float:
    """Scales a cosine similarity.

    Args:
        similarity: to the example.
        typical: of random pairs of images.
    """
    return min(1.0, max(0.0, (similarity - typical) / max(1e-6, 1 - typical)))


def weak_from(hits: Sequence[Hit]) -> int:
    """Position of the first weak hit; the number of hits if none is weak.

    Args:
        hits: by descending score.
    """
    if not hits or hits[0].score < LEAST_SCORE:
        return 0
    limit = hits[0].score / 2
    return next((number for number, hit in enumerate(hits) if hit.score < limit), len(hits))
