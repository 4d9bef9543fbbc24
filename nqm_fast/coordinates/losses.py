"""The losses and gradients of single samples, and their means over the data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..foundation.arithmetic import methods_in_usual_arithmetic
from ..foundation.validation import Array, InputError, real_array


@methods_in_usual_arithmetic
class SampleLosses:
    """The part of a problem that speaks of samples: its loss is a mean over data points.

    A data point x has mean 0 and standard deviation sigma in each coordinate.
    """

    @property
    def dim(self) -> int:
        """Number of coordinates d."""
        raise NotImplementedError

    @property
    def h(self) -> Array:
        """Curvatures, shape (d,)."""
        raise NotImplementedError

    @property
    def c(self) -> Array:
        """Variance of the per-sample gradient, shape (d,)."""
        raise NotImplementedError

    @property
    def sigma(self) -> Array:
        """Standard deviation of the data, shape (d,)."""
        raise NotImplementedError

    @property
    def count(self) -> Array:
        """Number of identical coordinates each entry stands for, shape (d,)."""
        raise NotImplementedError

    def _checked_point(self, name: str, value: ArrayLike) -> Array:
        """Check that an array has shape (..., d)."""
        array = real_array(name, value)
        if array.shape[-1:] != (self.dim,):
            raise InputError(
                f"{name} must have {self.dim} as its last dimension, but has shape {array.shape}"
            )
        return array

    def _difference(self, x: ArrayLike, w: ArrayLike) -> Array:
        """Return x - w, shape (..., d), if their shapes fit."""
        data, point = self._checked_point("x", x), self._checked_point("w", w)
        try:
            with np.errstate(over="ignore"):
                return data - point
        except ValueError:
            raise InputError(
                f"x must have the shape of w or broadcast to it, {point.shape}, not {data.shape}"
            ) from None

    def _excess_risk(self, gap: Array) -> Any:
        """Half the sum of ``count h gap^2``, inf where it is beyond the range of a double."""
        with np.errstate(over="ignore", invalid="ignore"):
            risk = 0.5 * (gap**2 @ (self.count * self.h))
            if not np.isfinite(risk).all():  # A product 0 * inf may be a NaN.
                scaled = gap * np.sqrt(self.count) * np.sqrt(self.h)
                risk = 0.5 * (scaled**2).sum(axis=-1)
        return risk

    def _lowest_loss(self) -> float:
        """Half the sum of ``count h sigma^2``."""
        with np.errstate(over="ignore", invalid="ignore"):
            loss = 0.5 * float((self.count * self.h) @ self.sigma**2)
            if not np.isfinite(loss):
                loss = 0.5 * float((self.count * (self.c / self.h)).sum())
        return loss

    def population_loss(self, w: ArrayLike) -> Any:
        """``L(w) = 1/2 sum count h w^2 + 1/2 sum count h sigma^2``, excess risk plus its minimum.

        Parameters
        ----------
        w : array_like, shape (..., d)

        Returns
        -------
        float or ndarray, shape (...)
        """
        point = self._checked_point("w", w)
        return _plain(self._excess_risk(point) + self._lowest_loss())

    def sample_loss(self, w: ArrayLike, x: ArrayLike) -> Any:
        """``l(w; x) = 1/2 sum count h (x - w)^2`` of the data point x.

        Parameters
        ----------
        w, x : array_like, shapes (..., d), broadcast against each other

        Returns
        -------
        float or ndarray, shape (...)
        """
        return _plain(self._excess_risk(self._difference(x, w)))

    def sample_gradient(self, w: ArrayLike, x: ArrayLike) -> Array:
        """Gradient of a single coordinate's sample loss, ``g = h (w - x)``.

        Parameters
        ----------
        w, x : array_like, shapes (..., d), broadcast against each other

        Returns
        -------
        ndarray, shape (..., d)
        """
        with np.errstate(over="ignore"):
            gradient: Array = -self.h * self._difference(x, w)
        return gradient

    def gradient_covariance(self) -> Array:
        """Diagonal of the per-sample gradient's covariance, ``c = h^2 sigma^2``, shape (d,).

        The other entries are zero, because coordinates are independent.
        """
        return self.c


def _plain(value: Any) -> Any:
    """Return an array, or a float where there is but one number."""
    return value if np.ndim(value) else float(value)
