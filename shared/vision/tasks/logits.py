"""Arithmetic on classification logits: softmax, ranking and accuracy, without any message type.

Here: numpy only, so that training code may use it too. Not here: turning logits into messages (classification).
"""

from __future__ import annotations

import numpy as np

Logits = np.ndarray[tuple[int, ...], np.dtype[np.floating]]
"""Any float type, shape (N, C)."""
Values = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Classes = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def softmax(logits: Logits) -> Values:
    """Return class probabilities, float64 of shape (N, C); rows sum to 1 and large logits do not overflow."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=1, keepdims=True)
    return shifted


def predicted(logits: Logits) -> Classes:
    """Return the class with the highest logit per row, int64 of shape (N); the lower class wins a tie."""
    return np.asarray(logits.argmax(axis=1))


def accuracy(logits: Logits, labels: Classes) -> float:
    """Return the share of rows whose highest logit is the label, 0 to 1; 0 for no rows."""
    return float((predicted(logits) == labels).mean()) if len(labels) else 0.0
