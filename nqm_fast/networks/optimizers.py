"""The optimisers of the study, and the grids of hyper-parameters that each is tuned over.

Learning rates are on a grid of factors of the square root of two. That of an optimiser with
momentum is the effective one, lr / (1 - momentum), as the best then hardly depends on the momentum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from .environment import load_kfac
from .objective import for_curvature

SPACING = 0.5
"""Power of two between neighbouring learning rates of the grid."""
MOMENTA = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995)
DAMPINGS = tuple(10.0 ** (k / 2) for k in range(-10, 5))
KFAC_MOMENTUM = 0.9
"""Momentum of K-FAC, as its authors use it."""
CURVATURE_DECAY = 0.95
"""Decay of the moving average of the curvature that K-FAC keeps."""


class Updates(Protocol):
    """The calculations of an optimiser for one training of a task, which JAX traces."""

    period: int
    """Steps between calls of `refresh`; 0 if there is nothing to do there."""

    def init(self, parameters: Any, batch: Any, key: Any) -> Any:
        """Return the state before the first step."""

    def observe(self, state: Any, parameters: Any, batch: Any, key: Any, second: Any) -> Any:
        """Return the state when it has seen a batch."""

    def refresh(self, state: Any, second: Any) -> Any:
        """Return the state after what is done every `period` steps."""

    def apply(
        self, gradient: Any, state: Any, parameters: Any, lr: Any, second: Any
    ) -> tuple[Any, Any]:
        """Return the next parameters and state."""


class Optimizer(NamedTuple):
    """An optimiser and its grid.

    Attributes
    ----------
    title : str
        Its name in figures.
    second : str or None
        The hyper-parameter that is tuned beside the learning rate.
    values : tuple of float
        Its grid.
    first_lr : float
        The (effective) learning rate around which the first grid lies.
    first : int
        The place in `values` around which it lies.
    updates : callable
        Makes the optimiser's calculations for a task.
    """

    title: str
    second: str | None
    values: tuple[float, ...]
    first_lr: float
    first: int
    updates: Callable[[Any], Updates]

    def lr(self, place: int, second: float) -> float:
        """The learning rate at a place of the grid."""
        momentum = {"momentum": second, "damping": KFAC_MOMENTUM}.get(self.second or "", 0.0)
        return float(self.first_lr * 2.0 ** (SPACING * place) * (1.0 - momentum))


class Optax:
    """An optimiser of optax, given by a function from its two hyper-parameters."""

    period = 0

    def __init__(self, transformation: Callable[[Any, Any], Any]) -> None:
        self.transformation = transformation

    def init(self, parameters: Any, batch: Any, key: Any) -> Any:
        """Return the state before the first step."""
        return self.transformation(0.0, 0.0).init(parameters)

    def observe(self, state: Any, parameters: Any, batch: Any, key: Any, second: Any) -> Any:
        """Return the state as it is."""
        return state

    def refresh(self, state: Any, second: Any) -> Any:
        """Return the state as it is."""
        return state

    def apply(
        self, gradient: Any, state: Any, parameters: Any, lr: Any, second: Any
    ) -> tuple[Any, Any]:
        """Return the next parameters and state."""
        import optax

        update, state = self.transformation(lr, second).update(gradient, state, parameters)
        return optax.apply_updates(parameters, update), state


def _sgd(task: Any) -> Updates:
    import optax

    return Optax(lambda lr, _: optax.sgd(lr))


def _momentum(task: Any) -> Updates:
    import optax

    return Optax(lambda lr, momentum: optax.sgd(lr, momentum=momentum))


def _adam(task: Any) -> Updates:
    import optax

    return Optax(lambda lr, beta1: optax.adam(lr, b1=beta1))


class KFAC:
    """K-FAC (Martens and Grosse 2015) by kfac-jax, with momentum and a constant damping.

    The library's curvature is used without its `Optimizer`, which cannot train several settings
    side by side.
    """

    period = 5  # as the library's own default

    def __init__(self, task: Any) -> None:
        kfac_jax = load_kfac()

        def loss(parameters: Any, batch: Any) -> Any:
            token = for_curvature.set(True)
            try:
                return task.loss(parameters, batch)
            finally:
                for_curvature.reset(token)

        self.curvature = kfac_jax.BlockDiagonalCurvature(loss, params_index=0)
        self.weight_decay = task.weight_decay

    def init(self, parameters: Any, batch: Any, key: Any) -> Any:
        """Return the state before the first step: no curvature has been seen."""
        import optax

        curvature = self.curvature.init(
            rng=key,
            func_args=(parameters, batch),
            exact_powers_to_cache=None,
            approx_powers_to_cache={-1},
            cache_eigenvalues=False,
        )
        return curvature, optax.sgd(0.0, momentum=KFAC_MOMENTUM).init(parameters)

    def observe(self, state: Any, parameters: Any, batch: Any, key: Any, second: Any) -> Any:
        """Add the curvature of a batch to the moving average."""
        curvature, velocity = state
        curvature = self.curvature.update_curvature_matrix_estimate(
            state=curvature,
            ema_old=CURVATURE_DECAY,
            ema_new=1.0,
            identity_weight=self.weight_decay + second,
            batch_size=len(batch[0]),
            rng=key,
            func_args=(parameters, batch),
            pmap_axis_name=None,
        )
        return curvature, velocity

    def refresh(self, state: Any, second: Any) -> Any:
        """Invert the damped curvature."""
        curvature, velocity = state
        curvature = self.curvature.update_cache(
            curvature,
            identity_weight=self.weight_decay + second,
            exact_powers=None,
            approx_powers={-1},
            eigenvalues=False,
            pmap_axis_name=None,
        )
        return curvature, velocity

    def apply(
        self, gradient: Any, state: Any, parameters: Any, lr: Any, second: Any
    ) -> tuple[Any, Any]:
        """Step along the gradient, which the inverse curvature multiplies."""
        import optax

        curvature, velocity = state
        direction = self.curvature.multiply_inverse(
            state=curvature,
            parameter_structured_vector=gradient,
            identity_weight=self.weight_decay + second,
            exact_power=False,
            use_cached=True,
            pmap_axis_name=None,
        )
        step = optax.sgd(lr, momentum=KFAC_MOMENTUM)
        update, velocity = step.update(direction, velocity, parameters)
        return optax.apply_updates(parameters, update), (curvature, velocity)


OPTIMIZERS = {
    "sgd": Optimizer("SGD", None, (0.0,), 0.25, 0, _sgd),
    "momentum": Optimizer("momentum", "momentum", MOMENTA, 0.25, 5, _momentum),
    "adam": Optimizer("Adam", "beta1", MOMENTA[:-2], 0.004, 5, _adam),
    "kfac": Optimizer("K-FAC", "damping", DAMPINGS, 0.25, 6, KFAC),
}
"""All optimisers by name, in the order of figures."""
