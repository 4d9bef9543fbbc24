"""What tests compare the model with: slow and obvious computations, and some in 60 digits."""

from math import comb

import mpmath
import numpy as np
from nqm_fast.kernels.reference import stepped_risk

from nqm_fast import kernels
from nqm_fast.schedules import as_schedule

# -- the expected risk, by stepping ------------------------------------------------------


def stepped(problem, algorithm, batch_size, last):
    """Risk of SGD at steps 0 .. last, from stepping the covariance with the in-tree oracle."""
    steps = np.arange(last)
    return stepped_risk(
        problem.h,
        problem.c,
        problem.mean0**2 + problem.var0,
        problem.count,
        algorithm.lr.values(steps),
        as_schedule("batch_size", batch_size).values(steps),
        algorithm.momentum,
        algorithm.ema,
        algorithm.power,
    )


def stepped_by_matrices(problem, matrix, kick, start, read, batch_size, steps):
    """Risk of any linear algorithm: `matrix(h, t)` and `kick(h, t)` move the second moments."""
    h = problem.h
    S = np.einsum("a,b,i->iab", start, start, problem.mean0**2 + problem.var0)
    risk = [0.5 * h @ np.einsum("a,iab,b->i", read, S, read)]
    for t in range(steps):
        A = np.array([matrix(x, t) for x in h])
        b = np.array([kick(x, t) for x in h])
        noise = np.einsum("i,ia,ib->iab", problem.c / batch_size, b, b)
        S = A @ S @ A.transpose(0, 2, 1) + noise
        risk.append(0.5 * h @ np.einsum("a,iab,b->i", read, S, read))
    return np.array(risk)


def stepped_densely(H, C, mean_square, K, momentum, ema, batch_size, steps):
    """Risk of SGD with dense matrices, w' = w - K v', from the moments of (w, v, e)."""
    d = H.shape[0]
    one, zero = np.eye(d), np.zeros((d, d))
    iterate = np.hstack([one - K @ H, -momentum * K, zero])
    A = np.vstack(
        [
            iterate,
            np.hstack([H, momentum * one, zero]),
            (1.0 - ema) * iterate + ema * np.hstack([zero, zero, one]),
        ]
    )
    kick = np.vstack([-K, one, -(1.0 - ema) * K])
    S = np.block(
        [[mean_square, zero, mean_square], [zero, zero, zero], [mean_square, zero, mean_square]]
    )
    risk = []
    for _ in range(steps):
        risk.append(0.5 * np.trace(H @ S[2 * d :, 2 * d :]))
        S = A @ S @ A.T + kick @ C @ kick.T / batch_size
    return risk


def _compiled(function):
    """A function compiled by Numba, if that is there, as stepping takes long without."""
    if "numba" in kernels.present_backends():
        from nqm_fast.kernels.numba.jit import kernel

        return kernel(function)
    return function


@_compiled
def _step_one_coordinate(h, step, momentum, ema, records, signal, noise):
    """Squared response to w_0 = 1, and noise variance at c / B = 1, one step at a time."""
    w, v, e = 1.0, 0.0, 1.0
    kick_w, kick_v, kick_e = 0.0, 1.0, 0.0  # what is left of the noise of one gradient
    total = 0.0
    for t in range(records[-1] + 1):
        for k in range(records.size):
            if records[k] == t:
                signal[k], noise[k] = e * e, total
        v = momentum * v + h * w
        w -= step * v
        e += (1.0 - ema) * (w - e)
        if t > 0:
            kick_v = momentum * kick_v + h * kick_w
        kick_w -= step * kick_v
        kick_e += (1.0 - ema) * (kick_w - kick_e)
        total += kick_e * kick_e


def stepped_coordinate(problem, algorithm, batch_size, records):
    """The risk of one coordinate, the sums written as in the definition of SGD."""
    (h,), (c,), (moment,) = problem.h, problem.c, problem.mean0**2 + problem.var0
    signal, noise = np.zeros((2, records.size))
    step = algorithm.lr.value * h**-algorithm.power
    _step_one_coordinate(h, step, algorithm.momentum, algorithm.ema, records, signal, noise)
    return 0.5 * problem.count[0] * h * (moment * signal + c / batch_size * noise)


