"""Networks in JAX are measured: a linear one is the least-squares problem that it is."""

import numpy as np
import pytest
from helpers import python

import nqm_fast as nqm

jax = pytest.importorskip("jax")
jnp = jax.numpy

from nqm_fast import networks  # noqa: E402

RNG = np.random.default_rng(17)
X = RNG.normal(size=(150, 12)) * np.linspace(2.0, 0.2, 12)
Y = X @ RNG.normal(size=12) + RNG.normal(size=150)
OPTIMUM = np.linalg.lstsq(X, Y, rcond=None)[0]
WANTED = nqm.Problem.from_least_squares(X, Y)


def linear_loss(weights, batch):
    inputs, targets = batch
    outputs = inputs[:, :5] @ weights["a"] + inputs[:, 5:] @ weights["b"]
    return 0.5 * jnp.mean((outputs - targets) ** 2)


TRAINED = {"a": OPTIMUM[:5], "b": OPTIMUM[5:]}
ZERO = jax.tree.map(np.zeros_like, TRAINED)


@pytest.mark.parametrize(("double", "rtol"), [(True, 1e-9), (False, 1e-4)])
@pytest.mark.parametrize("batch_size", [1000, 64])
def test_a_linear_network_is_least_squares(double, rtol, batch_size):
    problem = networks.measure(
        linear_loss, TRAINED, (X, Y), start=ZERO, top=12, batch_size=batch_size, double=double
    )
    order = np.argsort(problem.h)
    for name in ("h", "c", "mean0"):
        values = [np.abs(getattr(p, name)) for p in (problem, WANTED)]
        np.testing.assert_allclose(values[0][order], values[1], rtol=rtol, atol=rtol)
    np.testing.assert_array_equal(problem.var0, 0.0)
    assert not jax.config.jax_enable_x64


def test_its_bulk_has_nearly_the_same_risk():
    problem = networks.measure(linear_loss, TRAINED, (X, Y), start=ZERO, top=3)
    assert problem.count.sum() == pytest.approx(12)
    for algorithm in (nqm.SGD(0.05), nqm.SGD(0.02, momentum=0.8)):
        risks = [nqm.expected_risk(p, algorithm, 4, [0, 5, 50, 500]) for p in (problem, WANTED)]
        np.testing.assert_allclose(*risks, rtol=0.02)


def test_a_network_that_is_not_linear():
    """Top eigenvalues and noise are those of the dense Hessian, and of gradients one by one."""
    inputs, labels = RNG.normal(size=(40, 3)).astype(np.float32), RNG.integers(0, 2, 40)
    weights = {"w": 0.5 * RNG.normal(size=(3, 4)), "v": RNG.normal(size=(4, 2))}

    def loss(weights, batch):
        logits = jnp.tanh(batch["x"] @ weights["w"]) @ weights["v"]
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), batch["y"][:, None], axis=1)
        decay = sum(jnp.sum(w**2) for w in jax.tree.leaves(weights))
        return -jnp.mean(chosen) + 0.01 * decay

    data = {"x": inputs, "y": labels}
    problem = networks.measure(loss, weights, data, top=5, batch_size=16, negative="drop")
    flat, unflatten = jax.flatten_util.ravel_pytree(jax.tree.map(np.float32, weights))
    hessian = np.asarray(jax.jit(jax.hessian(lambda w: loss(unflatten(w), data)))(flat), float)
    values, vectors = np.linalg.eigh(hessian)
    np.testing.assert_allclose(problem.h[:5], values[::-1][:5], rtol=1e-4)
    gradient = jax.jit(jax.grad(lambda w, x, y: loss(unflatten(w), {"x": x, "y": y})))
    rows = (slice(k, k + 1) for k in range(40))
    gradients = np.array([gradient(flat, inputs[row], labels[row]) for row in rows], float)
    c = (gradients @ vectors).var(axis=0)
    np.testing.assert_allclose(problem.c[:5], c[::-1][:5], rtol=1e-3)
    dropped = problem.dropped
    assert dropped.count + problem.count.sum() == pytest.approx(20)
    assert bool(dropped) == bool((values < 0.0).any())


MASKED = {"a": np.ma.masked_less(OPTIMUM[:5], OPTIMUM[0] + 1e-9), "b": OPTIMUM[5:]}


def wrong_sum(weights, batch):
    return linear_loss(weights, batch) * len(batch[1])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"loss": 5}, "loss must be a function of parameters and batch, not 5"),
        ({"loss": wrong_sum}, "loss must be the mean over samples, but is"),
        ({"loss": lambda w, batch: batch[1]}, "loss must return one number, the mean over a batch"),
        ({"parameters": {}}, "parameters must be arrays of real numbers, at least one"),
        (
            {"parameters": {"a": np.arange(5), "b": OPTIMUM[5:]}},
            "parameters must be arrays of real",
        ),
        ({"data": ()}, "data must be one or more arrays with as many samples"),
        ({"data": (X, Y[1:])}, "data must be one or more arrays with as many samples"),
        ({"data": (X[:0], Y[:0])}, "data must be one or more arrays with as many samples"),
        ({"data": (X, np.float64(1.0))}, "data must be one or more arrays with as many samples"),
        ({"start": {"a": OPTIMUM}}, "start must have the arrays of parameters, with the same shap"),
        ({"start": {"a": OPTIMUM[:4], "b": OPTIMUM}}, "start must have the arrays of parameters"),
        ({"data": (np.ma.masked_less(X, -3.0), Y)}, "data must not have masked elements"),
        ({"parameters": MASKED}, "parameters must not have masked elements"),
        ({"start": MASKED}, "start must not have masked elements"),
        (
            {"data": (X[:, :7], Y)},
            "loss must take parameters and a batch of data, but raises TypeE",
        ),
        ({"top": 13}, "top must be a whole number from 0 to 12"),
        ({"batch_size": 0}, "batch_size must be a whole number >= 1"),
        ({"double": "yes"}, "double must be True or False"),
        ({"negative": "clip"}, "negative must be one of error, drop, abs"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_mistakes(arguments, said):
    usual = {"loss": linear_loss, "parameters": TRAINED, "data": (X, Y)}
    with pytest.raises(nqm.InputError) as caught:
        networks.measure(**(usual | arguments))
    assert str(caught.value).startswith(said)


def test_without_jax_it_says_what_to_install():
    code = (
        "import importlib.util as u\n"
        "found = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'jax' else found(name, *more)\n"
        "import nqm_fast as nqm\n"
        "try:\n    nqm.networks.measure(None, None, None)\n"
        "except nqm.InputError as error:\n    print(error)"
    )
    said = python("-c", code).stdout.strip()
    assert said.lower() == "networks need jax: pip install 'nqm-fast[networks]'"
