"""Noise that depends on the iterate, as the kernels that draw it take it: a class for each kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from ..exact.coupled.maps import Recurrences
from ..foundation.validation import Array, InputError
from ..kernels.contract import Noise as Stream
from ..kernels.feature_laws import KURTOSIS
from ..kernels.features import Samples
from ..kernels.noise import LAWS
from ..kernels.scaled_noise import ScaledNoise
from ..noise import Gaussian, LossDependent
from .experiment import Experiment
from .models import pad_to_leaves


class DrawnNoise(ABC):
    """The noise of the steps of one setting, and the kernel that takes a state through them."""

    kernels: ClassVar[dict[str, str]]
    """Modules of kernels that take all coordinates in step, by the name of their backend."""
    kernel: ClassVar[str]
    """Name of the kernel in each of these modules."""

    @abstractmethod
    def __init__(self, experiment: Experiment, rows: Recurrences) -> None:
        """Describe the noise of a setting with this recurrence."""

    @abstractmethod
    def described(self) -> Any:
        """Return the named tuple that the kernel takes, for one replica."""

    @abstractmethod
    def samples(self, inverse_batch: float) -> int:
        """Return how many samples a step draws, given one over the batch size.

        Raises
        ------
        InputError
            If a batch cannot be drawn.
        """

    @abstractmethod
    def kick(self, b: Array, inverse_batch: float) -> Array:
        """Return what the kernel multiplies with what it draws, as b has shape (components, d)."""


class Features(DrawnNoise):
    """Least squares, whose samples have features that are drawn."""

    kernels: ClassVar = {"numba": "numba.features", "cython": "cython_cpu", "numpy": "features"}
    kernel = "advance_features"

    def __init__(self, experiment: Experiment, rows: Recurrences) -> None:
        noise = experiment.problem.noise_model
        assert isinstance(noise, Gaussian)
        if KURTOSIS.get(experiment.data) != noise.kurtosis:
            laws = ", ".join(f"{name!r} has {x:g}" for name, x in KURTOSIS.items())
            raise InputError(
                f"data = {experiment.data!r} must be features of the kurtosis {noise.kurtosis:g} "
                f"that the problem's noise has: {laws}"
            )
        variance, c = rows.block.weight, rows.block.c
        self._samples = Samples(
            LAWS[experiment.data].code,
            key_of(experiment.seed),
            pad_to_leaves(np.sqrt(variance), c.size),
            pad_to_leaves(np.array(variance), c.size),
            pad_to_leaves(np.sqrt(c), c.size),
            rows.point_vector,
        )

    def described(self) -> Any:
        """The same for all replicas."""
        return self._samples

    def samples(self, inverse_batch: float) -> int:
        """Every sample is drawn, so that a batch is a whole number of them."""
        size = 1.0 / inverse_batch
        if round(size) != round(size, 9):
            raise InputError(
                f"batch_size must be whole numbers, as samples are drawn, not {size:g}"
            )
        return round(size)

    def kick(self, b: Array, inverse_batch: float) -> Array:
        """The kernel makes means of batches, and needs b alone."""
        return b


class Scaled(DrawnNoise):
    """Noise whose variance grows with the risk at the point of the gradient."""

    kernels: ClassVar = {
        "numba": "numba.scaled_noise",
        "cython": "cython_cpu",
        "numpy": "scaled_noise",
    }
    kernel = "advance_scaled"

    def __init__(self, experiment: Experiment, rows: Recurrences) -> None:
        noise, h = experiment.problem.noise_model, rows.block.h
        assert isinstance(noise, LossDependent)
        self._sigma = pad_to_leaves(np.sqrt(rows.block.c), h.size)
        law = LAWS["normal"]  # of the mean of a batch
        self._sample_scale = None
        if experiment.sampling == "per-sample":
            law = LAWS[experiment.data]
            self._sample_scale = law.scale(experiment.df)
        stream = Stream(
            key_of(experiment.seed),
            experiment.replicas.copy(),
            0,
            law.code,
            True,
            np.float32(2.0 / experiment.df),
        )
        self._stream, self._half = stream, pad_to_leaves(0.5 * h, h.size)
        self._slope, self._point = noise.slope, rows.point_vector

    def described(self) -> Any:
        """It has a place for what kernels keep from call to call."""
        z, held = np.zeros((4, self._half.size)), np.array([-1, 0])
        return ScaledNoise(self._stream, self._half, self._slope, self._point, z, held)

    def samples(self, inverse_batch: float) -> int:
        """The mean of a batch of normal samples is one normal."""
        return 1 if self._sample_scale is None else round(1.0 / inverse_batch)

    def kick(self, b: Array, inverse_batch: float) -> Array:
        """The standard deviation of the mean of a batch at the optimum, times b."""
        if self._sample_scale is None:
            return np.asarray(b * (self._sigma * np.sqrt(inverse_batch)))
        return np.asarray(b * (self._sigma * (self._sample_scale * inverse_batch)))


DRAWN: dict[type, type[DrawnNoise]] = {Gaussian: Features, LossDependent: Scaled}
"""The class for each kind of noise that is simulated."""


def key_of(seed: int) -> Any:
    """Return the key of the stream of noise, (2,)."""
    return np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.uint64)
