"""The loss that networks are trained on: a mean over samples, and a weight decay."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from .environment import load_kfac

for_curvature: ContextVar[bool] = ContextVar("for_curvature", default=False)
"""Whether K-FAC is tracing a loss, and must be told of which kind it is."""


def softmax_loss(logits: Any, labels: Any) -> Any:
    """Mean softmax cross-entropy, of a kind that K-FAC knows.

    Parameters
    ----------
    logits : array, shape (..., classes)
    labels : array of int, shape (...)

    Returns
    -------
    array, shape ()
        In nats, averaged over all axes but the last.
    """
    import optax

    classes = logits.shape[-1]
    flat, flat_labels = logits.reshape(-1, classes), labels.reshape(-1)
    if for_curvature.get():
        load_kfac().register_softmax_cross_entropy_loss(flat, flat_labels)
    return optax.softmax_cross_entropy_with_integer_labels(flat, flat_labels).mean()


def squared_loss(outputs: Any, targets: Any) -> Any:
    """Half the squared distance, a mean over samples, of a kind that K-FAC knows.

    Parameters
    ----------
    outputs, targets : array, shape (samples, ...)

    Returns
    -------
    array, shape ()
    """
    import jax.numpy as jnp

    if for_curvature.get():
        load_kfac().register_squared_error_loss(outputs, targets, weight=0.5)
    return 0.5 * jnp.sum((outputs - targets) ** 2) / outputs.shape[0]


def half_squared_norm(parameters: Any) -> Any:
    """Half the sum of squares of all parameters, which weight decay multiplies."""
    import jax
    import jax.numpy as jnp

    return 0.5 * sum(jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(parameters))
