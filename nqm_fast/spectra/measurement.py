"""Problems measured on anything that has Hessian-vector products and per-sample gradients.

A measurement is three measures on the spectrum of the Hessian: how many eigenvalues there are, how
much gradient noise, and how much of the start. Along the top eigenvectors each is known; of the
rest, the bulk, each has the Gauss rules of Lanczos runs, which begin at random vectors, at random
sums of gradients, and at the start itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from inspect import signature
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..coordinates.spectrum import NEGATIVE, vanishing
from ..foundation.arithmetic import in_usual_arithmetic
from ..foundation.messages import reason
from ..foundation.validation import Array, InputError, choice, integer, number, real_array
from ..output.progress import shown
from ..problem import Problem
from .bulk import Bulk, Product, Rule, spread

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

TOP, PROBES, NODES = 20, 10, 40
"""The values of `top`, `probes` and `nodes` by default; `top` is at most half of the directions."""
EIGEN_TOLERANCE = 1e-10
"""Relative residual of top eigenpairs; the error of an eigenvalue is its square, at a gap of 1."""
SYMMETRY = 1e-2
"""Difference of ``u . Hv`` and ``v . Hu`` that single precision may leave, of what they may be."""


class Gradients(NamedTuple):
    """Sums over per-sample gradients, which one pass over them makes."""

    top: Array
    """Variance along each top eigenvector, shape (top,)."""
    rest: float
    """Sum of the variances along all other directions."""
    probes: Array
    """Random sums of centred gradients whose covariance is that of a gradient, (probes, d)."""


@in_usual_arithmetic
def measure(
    hessian_vector_product: LinearOperator | Callable[[Array], ArrayLike],
    per_sample_gradients: Iterable[ArrayLike],
    start: ArrayLike | None = None,
    *,
    dim: int | None = None,
    top: int | None = None,
    probes: int = PROBES,
    nodes: int = NODES,
    seed: int = 0,
    negative: str = "error",
    damping: float = 0.0,
    progress: bool | None = None,
) -> Problem:
    """Measure the noisy quadratic problem around a point, such as a trained network's parameters.

    The largest eigenvalues are found with their eigenvectors, by Lanczos; each is an entry of
    count 1, with the variance of the gradients along its eigenvector as c and the start's
    projection on it as mean0. All other directions, the bulk, are nodes of stochastic Lanczos
    quadrature with counts that sum to their number. The noise and the start have Lanczos rules of
    their own, begun at random sums of centred gradients and at the start; their masses are spread
    over the nodes between which they lie, as c and var0. So the bulk's noise adds up to the exact
    trace of the gradients' covariance there, and the start's squares to its squared norm.

    Parameters
    ----------
    hessian_vector_product : scipy.sparse.linalg.LinearOperator or callable
        The product of the (symmetric) Hessian with a float64 array of shape (d,).
    per_sample_gradients : iterable of array_like, shape (n, d)
        Batches of gradients of single samples at the point, two samples at least in all. It is
        gone through once, so that a generator is fine. Variances are divided by the number of
        samples, as of samples drawn with replacement.
    start : array_like, shape (d,), optional
        Where training begins, relative to the minimum (initial minus trained parameters). If
        absent, the start has mean 0 and variance 1 along every direction, as in `Problem`.
    dim : int, optional
        d, where neither the operator nor `start` says it.
    top : int, optional
        How many of the largest eigenvalues are resolved, at most d; by default 20, or half of d.
    probes : int
        Random vectors, and as many random sums of gradients, >= 1. The standard error of the
        bulk's sum of count h is ``sqrt(2 sum h^2 / probes)`` at most, that of c h accordingly.
    nodes : int
        Lanczos steps from each, >= 1, which is also how many vectors of d numbers are held.
    seed : int
        Of the random vectors and signs; the same seed gives the same problem.
    negative : {"error", "drop", "abs"}
        What becomes of eigenvalues that are negative or zero, as real networks have them; see
        `Problem`, whose attribute `dropped` reports it.
    damping : float
        Added to all eigenvalues first, >= 0.
    progress : bool, optional
        Whether to show a bar; by default where somebody seems to watch.

    Returns
    -------
    Problem
        Top eigenvalues first, in descending order, then the bulk in ascending order.

    Raises
    ------
    InputError
        If a shape does not fit, a product raises an error or is not finite, the operator is not
        symmetric, there are no two gradients, or eigenvalues are not positive and `negative` is
        "error".

    Examples
    --------
    >>> import numpy as np
    >>> import nqm_fast as nqm
    >>> gradients = np.random.default_rng(0).normal(size=(100, 3)) * [1.0, 0.5, 0.1]
    >>> problem = nqm.measure(lambda v: [4.0, 1.0, 0.1] * v, [gradients], np.ones(3), top=1)
    >>> float(problem.h[0]), round(float(problem.count.sum()), 9)
    (4.0, 3.0)
    """
    negative = choice("negative", negative, NEGATIVE)
    damping = number("damping", damping, least=0.0)
    probes = integer("probes", probes, least=1)
    nodes = integer("nodes", nodes, least=1)
    rng = np.random.default_rng(integer("seed", seed, least=0))
    first = None if start is None else _vector("start", start)
    d = _dimension(hessian_vector_product, first, dim)
    top = min(TOP, max(d // 2, 1)) if top is None else integer("top", top, least=0, most=d)
    multiply = _checked_product(hessian_vector_product, d)
    with shown(progress):
        _check_symmetry(multiply, d, rng)
        h, basis = _top_eigenpairs(multiply, d, top, rng)
        noise = _noise(per_sample_gradients, basis, probes if top < d else 0, rng)
        mean = np.zeros(top) if first is None else basis @ first
        bulk = Bulk(multiply, basis, nodes)
        count = bulk.density(d - top, probes, rng) if top < d else Rule(np.empty(0), np.empty(0))
        c = spread(bulk.measure(noise.probes, noise.rest, "noise"), count.h) / count.mass
        var0 = np.ones(count.h.size)
        if first is not None and top < d:
            rest = first - basis.T @ mean
            var0 = spread(bulk.measure(rest[None], float(rest @ rest), "start"), count.h)
            var0 /= count.mass
    curvature = np.concatenate([h, count.h])
    curvature[np.abs(curvature) <= vanishing(curvature, d)] = 0.0
    return Problem(
        curvature,
        np.concatenate([noise.top, c]),
        mean0=np.concatenate([mean, np.zeros(count.h.size)]),
        var0=np.concatenate([np.full(top, float(first is None)), var0]),
        count=np.concatenate([np.ones(top), count.mass]),
        negative=negative,
        damping=damping,
    )


# -- what is given -----------------------------------------------------------------------


def _vector(name: str, value: ArrayLike) -> Array:
    """Check that a value is an array of shape (d,)."""
    vector = real_array(name, value)
    if vector.ndim != 1 or not vector.size:
        raise InputError(f"{name} must have shape (d,), but has shape {vector.shape}")
    return vector


def _dimension(operator: Any, start: Array | None, dim: int | None) -> int:
    """Return the number of directions, of which at least one argument must know."""
    known: dict[str, int] = {}
    shape = getattr(operator, "shape", None)
    if isinstance(shape, tuple):
        if len(shape) != 2 or shape[0] != shape[1]:
            raise InputError(f"hessian_vector_product must be square, but has shape {shape}")
        known["hessian_vector_product"] = int(shape[0])
    if start is not None:
        known["start"] = start.size
    if dim is not None:
        known["dim"] = integer("dim", dim, least=1)
    if not known:
        raise InputError("dim must be given, where neither an operator's shape nor start says it")
    if len(set(known.values())) > 1:
        said = " and ".join(f"{size} by {name}" for name, size in known.items())
        raise InputError(
            f"{list(known)[-1]} must agree on the number of directions, which is {said}"
        )
    return next(iter(known.values()))


def _checked_product(operator: Any, d: int) -> Product:
    """Return the product with a vector, whose results are checked."""
    multiply = getattr(operator, "matvec", operator)
    if not callable(multiply) and hasattr(operator, "__matmul__"):  # a matrix of any kind

        def multiply(vector: Array) -> Any:
            return operator @ vector

    if not callable(multiply):
        raise InputError(
            "hessian_vector_product must be a LinearOperator or a function of an array of shape "
            f"(d,), not a {type(operator).__name__}"
        )

    def product(vector: Array) -> Array:
        try:
            given = multiply(vector.copy())
        except (InputError, MemoryError):
            raise
        except Exception as error:
            raise InputError(
                f"hessian_vector_product must take an array of shape ({d},), but raises "
                f"{reason(error)}"
            ) from error
        image = real_array("hessian_vector_product(v)", given)
        if image.shape != (d,):
            raise InputError(
                "hessian_vector_product must return an array of the shape of its argument, "
                f"({d},), not {image.shape}"
            )
        return image

    return product


def _check_symmetry(multiply: Product, d: int, rng: np.random.Generator) -> None:
    """Raise an InputError unless the operator is linear and symmetric between two vectors."""
    u, v = rng.standard_normal((2, d))
    of_u, of_v = multiply(u), multiply(v)
    if not (of_u.any() or of_v.any()):
        raise InputError(
            "hessian_vector_product must not be 0 for random vectors: there is no curvature"
        )
    size = np.linalg.norm(of_u) * np.linalg.norm(v) + np.linalg.norm(of_v) * np.linalg.norm(u)
    gap = abs(float(u @ of_v - v @ of_u))
    if gap > SYMMETRY * float(size) / np.sqrt(d):
        raise InputError(
            "hessian_vector_product must be symmetric and the same at every call: u . Hv and "
            f"v . Hu of two random vectors differ by {gap:g}"
        )


# -- top eigenpairs ----------------------------------------------------------------------


def _top_eigenpairs(
    multiply: Product, d: int, top: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Return the largest eigenvalues, descending, and their eigenvectors as rows, (top, d)."""
    from scipy.linalg import eigh
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    if not top:
        return np.empty(0), np.empty((0, d))
    if 2 * top + 1 >= d:  # Lanczos would need all of the space.
        matrix = np.array([multiply(row) for row in np.eye(d)])
        values, vectors = eigh((matrix + matrix.T) / 2)
    else:
        operator = LinearOperator((d, d), matvec=multiply, dtype=np.float64)
        begin = rng.standard_normal(d)
        # ARPACK goes on from random vectors where it meets an invariant subspace; before SciPy 1.17
        # it has its own.
        seeded: dict[str, Any] = {"rng": rng} if "rng" in signature(eigsh).parameters else {}
        try:
            values, vectors = eigsh(
                operator, top, which="LA", v0=begin, tol=EIGEN_TOLERANCE, **seeded
            )
        except ArpackError as error:
            raise InputError(
                f"top = {top} eigenpairs cannot be found by Lanczos: {error}; ask for fewer, or "
                "give a more precise hessian_vector_product"
            ) from None
    order = np.argsort(values)[::-1][:top]
    return values[order], np.ascontiguousarray(vectors[:, order].T)


