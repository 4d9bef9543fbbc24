"""The noisy quadratic problem around a network's parameters, with JAX."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np

from ..foundation.messages import reason
from ..foundation.validation import Array, InputError, any_array, flag, integer
from ..problem import Problem
from ..spectra import measurement
from .environment import need

LARGEST_GRADIENTS = 1 << 25
"""Numbers in the per-sample gradients that are computed at a time, which bounds the memory."""
MEAN_TOLERANCE = {True: 1e-6, False: 1e-3}
"""Relative error of a mean of losses, in double and in single precision."""


def measure(
    loss: Callable[[Any, Any], Any],
    parameters: Any,
    data: Any,
    *,
    start: Any = None,
    top: int | None = None,
    probes: int = measurement.PROBES,
    nodes: int = measurement.NODES,
    batch_size: int = 256,
    double: bool = True,
    seed: int = 0,
    negative: str = "error",
    damping: float = 0.0,
    progress: bool | None = None,
) -> Problem:
    """Measure the noisy quadratic problem around the parameters of a network.

    Hessian-vector products are derivatives of the gradient along a vector, over all data in
    batches; per-sample gradients are computed side by side. `nqm_fast.measure` does the rest, and
    says what becomes of them.

    Parameters
    ----------
    loss : callable
        ``loss(parameters, batch)``, the mean loss of the samples in a batch, which JAX can
        differentiate twice. A weight decay in it is part of every sample's loss.
    parameters : pytree of arrays
        Where to measure: the trained parameters, as the model is that of a minimum.
    data : pytree of arrays
        All samples, along the first axis of every array.
    start : pytree like `parameters`, optional
        The parameters that training begins with. If absent, the start has mean 0 and variance 1
        along every direction.
    top, probes, nodes, seed, negative, damping, progress
        As in `nqm_fast.measure`: how many of the largest eigenvalues are resolved (by default 20),
        random vectors, Lanczos steps, the seed, what becomes of eigenvalues that are negative or
        zero ("error", "drop" or "abs"; a network has some), what is added to all of them first, and
        whether to show a bar.
    batch_size : int
        Samples that a Hessian-vector product takes at a time, >= 1.
    double : bool
        Whether to compute in double precision, whatever the type of the arrays. Single precision is
        faster, and for losses that insist on it.

    Returns
    -------
    Problem

    Raises
    ------
    InputError
        If JAX is not installed, arrays do not fit or have masked elements, `loss` raises an error,
        is not a number, or not a mean over samples, or as `nqm_fast.measure` raises it.

    Examples
    --------
    >>> import jax.numpy as jnp  # doctest: +SKIP
    >>> loss = lambda w, batch: 0.5 * jnp.mean((batch[0] @ w - batch[1]) ** 2)  # doctest: +SKIP
    >>> nqm.networks.measure(loss, trained, (inputs, targets), start=initial)  # doctest: +SKIP
    """
    need("networks", "jax")
    batch_size = integer("batch_size", batch_size, least=1)
    if not callable(loss):
        raise InputError(f"loss must be a function of parameters and batch, not {loss!r}")
    double = flag("double", double)
    with _precision(double):
        network = _network(loss, parameters, data, double)
        first = None if start is None else _flat_start(start, parameters, network)
        return measurement.measure(
            _hessian_vector_product(network, batch_size),
            _per_sample_gradients(network, batch_size, MEAN_TOLERANCE[double]),
            first,
            dim=network.flat.size,
            top=top,
            probes=probes,
            nodes=nodes,
            seed=seed,
            negative=negative,
            damping=damping,
            progress=progress,
        )


class _Network(NamedTuple):
    """A loss as a function of flat parameters, and its data."""

    loss: Callable[[Any, Any], Any]
    flat: Any
    """Parameters, shape (d,)."""
    data: Any
    samples: int

    def batch(self, start: int, stop: int) -> Any:
        """Return the samples start .. stop - 1, of those that there are."""
        import jax

        size = min(stop, self.samples) - start
        return jax.tree.map(
            lambda array: jax.lax.dynamic_slice_in_dim(array, start, size), self.data
        )


def _precision(double: bool) -> AbstractContextManager[Any]:
    """Return the context in which JAX has doubles, or has not."""
    import jax

    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(double)  # type: ignore[no-any-return]
    from jax.experimental import enable_x64

    return enable_x64(double)  # type: ignore[no-any-return]


def _network(loss: Callable[[Any, Any], Any], parameters: Any, data: Any, double: bool) -> _Network:
    """Flatten parameters, and put all arrays into the precision that is asked for."""
    import jax
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    wanted = jnp.float64 if double else jnp.float32

    def converted(array: Any) -> Any:
        array = jnp.asarray(array)
        return array.astype(wanted) if jnp.issubdtype(array.dtype, jnp.floating) else array

    _refuse_masks("parameters", parameters)
    _refuse_masks("data", data)
    leaves = jax.tree.leaves(parameters)
    if not leaves or not all(jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating) for x in leaves):
        raise InputError("parameters must be arrays of real numbers, at least one, and no others")
    flat, unflatten = ravel_pytree(jax.tree.map(converted, parameters))
    data = jax.tree.map(converted, data)
    sizes = {array.shape[0] if array.ndim else None for array in jax.tree.leaves(data)}
    samples = sizes.pop() if len(sizes) == 1 else None
    if not samples:
        raise InputError(
            "data must be one or more arrays with as many samples, at least one, along the first "
            "axis of each"
        )

    def of_flat(vector: Any, batch: Any) -> Any:
        return loss(unflatten(vector), batch)

    try:
        shape = jax.eval_shape(of_flat, flat, jax.tree.map(lambda array: array[:1], data))
    except Exception as error:
        raise InputError(
            f"loss must take parameters and a batch of data, but raises {reason(error)}"
        ) from error
    if getattr(shape, "shape", None) != ():
        raise InputError(f"loss must return one number, the mean over a batch, not {shape}")
    return _Network(of_flat, flat, data, int(samples))


def _refuse_masks(name: str, tree: Any) -> None:
    """Raise an InputError if an array has masked elements."""
    import jax

    for array in jax.tree.leaves(tree):
        if isinstance(array, np.ma.MaskedArray):
            any_array(name, array)


def _flat_start(start: Any, parameters: Any, network: _Network) -> Array:
    """Return the initial minus the trained parameters, flat."""
    import jax
    from jax.flatten_util import ravel_pytree

    _refuse_masks("start", start)
    shapes = [
        (jax.tree.structure(tree), [np.shape(leaf) for leaf in jax.tree.leaves(tree)])
        for tree in (start, parameters)
    ]
    if shapes[0] != shapes[1]:
        raise InputError("start must have the arrays of parameters, with the same shapes")
    return np.asarray(ravel_pytree(start)[0], np.float64) - np.asarray(network.flat, np.float64)


def _hessian_vector_product(network: _Network, batch_size: int) -> Callable[[Array], Array]:
    """Return the product of the Hessian, of the mean loss of all data, with a flat vector."""
    import jax

    @jax.jit
    def of_batch(flat: Any, batch: Any, vector: Any) -> Any:
        return jax.jvp(lambda w: jax.grad(network.loss)(w, batch), (flat,), (vector,))[1]

    def product(vector: Array) -> Array:
        direction = jax.numpy.asarray(vector, network.flat.dtype)
        total = np.zeros(vector.size)
        for begin in range(0, network.samples, batch_size):
            batch = network.batch(begin, begin + batch_size)
            part = np.asarray(of_batch(network.flat, batch, direction), np.float64)
            total += part * (min(batch_size, network.samples - begin) / network.samples)
        return total

    return product


def _per_sample_gradients(network: _Network, batch_size: int, tolerance: float) -> Iterator[Array]:
    """Compute the gradients of all samples, batch by batch, each of shape (n, d).

    Raises
    ------
    InputError
        If the loss of a batch is not the mean of the losses of its samples.
    """
    import jax

    @jax.jit
    def of_batch(flat: Any, batch: Any) -> Any:
        def of_sample(sample: Any) -> Any:
            alone = jax.tree.map(lambda array: array[None], sample)
            return jax.value_and_grad(network.loss)(flat, alone)

        return (network.loss(flat, batch), *jax.vmap(of_sample)(batch))

    batch_size = max(1, min(batch_size, LARGEST_GRADIENTS // network.flat.size))
    for begin in range(0, network.samples, batch_size):
        together, losses, gradients = of_batch(
            network.flat, network.batch(begin, begin + batch_size)
        )
        mean = float(np.mean(np.asarray(losses, np.float64)))
        scale = float(np.mean(np.abs(losses))) or 1.0
        if not abs(float(together) - mean) <= tolerance * scale:
            raise InputError(
                f"loss must be the mean over samples, but is {float(together):g} for "
                f"{len(losses)} samples, whose own losses have the mean {mean:g}"
            )
        yield np.asarray(gradients, np.float64)
