"""Two structures from two logits: the core is within the whole by construction.

The first logit is of the whole, the second of the core given the whole: P(core) = P(whole) P(core | whole). So a slice
with an unknown core trains only the whole, and one with an unknown whole trains both through their product.
"""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["log_probabilities", "structure_probabilities"]


def structure_probabilities(logits: Tensor) -> Tensor:
    """P(core) and P(whole), (batch, 2, row, column), from the network's logits of the same shape."""
    whole, within = torch.sigmoid(logits[:, :1]), torch.sigmoid(logits[:, 1:])
    return torch.cat([whole * within, whole], dim=1)


def log_probabilities(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of P and of 1 - P, each (batch, 2, row, column), core first; finite for any logits."""
    whole, within = logits[:, :1], logits[:, 1:]
    log_whole, log_not_whole = functional.logsigmoid(whole), functional.logsigmoid(-whole)
    log_core = log_whole + functional.logsigmoid(within)
    log_not_core = torch.logaddexp(log_not_whole, log_whole + functional.logsigmoid(-within))
    return torch.cat([log_core, log_whole], dim=1), torch.cat([log_not_core, log_not_whole], dim=1)
