# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True
"""The Monte Carlo backend, and the exact model, for CPUs, compiled ahead of time.

The loops are those of the Numba kernels, which `codegen` translates to C, compiled for several levels
of processors. Here are the arrays they work on, the threads, and the choice of the level. How
records and arrays become structs of C is generated too, in native.pxi.
"""

import os
from types import SimpleNamespace

import numpy as np

from cython.parallel cimport parallel, prange, threadid
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

include "native.pxi"

cdef extern from "native.h":
    const Level *nqm_level(int k, const char **name, int *present)
    void arena_free(Arena *arena) noexcept nogil

from . import reference, tiled
from .exact import vectorized
from .sources import digest

if digest() != DIGEST:
    raise ImportError(
        "the compiled extension of nqm_fast was built from other sources of the kernels: build it "
        "again, with 'pip install -e .' in the checkout"
    )

cdef const Level *code = NULL
_chosen = ""


# -- levels of processors ------------------------------------------------------------------

def levels():
    """Those that were built and that this machine has, narrowest first."""
    cdef const char *name
    cdef int present, k = 0
    found = []
    while nqm_level(k, &name, &present) != NULL:
        if present:
            found.append((<bytes>name).decode())
        k += 1
    return found


def level():
    """The one in use."""
    return _chosen


def use_level(name):
    """Run the code for a level of processors from now on; every level gives the same bits."""
    global code, _chosen
    if name not in levels():
        raise ValueError(
            f"NQM_CPU_LEVEL={name!r} must be one of {', '.join(levels())}, which this build has and "
            "this processor can run"
        )
    cdef const char *found
    cdef int present, k = 0
    while True:
        code = nqm_level(k, &found, &present)
        if (<bytes>found).decode() == name:
            break
        k += 1
    _chosen = name


*_, widest = levels()
use_level(os.environ.get("NQM_CPU_LEVEL") or widest)


# -- what is called from C -----------------------------------------------------------------

cdef void check(int failed) except *:
    if failed:
        raise MemoryError("there is no memory left for the work of the compiled kernels")


# -- the Monte Carlo loops -----------------------------------------------------------------

MOST_THREADS = max(os.cpu_count() or 1, 4)  # OpenMP ends the process where it gets no more
_process = None  # where OpenMP has threads


def _workers(wanted):
    """How many threads to use: one in the child of a process that has some, which has them not."""
    global _process
    if wanted < 2:
        return 1
    if _process is None:
        _process = os.getpid()
    return min(wanted, MOST_THREADS) if _process == os.getpid() else 1


def _run(job, leaves, threads, bint leaps):
    """All tiles, on all threads."""
    cdef Noise noise = as_noise(job.noise)
    cdef Model model = as_model(job.model)
    cdef Timeline timeline = as_timeline(job.timeline)
    cdef int64_t burst = 0 if leaps else job.by
    cdef i64_1 stops = as_i64_1(job.by if leaps else job.timeline.records)
    cdef f64_4 state = as_f64_4(job.state)
    cdef b1_2 alive = as_b1_2(job.alive.view(np.uint8))
    cdef f64_5 partial = as_f64_5(job.partial)
    cdef i64_3 exceeded = as_i64_3(job.exceeded)
    cdef int64_t item, items = job.items
    cdef int last = job.state.shape[2] - 1, size = leaves > 1, failed = 0
    cdef int workers = _workers(min(threads, items))
    cdef Arena *arena
    cdef Arena *arenas = <Arena *>calloc(workers, sizeof(Arena))
    check(arenas == NULL)
    with nogil, parallel(num_threads=workers):
        arena = &arenas[threadid()]
        for item in prange(items, schedule="dynamic"):
            if leaps:
                failed += code.leap_item[last][size](
                    arena, &noise, &model, &timeline, stops, item, state, alive, partial, exceeded
                )
            else:
                failed += code.advance_item[last][size](
                    arena, &noise, &model, &timeline, burst, item, state, alive, partial, exceeded
                )
        arena_free(arena)
    free(arenas)
    check(failed)


# -- the exact model -----------------------------------------------------------------------

def _propagate(
    q, start, values, place, scale, weights, inverse_batch, lengths, record_run, record_offset,
    h, c, second_moment, count, carried, is_first, is_last, partial,
):
    cdef Arena arena = Arena(NULL, NULL)
    cdef int failed, n = len(q)
    cdef int64_t first = is_first, last = is_last
    q, start = np.array(q), np.array(start)  # named, so that they live while C looks at them
    cdef f64_1 read = as_f64_1(q), begin = as_f64_1(start)
    cdef f64_2 rows = as_f64_2(values), by_run = as_f64_2(weights), state = as_f64_2(carried)
    cdef f64_2 out = as_f64_2(partial)
    cdef i64_2 entries = as_i64_2(place)
    cdef f64_1 factors = as_f64_1(scale), inverse = as_f64_1(inverse_batch)
    cdef i64_1 length = as_i64_1(lengths), run = as_i64_1(record_run)
    cdef i64_1 offset = as_i64_1(record_offset)
    cdef f64_1 f0 = as_f64_1(h), f1 = as_f64_1(c), f2 = as_f64_1(second_moment), f3 = as_f64_1(count)
    with nogil:
        failed = code.propagate[n - 1](
            &arena, read.p, begin.p, rows, entries, factors, by_run, inverse, length, run, offset,
            f0, f1, f2, f3, state, first, last, out,
        )
    arena_free(&arena)
    check(failed)


