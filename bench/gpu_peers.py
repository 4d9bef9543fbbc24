"""The loop of peers on a GPU: CuPy, JAX and torch, in float32, in which they are fastest there."""

from typing import Any, ClassVar

import numpy as np
import pytest
from peers import Peer


class CuPy(Peer):
    dtype = "float32"

    def set_up(self) -> None:
        cupy = pytest.importorskip("cupy", exc_type=ImportError)
        self.cupy = cupy
        self.w, self.z, self.keep, self.kick = (
            cupy.asarray(x) for x in (self.w, self.z, self.keep, self.kick)
        )
        self.rng = cupy.random.Generator(cupy.random.Philox4x3210(0))
        self.update: Any = cupy.ElementwiseKernel(
            "float32 z, float32 keep, float32 kick", "float32 w", "w = keep * w + kick * z", "step"
        )

    def step(self, count: int) -> None:
        for _ in range(count):
            self.rng.standard_normal(dtype=np.float32, out=self.z)
            self.update(self.z, self.keep, self.kick, self.w)
        self.cupy.cuda.Device().synchronize()


class JAX(Peer):
    """One compiled scan, with the generator that XLA has for the device."""

    dtype = "float32"
    generator: ClassVar[str] = "rbg"

    def set_up(self) -> None:
        jax = pytest.importorskip("jax", exc_type=ImportError)
        if jax.default_backend() != "gpu":
            pytest.skip("JAX finds no GPU: install jax[cuda13]")
        self.w, keep, kick = jax.device_put((self.w, self.keep, self.kick))
        self.key = jax.random.key(0, impl=self.generator)

        def one_step(carry, _):
            key, w = carry
            key, own = jax.random.split(key)
            return (key, keep * w + kick * jax.random.normal(own, w.shape, w.dtype)), None

        def run(key, w, count):
            return jax.lax.scan(one_step, (key, w), length=count, unroll=4)[0]

        self.run = jax.jit(run, static_argnums=2, donate_argnums=(0, 1))

    def step(self, count: int) -> None:
        self.key, self.w = self.run(self.key, self.w, count)
        self.w.block_until_ready()


class JAXThreefry(JAX):
    """The same with the default generator of JAX."""

    generator = "threefry2x32"


class Torch(Peer):
    dtype = "float32"

    def set_up(self) -> None:
        torch = pytest.importorskip("torch", exc_type=ImportError)
        if not torch.cuda.is_available():
            pytest.skip("torch finds no GPU: install a build for CUDA")
        self.torch = torch
        self.w, self.z, self.keep, self.kick = (
            torch.from_numpy(x).cuda() for x in (self.w, self.z, self.keep, self.kick)
        )

    def step(self, count: int) -> None:
        for _ in range(count):
            self.z.normal_()
            self.w.mul_(self.keep).addcmul_(self.z, self.kick)
        self.torch.cuda.synchronize()


GPU_PEERS: dict[str, type[Peer]] = {
    "CuPy float32": CuPy,
    "JAX float32, rbg": JAX,
    "JAX float32, threefry": JAXThreefry,
    "torch float32": Torch,
}
