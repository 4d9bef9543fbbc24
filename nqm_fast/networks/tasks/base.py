"""`Task`: a network, its data, its loss, and the target."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any

from ..objective import half_squared_norm

ROUGHLY_MEASURED, ROUGH_RESOLUTION = 512, 0.05
"""Samples, and distance of measurements, where losses may be roughly measured."""


class Task(ABC):
    """A network that is trained until the loss of its training set is below a target.

    A task of your own inherits from this class, or has the attributes without defaults.

    Attributes
    ----------
    name : str
        Its name in tables and files; the class's name in lower case by default.
    train, validation : tuple of ndarray
        Samples along the first axis of every array.
    target : float
        The loss to reach, weight decay included.
    weight_decay : float
        Multiplies half the squared norm of the parameters in the loss (0.001).
    measured : int or None
        The first so many samples of the training set have their loss measured; None for all.
    resolution : float
        Ratio of neighbouring steps at which the loss is measured, less one (0.02).
    most_epochs : float
        Passes over the training set after which a training that has not reached the target ends.
    least_steps : int
        Steps that a training may take whatever its batch size.
    """

    name: str = ""
    train: tuple[Any, ...]
    validation: tuple[Any, ...]
    target: float
    weight_decay: float = 1e-3
    measured: int | None = None
    resolution: float = 0.02
    most_epochs: float = 60.0
    least_steps: int = 1000

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not cls.name:
            cls.name = cls.__name__.lower()

    @abstractmethod
    def init(self, key: Any) -> Any:
        """Draw the initial parameters, a pytree, from a key of `jax.random`."""

    @abstractmethod
    def loss(self, parameters: Any, batch: tuple[Any, ...]) -> Any:
        """Return the mean loss of a batch, which has the arrays of `train`, without weight decay.

        For K-FAC it must call `nqm_fast.networks.softmax_loss` or `squared_loss`.
        """

    def objective(self, parameters: Any, batch: tuple[Any, ...]) -> Any:
        """The loss that is minimised: the mean over a batch, and the weight decay."""
        return self.loss(parameters, batch) + self.weight_decay * half_squared_norm(parameters)

    @property
    def size(self) -> int:
        """Samples in the training set."""
        return len(self.train[0])

    def most_steps(self, batch_size: int) -> int:
        """Steps after which a training that has not reached the target ends."""
        return max(self.least_steps, round(self.most_epochs * self.size / batch_size))

    def with_target(self, target: float) -> Task:
        """Return the same task with another target."""
        other = copy.copy(self)
        other.target = target
        return other

    def roughly_measured(self) -> Task:
        """Return the same task with losses measured of fewer samples, and less often."""
        other = copy.copy(self)
        other.measured = min(self.measured or self.size, ROUGHLY_MEASURED)
        other.resolution = max(self.resolution, ROUGH_RESOLUTION)
        return other

    def facts(self) -> dict[str, Any]:
        """Return what a result depends on, for its file."""
        return {
            "target": self.target,
            "weight_decay": self.weight_decay,
            "samples": self.size,
            "measured samples": self.measured or self.size,
            "resolution": self.resolution,
        }

    @property
    def origin(self) -> type:
        """The class that somebody wrote."""
        return type(self)


class AdaptedTask(Task):
    """An object that has what a task must have, with the defaults and methods of a task."""

    def __init__(self, other: Any) -> None:
        self.other = other
        self.name = type(other).__name__.lower()
        for name in Task.__annotations__:
            if hasattr(other, name):
                setattr(self, name, getattr(other, name))

    def init(self, key: Any) -> Any:
        """Draw the initial parameters as the object does."""
        return self.other.init(key)

    def loss(self, parameters: Any, batch: tuple[Any, ...]) -> Any:
        """Return the mean loss of a batch as the object does."""
        return self.other.loss(parameters, batch)

    @property
    def origin(self) -> type:
        """The class of the object."""
        return type(self.other)