def _constant_risk(
    double start, double read, values, place, scale, weight, double inverse_batch, steps,
    h, c, second_moment, count, partial,
):
    cdef Arena arena = Arena(NULL, NULL)
    cdef int failed
    cdef f64_2 rows = as_f64_2(values), out = as_f64_2(partial)
    cdef i64_2 entries = as_i64_2(place)
    cdef f64_1 factors = as_f64_1(scale), terms = as_f64_1(weight)
    cdef i64_1 records = as_i64_1(steps)
    cdef f64_1 f0 = as_f64_1(h), f1 = as_f64_1(c), f2 = as_f64_1(second_moment), f3 = as_f64_1(count)
    with nogil:
        failed = code.constant_risk(
            &arena, start, read, rows, entries, factors, terms, inverse_batch, records,
            f0, f1, f2, f3, out,
        )
    arena_free(&arena)
    check(failed)


def _first_passage(
    q, values, place, scale, weights, inverse_batch, lengths, endless, double target, int64_t skip,
    resumed, h, c, second_moment, count, old, new,
):
    cdef Arena arena = Arena(NULL, NULL)
    cdef int failed, n = len(q)
    cdef int64_t unending = endless, again = resumed
    cdef int64_t[2] found
    q = np.array(q)
    cdef f64_1 read = as_f64_1(q)
    cdef f64_2 rows = as_f64_2(values), by_run = as_f64_2(weights)
    cdef i64_2 entries = as_i64_2(place)
    cdef f64_1 factors = as_f64_1(scale), inverse = as_f64_1(inverse_batch)
    cdef i64_1 length = as_i64_1(lengths)
    cdef f64_1 f0 = as_f64_1(h), f1 = as_f64_1(c), f2 = as_f64_1(second_moment), f3 = as_f64_1(count)
    cdef f64_2 before = as_f64_2(old), fresh = as_f64_2(new)
    with nogil:
        failed = code.first_passage[n - 1](
            &arena, read.p, rows, entries, factors, by_run, inverse, length, unending, target, skip,
            again, f0, f1, f2, f3, before, fresh, found,
        )
    arena_free(&arena)
    check(failed)
    return found[0], found[1]


def _up_to_size(compiled, name, export):
    """The compiled function, or NumPy's for states of more numbers than that was compiled for."""
    def run(q, *others):
        if len(q) <= COMPONENTS:
            return compiled(q, *others)
        return getattr(vectorized.load(moments_TILE)[name], export)(q, *others)

    return run


# -- the backend ---------------------------------------------------------------------------

class CythonBackend(tiled.TiledBackend):
    """Kernels compiled ahead of time; states of more numbers than they know are NumPy's work."""

    moments = SimpleNamespace(
        TILE=moments_TILE, propagate=_up_to_size(_propagate, "moments", "propagate")
    )
    closed_form = SimpleNamespace(TILE=closed_form_TILE, constant_risk=_constant_risk)
    first_passage = SimpleNamespace(
        TILE=moments_TILE,
        FOUND=first_passage_FOUND,
        NOT_YET=first_passage_NOT_YET,
        UNREACHABLE=first_passage_UNREACHABLE,
        first_passage=_up_to_size(_first_passage, "first_passage", "first_passage"),
    )
    levels = staticmethod(levels)
    level = staticmethod(level)
    use_level = staticmethod(use_level)

    def philox4x32(self, counters, keys):
        """Words of the generator, (m, 4), from counters (m, 4) and keys (m, 2)."""
        cdef Arena arena = Arena(NULL, NULL)
        counters, keys = np.ascontiguousarray(counters), np.ascontiguousarray(keys)
        words = np.empty((len(counters), 4), dtype=np.uint32)
        code.philox_rows(&arena, as_u32_2(counters), as_u32_2(keys), as_u32_2(words))
        return words

    def start(self, noise, mean, deviation, workers):
        """Initial iterates, shape (replicas, d)."""
        cdef Arena arena = Arena(NULL, NULL)
        cdef Noise which = as_noise(noise)
        w = np.empty((noise.replicas.size, mean.size))
        cdef f64_1 means = as_f64_1(mean), deviations = as_f64_1(deviation)
        cdef f64_2 out = as_f64_2(w)
        cdef int failed, size = tiled.tile_leaves(mean.size) > 1
        with nogil:
            failed = code.start_tiles[size](&arena, &which, means, deviations, out)
        arena_free(&arena)
        check(failed)
        return w

    def advance(self, chunk):
        """Go step by step; the tiles of all replicas are spread over the threads."""
        few = chunk.state.shape[2] <= COMPONENTS
        return super().advance(chunk) if few else reference.BACKEND.advance(chunk)

    def leap(self, chunk):
        """Go from stop to stop; tiles are spread over the threads, replicas share their maps."""
        few = chunk.state.shape[2] <= COMPONENTS
        return super().leap(chunk) if few else reference.BACKEND.leap(chunk)

    def advance_tiles(self, job, leaves, threads):
        """Take every tile and replica through the job step by step."""
        _run(job, leaves, threads, False)

    def leap_tiles(self, job, leaves, threads):
        """Take every tile through the job from stop to stop."""
        _run(job, leaves, threads, True)

    def add_leaves(self, partial, values):
        """Add up the leaves: (rows, leaves) to (rows,)."""
        cdef Arena arena = Arena(NULL, NULL)
        code.add_leaves(&arena, as_f64_2(partial), as_f64_1(values))

    def make_normals(self, leaves, words, begin, z):
        """Normals of a tile for four steps, into z[begin:]."""
        cdef Arena arena = Arena(NULL, NULL)
        code.make_normals[leaves > 1](&arena, as_u32_1(words), begin, as_f32_1(z))


BACKEND = CythonBackend()
