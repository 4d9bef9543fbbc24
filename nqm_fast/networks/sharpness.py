"""The largest curvature of a network's loss along a training by plain SGD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..foundation.messages import InputError
from ..foundation.validation import integer, number
from .environment import load_jax
from .tasks import as_task

ITERATIONS = 60
"""Products with the Hessian, after which a power iteration has settled to about a per cent."""


def largest_curvatures(
    task: Any, *, batch_size: int, lr: float, steps: int | Sequence[int], seed: int = 0
) -> list[float]:
    """Train a network by plain SGD, and measure its largest curvature on the way.

    It is the largest magnitude of an eigenvalue of the Hessian of the training set's loss, weight
    decay included, by power iteration: what `TrainingRun` takes as `sharpness`.

    Parameters
    ----------
    task : str or Task
        As of `study`.
    batch_size : int
    lr : float
    steps : int or sequence of int
        Numbers of steps, >= 0 and in ascending order.
    seed : int
        Of the initial parameters and the batches, which are those of the study.

    Returns
    -------
    list of float
        One for each of `steps`.

    Raises
    ------
    InputError
        If an argument is outside its limits, or JAX is not installed.
    """
    network = as_task(task)
    size = integer("batch_size", batch_size, least=1)
    rate = number("lr", lr, above=0.0)
    stops = [integer("steps", step, least=0) for step in np.atleast_1d(steps).tolist()]
    if stops != sorted(stops):
        raise InputError(f"steps must be in ascending order, not {stops}")
    jax = load_jax()
    data = tuple(jax.numpy.asarray(x) for x in network.train)
    gradient = jax.grad(network.objective)

    def step(t: Any, carry: Any) -> Any:
        parameters, key = carry
        # The batches of the study's trainings.
        chosen = jax.random.randint(jax.random.fold_in(key, t + 1), (size,), 0, network.size)
        slope = gradient(parameters, tuple(x[chosen] for x in data))
        return jax.tree.map(lambda x, g: x - rate * g, parameters, slope), key

    train = jax.jit(lambda begin, end, carry: jax.lax.fori_loop(begin, end, step, carry))
    largest = jax.jit(lambda parameters, key: _largest(jax, gradient, parameters, data, key))
    key = jax.random.key(integer("seed", seed, least=0))
    parameters = network.init(jax.random.fold_in(key, 0))
    found, begin = [], 0
    for end in stops:
        parameters, _ = train(begin, end, (parameters, key))
        found.append(float(largest(parameters, key)))
        begin = end
    return found


def _largest(jax: Any, gradient: Any, parameters: Any, data: Any, key: Any) -> Any:
    """Find the largest eigenvalue of the Hessian by power iteration from a random vector."""

    def normalised(vector: Any) -> tuple[Any, Any]:
        squares = [jax.numpy.sum(x * x) for x in jax.tree.leaves(vector)]
        size = jax.numpy.sqrt(sum(squares))
        # A network that is flat there has a largest curvature of 0.
        return jax.tree.map(lambda x: x / jax.numpy.where(size > 0.0, size, 1.0), vector), size

    def multiplied(_: Any, carry: Any) -> Any:
        vector, _size = carry
        return normalised(jax.jvp(lambda x: gradient(x, data), (parameters,), (vector,))[1])

    leaves, tree = jax.tree.flatten(parameters)
    keys = jax.random.split(key, len(leaves))
    pairs = zip(keys, leaves, strict=True)
    start = tree.unflatten([jax.random.normal(one, x.shape) for one, x in pairs])
    return jax.lax.fori_loop(0, ITERATIONS, multiplied, normalised(start))[1]