# -- the expected risk, in 60 digits -----------------------------------------------------


def _times(a, b):
    n = range(3)
    return [[sum(a[i][k] * b[k][j] for k in n) for j in n] for i in n]


def _congruent(m, v):
    return _times(_times(m, v), list(zip(*m, strict=True)))


def _plus(a, b):
    return [[x + y for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]


def _coordinate_risk(h, c, moment, algorithm, batch_size, steps):
    """The covariance recursion as an affine map, composed by repeated squaring."""
    lr, beta, gamma, power = (
        mpmath.mpf(float(x))
        for x in (algorithm.lr.value, algorithm.momentum, algorithm.ema, algorithm.power)
    )
    k = lr * h**-power
    one, zero = mpmath.mpf(1), mpmath.mpf(0)
    w = [one - k * h, -k * beta, zero]
    A = [w, [h, beta, zero], [(1 - gamma) * w[0], (1 - gamma) * w[1], gamma]]
    kick = [-k, one, -(1 - gamma) * k]
    V = [[c / batch_size * x * y for y in kick] for x in kick]
    S = [[moment, zero, moment], [zero] * 3, [moment, zero, moment]]
    states = dict.fromkeys(steps, S)
    for bit in range(max(steps).bit_length()):
        for t in steps:
            if t >> bit & 1:
                states[t] = _plus(_congruent(A, states[t]), V)
        A, V = _times(A, A), _plus(V, _congruent(A, V))
    return [h / 2 * states[t][2][2] for t in steps]


def risk_to_60_digits(problem, algorithm, batch_size, steps):
    """Risk at a few steps, from the covariance recursion in 60 digits."""
    with mpmath.workdps(60):
        total = [mpmath.mpf(0)] * len(steps)
        fields = (problem.h, problem.c, problem.mean0, problem.var0, problem.count)
        for coordinate in zip(*fields, strict=True):
            h, c, mean, variance, count = (mpmath.mpf(float(x)) for x in coordinate)
            part = _coordinate_risk(h, c, mean**2 + variance, algorithm, batch_size, steps)
            total = [x + count * y for x, y in zip(total, part, strict=True)]
        return [float(x) for x in total]


# -- the law of the risk -----------------------------------------------------------------


def cumulants_of_iterate(problem, algorithm, batch_size, law, steps):
    """Cumulants of order 0 to 8 of every coordinate, from the response to w_0 and to all noise.

    `law` has the cumulants of order 4, 6 and 8 of a sample of variance 1.
    """
    h, k = problem.h, problem.h**-algorithm.power
    lr = algorithm.lr.values(np.arange(steps))
    batch = as_schedule("batch_size", batch_size).values(np.arange(steps))[:, None]
    w = np.zeros((1 + steps, h.size))  # row 0 starts at 1, row 1 + t has noise 1 in step t only
    w[0] = 1.0
    v, e = np.zeros_like(w), w
    for t in range(steps):
        gradient = h * w
        gradient[1 + t] += 1.0
        v = algorithm.momentum * v + gradient
        w = w - lr[t] * k * v
        e = algorithm.ema * e + (1.0 - algorithm.ema) * w
    kappa = np.zeros((9, h.size))
    for n, of_law in zip((2, 4, 6, 8), (1.0, *law), strict=True):
        kappa[n] = of_law * np.sum(e[1:] ** n * problem.c ** (n / 2) / batch ** (n - 1), 0)
    kappa[1] += e[0] * problem.mean0
    kappa[2] += e[0] ** 2 * problem.var0
    return kappa


def cumulants_of_risk(problem, algorithm, batch_size, law, steps):
    """Mean, variance and fourth cumulant of the risk."""
    kappa = cumulants_of_iterate(problem, algorithm, batch_size, law, steps)
    m = [np.ones(problem.dim)]
    for n in range(1, 9):
        m.append(sum(comb(n - 1, j - 1) * kappa[j] * m[n - j] for j in range(1, n + 1)))
    _, _, a, _, b, _, c, _, d = m
    of_square = a, b - a**2, d - 4 * c * a - 3 * b**2 + 12 * b * a**2 - 6 * a**4
    weight = 0.5 * problem.h
    return [weight**n @ x for n, x in zip((1, 2, 4), of_square, strict=True)]
