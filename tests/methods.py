"""Methods as their papers write them, in plain loops, for comparison with their recurrences.

A loop is a generator of the evaluated iterate after each step. It is given the initial iterate, the
noise of each step, the curvature, and hyper-parameters as functions of the step. Iterates are
arrays: a response to the initial iterate, and one to the noise of each step.
"""

import itertools

import numpy as np


def risks(method, problem, batch_size, steps):
    """Expected risk at steps 0 .. steps, from the responses of a method to start and noise."""
    w0 = np.zeros(steps + 1)
    w0[0] = 1.0
    noise = np.eye(steps, steps + 1, k=1)
    block = problem.block(0, problem.dim)
    total = np.zeros(steps + 1)
    for h, c, moment, count in zip(*(np.broadcast_to(x, block.h.shape) for x in block[:4])):  # noqa: B905
        iterates = itertools.islice(method(w0, noise, h), steps)
        squares = np.array([w0, *iterates]) ** 2
        total += 0.5 * h * count * (moment * squares[:, 0] + c / batch_size * squares[:, 1:].sum(1))
    return total


def constant(value):
    return lambda step: value


def sgd(w, noise, h, lr, momentum, power=0.0):
    v = 0.0
    for t, xi in enumerate(noise):
        v = momentum(t) * v + (h * w + xi)
        w = w - lr(t) * h**-power * v
        yield w


def nesterov_pytorch(w, noise, h, lr, momentum, power=0.0):
    buffer = 0.0
    for t, xi in enumerate(noise):
        gradient = h * w + xi
        buffer = momentum(t) * buffer + gradient
        w = w - lr(t) * h**-power * (gradient + momentum(t) * buffer)
        yield w


def nesterov_original(w, noise, h, lr, momentum, power=0.0):
    y = w
    for t, xi in enumerate(noise):
        new = y - lr(t) * h**-power * (h * y + xi)
        y = new + momentum(t) * (new - w)
        w = new
        yield w


def qhm(w, noise, h, lr, momentum, nu, power=0.0):
    mean = 0.0
    for t, xi in enumerate(noise):
        gradient = h * w + xi
        mean = momentum(t) * mean + (1 - momentum(t)) * gradient
        w = w - lr(t) * h**-power * ((1 - nu(t)) * gradient + nu(t) * mean)
        yield w


def ademamix(w, noise, h, lr, momentum, slow, alpha, power=0.0):
    m1 = m2 = 0.0
    for t, xi in enumerate(noise):
        gradient = h * w + xi
        m1 = momentum(t) * m1 + (1 - momentum(t)) * gradient
        m2 = slow(t) * m2 + (1 - slow(t)) * gradient
        w = w - lr(t) * h**-power * (m1 + alpha(t) * m2)
        yield w


def dana(w, noise, h, lr, weight, delta, power=0.0):
    y = 0.0
    for t, xi in enumerate(noise):
        gradient = h * w + xi
        y = (1 - delta(t)) * y + gradient
        w = w - lr(t) * h**-power * gradient - lr(t) * weight(t) * h**-power * y
        yield w


def delayed(w, noise, h, lr, delay, momentum, power=0.0):
    past = [w] * (delay + 1)
    v = 0.0
    for t, xi in enumerate(noise):
        v = momentum(t) * v + (h * past[-1 - delay] + xi)
        past.append(past[-1] - lr(t) * h**-power * v)
        yield past[-1]


def schedule_free(w, noise, h, lr, beta, power=0.0):
    z = x = w
    total = 0.0
    for t, xi in enumerate(noise):
        y = (1 - beta) * z + beta * x
        z = z - lr(t) * h**-power * (h * y + xi)
        total += lr(t) ** 2
        share = lr(t) ** 2 / total if total else 0.0
        x = (1 - share) * x + share * z
        yield x


def ema(inner, decay):
    def method(w, noise, h):
        average = w
        for t, x in enumerate(inner(w, noise, h)):
            average = decay(t) * average + (1 - decay(t)) * x
            yield average

    return method


def tail_average(inner, start):
    def method(w, noise, h):
        seen = []
        for t, x in enumerate(inner(w, noise, h)):
            seen.append(x)
            yield x if t < start else np.mean(seen[start:], axis=0)

    return method


def lookahead_momentum(w, noise, h, lr, momentum, period, alpha):
    slow, v = w, 0.0
    for t, xi in enumerate(noise):
        v = momentum(t) * v + (h * w + xi)
        w = w - lr(t) * v
        if (t + 1) % period == 0:
            slow = slow + alpha * (w - slow)
            w = slow
        yield slow


def lookahead_nesterov(w, noise, h, lr, momentum, period, alpha):
    slow, v = w, 0.0  # v is the last move, so that the look-ahead point is w + momentum v
    for t, xi in enumerate(noise):
        y = w + momentum * v
        new = y - lr * (h * y + xi)
        w, v = new, new - w
        if (t + 1) % period == 0:
            slow = slow + alpha * (w - slow)
            w = slow
        yield slow
