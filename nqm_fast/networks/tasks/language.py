"""A small causal transformer on characters of the language reference that CPython ships."""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import cache
from typing import Any

import numpy as np

from ..objective import softmax_loss
from .base import Task

LENGTH, WIDTH, HEADS, HIDDEN = 16, 16, 2, 32
COMMON = 63
"""Characters that have a number of their own; all others share one."""
TRAINED, VALIDATED = 512, 256


@cache
def reference_text() -> str:
    """The language reference: all topics of ``pydoc_data.topics``, in the order of their names."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


class Language(Task):
    """A transformer with one block of width 16 and two heads, on sequences of 16 characters.

    A sample is a sequence; its loss is the mean over its characters, each predicted from those
    before. Without normalisation layers, which one block does not need.
    """

    target = 2.5
    weight_decay = 1e-4
    measured = 128
    resolution = 0.05
    most_epochs = 60.0

    def __init__(self) -> None:
        text = reference_text()
        self.digest = hashlib.sha256(text.encode()).hexdigest()
        number = {x: k for k, (x, _) in enumerate(Counter(text).most_common(COMMON))}
        codes = np.array([number.get(x, COMMON) for x in text], dtype=np.int32)
        count = TRAINED + VALIDATED
        starts = np.linspace(0, len(codes) - LENGTH - 1, count).astype(np.int64)
        order = np.random.default_rng(0).permutation(count)
        sequences = codes[starts[order][:, None] + np.arange(LENGTH + 1)]
        self.train = (sequences[:TRAINED],)
        self.validation = (sequences[TRAINED:],)

    def init(self, key: Any) -> Any:
        """Draw weights as wide as keeps the size of activations."""
        import jax

        symbols = COMMON + 1
        sizes = {
            "embedding": (symbols + LENGTH, WIDTH, 0.7),
            "query": (WIDTH, WIDTH, WIDTH**-0.5),
            "key": (WIDTH, WIDTH, WIDTH**-0.5),
            "value": (WIDTH, WIDTH, WIDTH**-0.5),
            "joined": (WIDTH, WIDTH, WIDTH**-0.5),
            "up": (WIDTH, HIDDEN, (2.0 / WIDTH) ** 0.5),
            "down": (HIDDEN, WIDTH, HIDDEN**-0.5),
            "output": (WIDTH, symbols, WIDTH**-0.5),
        }
        keys = jax.random.split(key, len(sizes))
        return {
            name: scale * jax.random.normal(k, (rows, columns))
            for k, (name, (rows, columns, scale)) in zip(keys, sizes.items(), strict=True)
        }

    def loss(self, parameters: Any, batch: tuple[Any, ...]) -> Any:
        """Return the mean cross-entropy of all characters of a batch, given those before."""
        import jax
        import jax.numpy as jnp

        p, (sequences,) = parameters, batch
        inputs, labels = sequences[:, :-1], sequences[:, 1:]
        places = jnp.broadcast_to(jnp.eye(LENGTH), (len(inputs), LENGTH, LENGTH))
        symbols = jax.nn.one_hot(inputs, COMMON + 1)
        x = jnp.concatenate([symbols, places], axis=-1) @ p["embedding"]
        x = x + _attention(p, x)
        x = x + jax.nn.gelu(x @ p["up"]) @ p["down"]
        return softmax_loss(x @ p["output"], labels)

    def facts(self) -> dict[str, Any]:
        """Add the digest of the text, which depends on the version of Python."""
        return super().facts() | {"text": self.digest}


def _attention(p: Any, x: Any) -> Any:
    """Let every place attend to itself and those before."""
    import jax
    import jax.numpy as jnp

    n, length, width = x.shape

    def heads(name: str) -> Any:
        return (x @ p[name]).reshape(n, length, HEADS, width // HEADS)

    score = jnp.einsum("nqhc,nkhc->nhqk", heads("query"), heads("key")) * (width / HEADS) ** -0.5
    is_before = jnp.tril(jnp.ones((length, length), dtype=bool))
    weight = jax.nn.softmax(jnp.where(is_before, score, -1e9), axis=-1)
    seen = jnp.einsum("nhqk,nkhc->nqhc", weight, heads("value"))
    return seen.reshape(n, length, width) @ p["joined"]


TASK = Language
