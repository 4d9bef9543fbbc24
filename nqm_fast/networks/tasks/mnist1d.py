"""A convolutional network on MNIST-1D, whose data are generated here."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import numpy as np

from ..environment import need
from ..objective import softmax_loss
from .base import Task

WIDTH, STRIDE, CHANNELS, CLASSES, LENGTH = 5, 2, 12, 10, 40
SAMPLES, TRAINED = 1440, 1152


class MNIST1D(Task):
    """Two convolutions of width 5 and stride 2 with 12 channels, on signals of 40 points.

    The data are those of Greydanus 2020 with its default settings, but fewer.
    """

    target = 0.6
    measured = 256
    resolution = 0.04

    def __init__(self) -> None:
        need("the data of MNIST-1D", "mnist1d")
        from mnist1d.data import get_dataset_args, make_dataset

        settings = get_dataset_args()
        settings.num_samples = SAMPLES
        settings.train_split = TRAINED / SAMPLES
        state = np.random.get_state()  # noqa: NPY002
        try:  # The generator seeds NumPy's global state, and prints.
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
                data = make_dataset(settings)
        finally:
            np.random.set_state(state)  # noqa: NPY002
        self.train = data["x"].astype(np.float32), data["y"].astype(np.int32)
        self.validation = data["x_test"].astype(np.float32), data["y_test"].astype(np.int32)

    def init(self, key: Any) -> Any:
        """Draw weights as He et al. 2015 do for rectified units; biases are zero."""
        import jax
        import jax.numpy as jnp

        sizes = [(WIDTH, CHANNELS), (WIDTH * CHANNELS, CHANNELS), (_outputs() * CHANNELS, CLASSES)]
        keys = jax.random.split(key, len(sizes))
        return [
            {"w": jax.random.normal(k, size) * (2.0 / size[0]) ** 0.5, "b": jnp.zeros(size[1])}
            for k, size in zip(keys, sizes, strict=True)
        ]

    def loss(self, parameters: Any, batch: tuple[Any, ...]) -> Any:
        """Return the mean cross-entropy of the labels of a batch."""
        import jax

        x, y = batch
        first, second, last = parameters
        signal = x[:, :, None]
        for layer in (first, second):
            signal = jax.nn.relu(_windows(signal) @ layer["w"] + layer["b"])
        return softmax_loss(signal.reshape(len(x), -1) @ last["w"] + last["b"], y)


def _windows(signal: Any) -> Any:
    """Cut signals, (n, length, channels), into windows: a convolution is their product by weights.

    K-FAC knows a product whose weights are shared among places, and on CPUs it is faster.
    """
    import jax.numpy as jnp

    count = (signal.shape[1] - WIDTH) // STRIDE + 1
    shifted = [signal[:, k : k + STRIDE * count : STRIDE] for k in range(WIDTH)]
    return jnp.concatenate(shifted, axis=-1)


def _outputs() -> int:
    """Places that are left after both convolutions."""
    length = LENGTH
    for _ in range(2):
        length = (length - WIDTH) // STRIDE + 1
    return length


TASK = MNIST1D
