"""Plain SGD on the model, as a competent user of other libraries would write it.

A peer's ``step(count)`` runs ``w -= lr (h w + sqrt(c / B) z)`` that many times, all in place, with
coefficients that are computed before, and returns when it is done. No peer records a risk.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, ClassVar
from unittest import mock

import numba
import numpy as np
import pytest


class Peer:
    """A loop of ``w = keep * w + kick * z`` with standard normals z, from standard normals w."""

    dtype: ClassVar[str] = "float64"

    def __init__(self, h: np.ndarray, c: np.ndarray, batch_size: float, lr: float) -> None:
        self.h, self.lr = h, lr
        self.keep = (1.0 - lr * h).astype(self.dtype)
        self.kick = (-lr * np.sqrt(c / batch_size)).astype(self.dtype)
        self.w: Any = np.random.default_rng(1).standard_normal(h.size).astype(self.dtype)
        self.z = np.empty_like(self.w)
        self.set_up()

    def set_up(self) -> None:
        """Prepare the generator, and move arrays to where they are needed."""
        raise NotImplementedError

    def step(self, count: int) -> None:
        """Run `count` steps."""
        raise NotImplementedError


class NumPy(Peer):
    """NumPy with SFC64, the fastest of its bit generators."""

    def set_up(self) -> None:
        self.rng = np.random.Generator(np.random.SFC64(0))

    def step(self, count: int) -> None:
        w, z, keep, kick, rng = self.w, self.z, self.keep, self.kick, self.rng
        for _ in range(count):
            rng.standard_normal(out=z, dtype=w.dtype)
            np.multiply(z, kick, out=z)
            np.multiply(w, keep, out=w)
            np.add(w, z, out=w)


class NumPy32(NumPy):
    dtype = "float32"


class NumPyMomentum(NumPy):
    """SGD with momentum and an exponential moving average.

    Scaled variables save two passes a step: u is lr v, and the average is (1 - EMA) e.
    """

    MOMENTUM = 0.9
    EMA = 0.99

    def set_up(self) -> None:
        super().set_up()
        self.pull = self.lr * self.h
        self.kick = -self.kick
        self.u = np.zeros_like(self.w)
        self.e = self.w / (1.0 - self.EMA)
        self.spare = np.empty_like(self.w)

    def step(self, count: int) -> None:
        w, z, u, e, spare = self.w, self.z, self.u, self.e, self.spare
        pull, kick, rng = self.pull, self.kick, self.rng
        for _ in range(count):
            rng.standard_normal(out=z)
            np.multiply(z, kick, out=z)
            np.multiply(w, pull, out=spare)
            np.multiply(u, self.MOMENTUM, out=u)
            np.add(u, z, out=u)
            np.add(u, spare, out=u)
            np.subtract(w, u, out=w)
            np.multiply(e, self.EMA, out=e)
            np.add(e, w, out=e)


@numba.njit(fastmath=True)
def _update(w, keep, kick, z):
    for i in range(w.size):
        w[i] = keep[i] * w[i] + kick[i] * z[i]


class Randompack(Peer):
    """randompack with a SIMD engine, in float64, where its normals are faster than in float32."""

    def set_up(self) -> None:
        randompack = pytest.importorskip("randompack", exc_type=ImportError)
        self.rng = randompack.Rng("sfc64simd")
        self.rng.seed(0)

    def step(self, count: int) -> None:
        for _ in range(count):
            self.rng.normal(out=self.z)
            _update(self.w, self.keep, self.kick, self.z)


class MKLRandom(Peer):
    """MKL with SFMT19937 and inversion of the distribution function; it has no ``out=``."""

    def set_up(self) -> None:
        mkl_random = pytest.importorskip("mkl_random", exc_type=ImportError)
        self.rng = mkl_random.MKLRandomState(0, brng="SFMT19937")

    def step(self, count: int) -> None:
        for _ in range(count):
            z = self.rng.standard_normal(self.w.size, method="ICDF")
            _update(self.w, self.keep, self.kick, z)


@contextmanager
def _one_core() -> Generator[None]:
    """Keep this thread, and threads started within, on one core (where Linux is in charge).

    XLA spreads work over its threads whatever its flags are, and then takes more time in all.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usual)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)


class JAX(Peer):
    """One compiled scan with Threefry, the default generator of JAX."""

    dtype = "float32"
    partitionable: ClassVar[bool] = True
    FLAGS = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

    def set_up(self) -> None:
        flags = " ".join([os.environ.get("XLA_FLAGS", ""), self.FLAGS])
        with _one_core(), mock.patch.dict(os.environ, XLA_FLAGS=flags):
            jax = pytest.importorskip("jax", exc_type=ImportError)
            cpu = jax.devices("cpu")[0]
            self.w, keep, kick = jax.device_put((self.w, self.keep, self.kick), cpu)
            with jax.default_device(cpu):
                self.key = jax.random.key(0)

        def one_step(carry, _):
            key, w = carry
            key, own = jax.random.split(key)
            return (key, keep * w + kick * jax.random.normal(own, w.shape, w.dtype)), None

        def run(key, w, count):
            return jax.lax.scan(one_step, (key, w), length=count, unroll=4)[0]

        self.threefry = jax.threefry_partitionable
        self.run = jax.jit(run, static_argnums=2, donate_argnums=(0, 1))

    def step(self, count: int) -> None:
        with _one_core(), self.threefry(self.partitionable):
            self.key, self.w = self.run(self.key, self.w, count)
            self.w.block_until_ready()


class JAXUnpartitioned(JAX):
    """The same with the option that makes the generator faster on one device."""

    partitionable = False


class Torch(Peer):
    dtype = "float32"

    def set_up(self) -> None:
        self.torch = pytest.importorskip("torch", exc_type=ImportError)
        self.w, self.z, self.keep, self.kick = (
            self.torch.from_numpy(x) for x in (self.w, self.z, self.keep, self.kick)
        )
        self.generator = self.torch.Generator().manual_seed(0)

    def step(self, count: int) -> None:
        usual = self.torch.get_num_threads()
        self.torch.set_num_threads(1)
        for _ in range(count):
            self.z.normal_(generator=self.generator)
            self.w.mul_(self.keep).addcmul_(self.z, self.kick)
        self.torch.set_num_threads(usual)


PEERS: dict[str, type[Peer]] = {
    "NumPy": NumPy,
    "NumPy float32": NumPy32,
    "randompack + Numba": Randompack,
    "mkl_random + Numba": MKLRandom,
    "JAX float32": JAX,
    "JAX float32, threefry_partitionable=False": JAXUnpartitioned,
    "torch float32": Torch,
}
PACKAGES = (
    "nqm-fast", "numpy", "numba", "numba-cuda", "cupy", "randompack", "mkl_random", "jax", "torch",
)  # fmt: skip
