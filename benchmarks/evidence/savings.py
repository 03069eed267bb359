"""How many times fewer MACs a cascade needs for the accuracy of a static model.

Thresholds come from the reference's sweep, fitted to held-out images. One of its positions is
chosen in two ways:

held_out        the cheapest that reaches the static model's accuracy on held-out images; on test
                images the two accuracies may then differ a little
equal_on_test   the cheapest that reaches the static model's accuracy on test images

The interval of a saving repeats the choice in each round of a bootstrap over the images.
Shapes: R rounds, n images, F positions of the sweep, E exits.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.evidence.bootstrap import Floats, estimate, means, paired_difference, resamples
from benchmarks.evidence.recording import RecordedModel
from dvt.calibration import RecordedExits, Thresholds, exits_taken, swept_path

__all__ = ["NONE", "cheapest_reaching", "saving"]

NONE = -1  # no position reaches the accuracy


def saving(cascade: RecordedModel, static: RecordedModel) -> dict[str, Any]:
    """The savings of a cascade at a static model's accuracy, by way of choosing.

    Args:
        cascade: recorded.
        static: recorded on the same images.
    """
    path = swept_path(cascade.held_out_exits.confidences)
    return {
        "held_out": _saving(
            cascade, static, path, cascade.held_out_exits, static.held_out_exits, seed=1
        ),
        "equal_on_test": _saving(
            cascade, static, path, cascade.test_exits, static.test_exits, seed=0
        ),
    }


def _saving(
    cascade: RecordedModel,
    static: RecordedModel,
    path: list[Thresholds],
    choose: RecordedExits,
    choose_static: RecordedExits,
    seed: int,
) -> dict[str, Any]:
    """Figures on test images of the thresholds that are chosen on `choose`.

    `saving` is None where no thresholds reach the accuracy.
    """
    costs, static_gmacs = cascade.gmacs_per_exit, static.gmacs_per_exit[-1]
    static_correct_n = static.test_exits.right("accuracy")[-1]
    test_counts = resamples(cascade.test_exits.num_images, seed=0)
    choose_counts = resamples(choose.num_images, seed)
    by, target_n = _outcomes(path, choose, costs), choose_static.right("accuracy")[-1]
    gmacs_Fn, correct_Fn = _outcomes(path, cascade.test_exits, costs)
    (chosen,) = _chosen(by, np.ones((1, choose.num_images)), target_n)
    rounds_R = _chosen(by, choose_counts, target_n)
    spent_RF = means(test_counts, gmacs_Fn)
    # Where no thresholds reach the accuracy, full depth comes closest.
    spent_R = np.where(rounds_R == NONE, costs[-1], spent_RF[np.arange(len(rounds_R)), rounds_R])
    figures: dict[str, Any] = {
        "static_gmacs": static_gmacs,
        "static_accuracy": float(static_correct_n.mean()),
        "share_of_rounds_reached": float((rounds_R != NONE).mean()),
        "saving": None,
    }
    if chosen == NONE:
        return figures
    gmacs = float(gmacs_Fn[chosen].mean())
    return figures | {
        "thresholds": path[chosen],
        "gmacs": gmacs,
        "accuracy": float(correct_Fn[chosen].mean()),
        "accuracy_difference": paired_difference(
            test_counts, correct_Fn[chosen], static_correct_n
        ).as_json(),
        "saving": estimate(static_gmacs / gmacs, static_gmacs / spent_R).as_json(),
    }


def _outcomes(
    path: list[Thresholds], recorded: RecordedExits, costs: tuple[float, ...]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Cost and correctness of each image under all thresholds, each [F, n]."""
    exits_Fn = np.stack([exits_taken(recorded.confidences, row) for row in path])
    images = np.arange(recorded.num_images)
    return np.asarray(costs)[exits_Fn], recorded.right("accuracy")[exits_Fn, images]


def _chosen(
    outcomes: tuple[Floats, NDArray[np.bool_]], counts_Rn: Floats, target_n: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The position chosen in each round."""
    gmacs_Fn, correct_Fn = outcomes
    targets_R = means(counts_Rn, target_n[None])[:, 0]
    return cheapest_reaching(means(counts_Rn, gmacs_Fn), means(counts_Rn, correct_Fn), targets_R)


def cheapest_reaching(
    costs_RF: Floats, accuracies_RF: Floats, targets_R: Floats
) -> NDArray[np.int64]:
    """In each round the cheapest position that is accurate enough, [R]; or `NONE`."""
    reaches = accuracies_RF >= targets_R[:, None] - 1e-12  # means of the same bits, summed again
    costs = np.where(reaches, costs_RF, np.inf)
    chosen: NDArray[np.int64] = np.where(reaches.any(axis=1), costs.argmin(axis=1), NONE)
    return chosen