# -- gradients ---------------------------------------------------------------------------


def _noise(
    batches: Iterable[ArrayLike], basis: Array, probes: int, rng: np.random.Generator
) -> Gradients:
    """Go through the gradients once: variances, and random sums.

    A random sum is ``sum_n s_n (g_n - mean) / sqrt(N)`` with random signs s.
    """
    top, d = basis.shape
    samples = 0
    mean, along = np.zeros(d), np.zeros(top)
    total = 0.0  # This is the sum of squared distances from the mean, as `along` is along the top.
    sums, signs = np.zeros((probes, d)), np.zeros(probes)
    for gradients in _batches(batches, d):
        n = len(gradients)
        batch_mean = gradients.mean(axis=0)
        shift = batch_mean - mean
        part = samples * n / (samples + n)
        centred = gradients - batch_mean
        total += float(np.vdot(centred, centred)) + part * float(shift @ shift)
        along += np.square(centred @ basis.T).sum(axis=0) + part * np.square(basis @ shift)
        samples += n
        mean += shift * (n / samples)
        sign = rng.choice([-1.0, 1.0], size=(probes, n))
        sums += sign @ gradients
        signs += sign.sum(axis=1)
    if samples < 2:
        raise InputError(
            f"per_sample_gradients must have two samples at least, not {samples}, for a variance"
        )
    sums -= signs[:, None] * mean
    top_variance = along / samples
    rest = max(total / samples - float(top_variance.sum()), 0.0)
    return Gradients(top_variance, rest, sums / np.sqrt(samples))


def _batches(batches: Any, d: int) -> Iterator[Array]:
    """Go through batches of gradients, each of shape (n, d); one batch may come by itself."""
    if getattr(batches, "ndim", None) == 2:
        batches = [batches]
    if not isinstance(batches, Iterable):
        raise InputError(
            "per_sample_gradients must be an iterable of arrays of shape (n, d), not a "
            f"{type(batches).__name__}"
        )
    for batch in batches:
        gradients = real_array("per_sample_gradients", batch)
        if gradients.ndim != 2 or gradients.shape[1] != d:
            raise InputError(
                f"per_sample_gradients must be arrays of shape (n, {d}), one row a sample, but one "
                f"has shape {gradients.shape}"
            )
        if len(gradients):
            yield gradients
