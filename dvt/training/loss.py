"""Loss of a cascade: every exit learns the labels, earlier exits also learn from the last exit."""

from torch import Tensor
from torch.nn import functional as F

__all__ = ["cascade_loss"]


def cascade_loss(
    logits_per_exit: list[Tensor],
    labels_B: Tensor,
    distillation_weight: float = 0.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Sum of the exits' losses, a scalar (DVT, section 3.3).

    Args:
        logits_per_exit: [B, num_classes] of every exit at full depth.
        labels_B: class ids [B], or class probabilities [B, num_classes].
        distillation_weight: share of an earlier exit's loss that is the divergence from the last
            exit's prediction (temperature 1, no gradient into the teacher; Dynamic Perceiver,
            section 3.3).
        label_smoothing: probability mass spread over all classes.
    """
    *earlier, last = (logits.float() for logits in logits_per_exit)
    loss = F.cross_entropy(last, labels_B, label_smoothing=label_smoothing)
    teacher_BC = last.detach().log_softmax(dim=-1)
    for logits_BC in earlier:
        hard = F.cross_entropy(logits_BC, labels_B, label_smoothing=label_smoothing)
        if distillation_weight:
            soft = F.kl_div(
                logits_BC.log_softmax(dim=-1), teacher_BC, reduction="batchmean", log_target=True
            )
            hard = (1 - distillation_weight) * hard + distillation_weight * soft
        loss = loss + hard
    return loss
