"""A multilayer perceptron on the images of digits that scikit-learn ships."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..environment import need
from ..objective import softmax_loss
from .base import Task

PIXELS, HIDDEN, CLASSES = 64, 32, 10
TRAINED = 1437
"""Images for training; the other 360 of the 1797 are for validation."""


class Digits(Task):
    """A perceptron with one hidden layer of 32 units, on 1437 images of 8 x 8 pixels."""

    target = 0.15

    def __init__(self) -> None:
        need("the digits images", "sklearn")
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(pixels))
        x = (pixels[order] / 16.0).astype(np.float32)
        x -= x[:TRAINED].mean(axis=0)
        y = labels[order].astype(np.int32)
        self.train = x[:TRAINED], y[:TRAINED]
        self.validation = x[TRAINED:], y[TRAINED:]

    def init(self, key: Any) -> Any:
        """Draw weights as wide as keeps the size of activations; biases are zero."""
        import jax
        import jax.numpy as jnp

        first, second = jax.random.split(key)
        # pixels vary by about 0.25 each
        w = jax.random.normal(first, (PIXELS, HIDDEN)) * 0.27
        v = jax.random.normal(second, (HIDDEN, CLASSES)) * HIDDEN**-0.5
        return {"w": w, "b": jnp.zeros(HIDDEN), "v": v, "c": jnp.zeros(CLASSES)}

    def loss(self, parameters: Any, batch: tuple[Any, ...]) -> Any:
        """Return the mean cross-entropy of the labels of a batch."""
        import jax.numpy as jnp

        p, (x, y) = parameters, batch
        return softmax_loss(jnp.tanh(x @ p["w"] + p["b"]) @ p["v"] + p["c"], y)


TASK = Digits
