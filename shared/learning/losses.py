"""What training minimises: the true label's cross entropy, the expert's softened answer (Hinton et al. 2015), or both."""

from __future__ import annotations

import torch
from torch.nn import functional

UNLABELLED = -1
"""The label of a picture nobody has labelled; only the expert's answer teaches on it."""


def distillation(logits: torch.Tensor, expert_logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the divergence from the expert's softened probabilities, times the squared temperature, averaged over the batch.

    Args:
        logits: the student's, (N, C).
        expert_logits: the expert's, (N, C).
        temperature: what both are divided by.
    """
    wanted = functional.softmax(expert_logits / temperature, dim=1)
    given = functional.log_softmax(logits / temperature, dim=1)
    return functional.kl_div(given, wanted, reduction="batchmean") * (temperature * temperature)


def combined(
    logits: torch.Tensor, labels: torch.Tensor, expert_logits: torch.Tensor | None, *, temperature: float, soft_weight: float
) -> torch.Tensor:
    """Return the loss of a batch.

    Args:
        logits: the network's, (N, C).
        labels: int64 (N); UNLABELLED where unknown.
        expert_logits: (N, C), or None when only labels teach.
        temperature: of the soft part.
        soft_weight: share of the soft part, 0 to 1; the rest is cross entropy on the labels that are known.
    """
    if expert_logits is None:
        return functional.cross_entropy(logits, labels, ignore_index=UNLABELLED)
    loss = soft_weight * distillation(logits, expert_logits, temperature)
    if soft_weight < 1.0 and bool((labels != UNLABELLED).any()):
        loss = loss + (1.0 - soft_weight) * functional.cross_entropy(logits, labels, ignore_index=UNLABELLED)
    return loss
