# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True
"""The backend for CPUs that is compiled ahead of time, and the exact model.

The loops are those of the Numba kernels, which `codegen` translates to C. That is compiled for
several levels of processors. This module allocates arrays, spreads loops over threads, and chooses
the level. The conversion of named tuples and arrays to structs of C is generated, in native.pxi.
"""

import os
from types import SimpleNamespace

import numpy as np
from numpy._core._multiarray_umath import __cpu_features__

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
from .threads import team

if digest() != DIGEST:
    raise ImportError(
        "the compiled extension of nqm_fast was built from other sources of the kernels: build it "
        "again, with 'pip install -e .' in the checkout"
    )

cdef const Level *code = NULL  # the functions for the level in use
_chosen = ""


# -- levels of processors ------------------------------------------------------------------

def levels():
    """Return the levels that were built and that this machine has, narrowest first."""
    cdef const char *name
    cdef int present, k = 0
    found = []
    while nqm_level(k, &name, &present) != NULL:
        if present:
            found.append((<bytes>name).decode())
        k += 1
    return found


def level():
    """Return the level in use."""
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
use_level(os.environ.get("NQM_CPU_LEVEL", "").strip() or widest)


def machine_level():
    """Return the widest level of this machine, whether it was built or not."""
    if __cpu_features__.get("AVX512_SKX"):
        return "x86-64-v4"
    return "x86-64-v3" if __cpu_features__.get("AVX2") else "baseline"


# -- memory --------------------------------------------------------------------------------

cdef void check(int failed) except *:
    """Raise a MemoryError if a compiled function has failed."""
    if failed:
        raise MemoryError("there is no memory left for the work of the compiled kernels")


# -- the Monte Carlo loops -----------------------------------------------------------------

MOST_THREADS = max(os.cpu_count() or 1, 4)  # more are slower


def _run(job, leaves, threads, bint leaps):
    """Run a loop over tiles on all threads, by leaps or step by step."""
    cdef Noise noise = as_noise(job.noise)
    cdef Model model = as_model(job.model)
    cdef Timeline timeline = as_timeline(job.timeline)
    cdef int64_t burst = 0 if leaps else job.burst_or_stops
    cdef i64_1 stops = as_i64_1(job.burst_or_stops if leaps else job.timeline.records)
    cdef f64_4 state = as_f64_4(job.state)
    cdef b1_2 alive = as_b1_2(job.alive.view(np.uint8))
    cdef f64_5 partial = as_f64_5(job.partial)
    cdef i64_3 diverged_at = as_i64_3(job.diverged_at)
    cdef int64_t turn, turns = job.turns
    cdef int last = job.state.shape[2] - 1, size = leaves > 1, failed = 0
    cdef int any_size = size + (leaves > 0)  # among sizes of which narrow tiles are the first
    cdef int workers = team(min(threads, turns, MOST_THREADS))
    cdef bint by_rule = job.model.rule != 0, summing = job.noise.summed
    cdef Arena *arena
    cdef Arena *arenas = <Arena *>calloc(workers, sizeof(Arena))
    check(arenas == NULL)
    with nogil, parallel(num_threads=workers):
        arena = &arenas[threadid()]
        for turn in prange(turns, schedule="dynamic"):
            if leaps:
                failed += code.leap_tile[last][size](
                    arena, &noise, &model, &timeline, stops, turn, state, alive, partial,
                    diverged_at,
                )
            elif by_rule:
                failed += code.advance_rule_tile[size][summing](
                    arena, &noise, &model, &timeline, burst, turn, state, alive, partial,
                    diverged_at,
                )
            else:
                failed += code.advance_tile[last][any_size][summing](
                    arena, &noise, &model, &timeline, burst, turn, state, alive, partial,
                    diverged_at,
                )
        arena_free(arena)
    free(arenas)
    check(failed)


def advance_features(samples, change, kick, int64_t batch, int64_t replica, int64_t begin,
                     int64_t end, state):
    """Take a state through steps of equal settings, in place; see `kernels.features`."""
    cdef Arena arena = Arena(NULL, NULL)
    cdef int failed
    cdef int64_t law = samples.law
    cdef uint64_t k0 = samples.key[0], k1 = samples.key[1]
    cdef f64_1 root = as_f64_1(samples.root), variance = as_f64_1(samples.variance)
    cdef f64_1 label = as_f64_1(samples.label), point = as_f64_1(samples.point)
    cdef f64_3 c_change = as_f64_3(change)
    cdef f64_2 c_kick = as_f64_2(kick), c_state = as_f64_2(state)
    with nogil:
        failed = code.advance_state(
            &arena, law, k0, k1, root, variance, label, point, c_change, c_kick, batch, replica,
            begin, end, c_state,
        )
    arena_free(&arena)
    check(failed)


def advance_scaled(scaled, change, kick, int64_t samples, int64_t replica, int64_t begin,
                   int64_t end, state):
    """Take a state through steps of equal settings, in place; see `kernels.scaled_noise`."""
    cdef Arena arena = Arena(NULL, NULL)
    cdef int failed
    cdef double slope = scaled.slope
    cdef Noise noise = as_noise(scaled.noise)
    cdef f64_1 half = as_f64_1(scaled.half), point = as_f64_1(scaled.point)
    cdef f64_2 z = as_f64_2(scaled.z)
    cdef i64_1 held = as_i64_1(scaled.held)
    cdef f64_3 c_change = as_f64_3(change)
    cdef f64_2 c_kick = as_f64_2(kick), c_state = as_f64_2(state)
    with nogil:
        failed = code.advance_scaled_state(
            &arena, &noise, half, slope, point, z, held, c_change, c_kick, samples, replica, begin,
            end, c_state,
        )
    arena_free(&arena)
    check(failed)


# -- the exact model -----------------------------------------------------------------------
# Arguments have the names of the kernels; c_NAME is an argument as C takes it.

def _propagate(
    read, start, values, entries, factors, weights, inverse_batch, lengths, record_segment,
    record_offset, h, c, second_moment, count, carried, is_first, is_last, partial,
):
    """Call `moments.propagate`."""
    cdef Arena arena = Arena(NULL, NULL)
    cdef int failed, n = len(read)
    cdef int64_t first = is_first, last = is_last
    read, start = np.array(read), np.array(start)  # named, so that they live as long as C uses them
    cdef f64_1 c_read = as_f64_1(read), c_start = as_f64_1(start)
    cdef f64_2 c_values = as_f64_2(values), c_weights = as_f64_2(weights)
    cdef f64_3 c_carried = as_f64_3(carried)
    cdef f64_2 c_partial = as_f64_2(partial)
    cdef i64_2 c_entries = as_i64_2(entries)
    cdef f64_1 c_factors = as_f64_1(factors), c_inverse_batch = as_f64_1(inverse_batch)
    cdef i64_1 c_lengths = as_i64_1(lengths), c_segment = as_i64_1(record_segment)
    cdef i64_1 c_offset = as_i64_1(record_offset)
    cdef f64_1 c_h = as_f64_1(h), c_c = as_f64_1(c)
    cdef f64_1 c_second_moment = as_f64_1(second_moment), c_count = as_f64_1(count)
    with nogil:
        failed = code.propagate[n - 1](
            &arena, c_read.p, c_start.p, c_values, c_entries, c_factors, c_weights,
            c_inverse_batch, c_lengths, c_segment, c_offset, c_h, c_c, c_second_moment, c_count,
            c_carried, first, last, c_partial,
        )
    arena_free(&arena)
    check(failed)


def _constant_risk(
    double start, double read, values, entries, factors, weights, double inverse_batch, steps,
    h, c, second_moment, count, partial,
):
    """Call `closed_form.constant_risk`."""
    cdef Arena arena = Arena(NULL, NULL)
    cdef int failed
    cdef f64_2 c_values = as_f64_2(values), c_partial = as_f64_2(partial)
    cdef i64_2 c_entries = as_i64_2(entries)
    cdef f64_1 c_factors = as_f64_1(factors), c_weights = as_f64_1(weights)
    cdef i64_1 c_steps = as_i64_1(steps)
    cdef f64_1 c_h = as_f64_1(h), c_c = as_f64_1(c)
    cdef f64_1 c_second_moment = as_f64_1(second_moment), c_count = as_f64_1(count)
    with nogil:
        failed = code.constant_risk(
            &arena, start, read, c_values, c_entries, c_factors, c_weights, inverse_batch, c_steps,
            c_h, c_c, c_second_moment, c_count, c_partial,
        )
    arena_free(&arena)
    check(failed)


def _settings_risk(
    read, start, values, entries, factors, weights, double inverse_batch, steps, h, c,
    second_moment, count, risk,
):
    """Call `moments.settings_risk`."""
    cdef Arena arena = Arena(NULL, NULL)
    cdef int failed, n = len(read)
    read, start = np.array(read), np.array(start)  # named, so that they live as long as C uses them
    cdef f64_1 c_read = as_f64_1(read), c_start = as_f64_1(start)
    cdef f64_2 c_values = as_f64_2(values), c_weights = as_f64_2(weights), c_risk = as_f64_2(risk)
    cdef i64_2 c_entries = as_i64_2(entries)
    cdef f64_1 c_factors = as_f64_1(factors)
    cdef i64_1 c_steps = as_i64_1(steps)
    cdef f64_1 c_h = as_f64_1(h), c_c = as_f64_1(c)
    cdef f64_1 c_second_moment = as_f64_1(second_moment), c_count = as_f64_1(count)
    with nogil:
        failed = code.settings_risk[n - 1](
            &arena, c_read.p, c_start.p, c_values, c_entries, c_factors, c_weights, inverse_batch,
            c_steps, c_h, c_c, c_second_moment, c_count, c_risk,
        )
    arena_free(&arena)
    check(failed)


def _constant_settings_risk(
    double start, double read, values, entries, factors, weights, double inverse_batch, steps,
    h, c, second_moment, count, risk,
):
    """Call `closed_form.constant_settings_risk`."""
    cdef Arena arena = Arena(NULL, NULL)
    cdef int failed
    cdef f64_2 c_values = as_f64_2(values), c_weights = as_f64_2(weights), c_risk = as_f64_2(risk)
    cdef i64_2 c_entries = as_i64_2(entries)
    cdef f64_1 c_factors = as_f64_1(factors)
    cdef i64_1 c_steps = as_i64_1(steps)
    cdef f64_1 c_h = as_f64_1(h), c_c = as_f64_1(c)
    cdef f64_1 c_second_moment = as_f64_1(second_moment), c_count = as_f64_1(count)
    with nogil:
        failed = code.constant_settings_risk(
            &arena, start, read, c_values, c_entries, c_factors, c_weights, inverse_batch, c_steps,
            c_h, c_c, c_second_moment, c_count, c_risk,
        )
    arena_free(&arena)
    check(failed)


def _first_passage(
    read, values, entries, factors, weights, inverse_batch, lengths, int64_t endless, double target,
    int64_t skip, int64_t resumed, h, c, second_moment, count, carried, injected,
):
    """Call `first_passage.first_passage`."""
    cdef Arena arena = Arena(NULL, NULL)
    cdef int failed, n = len(read)
    cdef int64_t[2] found
    read = np.array(read)  # named, so that it lives as long as C uses it
    cdef f64_1 c_read = as_f64_1(read)
    cdef f64_2 c_values = as_f64_2(values), c_weights = as_f64_2(weights)
    cdef i64_2 c_entries = as_i64_2(entries)
    cdef f64_1 c_factors = as_f64_1(factors), c_inverse_batch = as_f64_1(inverse_batch)
    cdef i64_1 c_lengths = as_i64_1(lengths)
    cdef f64_1 c_h = as_f64_1(h), c_c = as_f64_1(c)
    cdef f64_1 c_second_moment = as_f64_1(second_moment), c_count = as_f64_1(count)
    cdef f64_3 c_carried = as_f64_3(carried), c_injected = as_f64_3(injected)
    with nogil:
        failed = code.first_passage[n - 1](
            &arena, c_read.p, c_values, c_entries, c_factors, c_weights, c_inverse_batch, c_lengths,
            endless, target, skip, resumed, c_h, c_c, c_second_moment, c_count, c_carried,
            c_injected, found,
        )
    arena_free(&arena)
    check(failed)
    return found[0], found[1]


def _add_moments(
    h, double largest, int64_t base, int64_t side, int64_t shift, weight, other_weight, table, count,
):
    """Call `array_moments.add_moments`."""
    cdef Arena arena = Arena(NULL, NULL)
    cdef int failed
    cdef f64_1 c_h = as_f64_1(h), c_weight = as_f64_1(weight), c_other = as_f64_1(other_weight)
    cdef f64_3 c_table = as_f64_3(table)
    cdef i64_1 c_count = as_i64_1(count)
    with nogil:
        failed = code.add_moments(
            &arena, c_h, largest, base, side, shift, c_weight, c_other, c_table, c_count,
        )
    arena_free(&arena)
    check(failed)


def _up_to_size(compiled, name, export):
    """Return the compiled function, but with NumPy's for more than COMPONENTS components."""
    def run(read, *others):
        if len(read) <= COMPONENTS:
            return compiled(read, *others)
        return getattr(vectorized.load(moments_TILE)[name], export)(read, *others)

    return run


# -- the backend ---------------------------------------------------------------------------

class CythonBackend(tiled.TiledBackend):
    """The backend compiled ahead of time; NumPy takes over beyond COMPONENTS components."""

    moments = SimpleNamespace(
        TILE=moments_TILE,
        propagate=_up_to_size(_propagate, "moments", "propagate"),
        settings_risk=_up_to_size(_settings_risk, "moments", "settings_risk"),
    )
    closed_form = SimpleNamespace(
        TILE=closed_form_TILE,
        constant_risk=_constant_risk,
        constant_settings_risk=_constant_settings_risk,
    )
    first_passage = SimpleNamespace(
        TILE=moments_TILE,
        FOUND=first_passage_FOUND,
        NOT_YET=first_passage_NOT_YET,
        UNREACHABLE=first_passage_UNREACHABLE,
        first_passage=_up_to_size(_first_passage, "first_passage", "first_passage"),
    )
    array_moments = SimpleNamespace(add_moments=_add_moments)
    compiled_components = COMPONENTS
    levels = staticmethod(levels)
    level = staticmethod(level)

    @property
    def relative_time(self):
        """Slightly slower than Numba, or much where wide registers are left unused."""
        return 1.03 if level() == machine_level() else 3.0

    use_level = staticmethod(use_level)

    def philox4x32(self, counters, keys):
        """Return the words of the generator, (m, 4), for counters (m, 4) and keys (m, 2)."""
        cdef Arena arena = Arena(NULL, NULL)
        counters, keys = np.ascontiguousarray(counters), np.ascontiguousarray(keys)
        words = np.empty((len(counters), 4), dtype=np.uint32)
        code.philox_rows(&arena, as_u32_2(counters), as_u32_2(keys), as_u32_2(words))
        return words

    def start_tiles(self, noise, mean, deviation, w, leaves):
        """Write the initial iterates to w, (replicas, d)."""
        cdef Arena arena = Arena(NULL, NULL)
        cdef Noise c_noise = as_noise(noise)
        cdef f64_1 means = as_f64_1(mean), deviations = as_f64_1(deviation)
        cdef f64_2 out = as_f64_2(w)
        cdef int failed, size = leaves > 1
        with nogil:
            failed = code.start_tiles[size](&arena, &c_noise, means, deviations, out)
        arena_free(&arena)
        check(failed)

    def advance(self, chunk):
        """Go through a chunk step by step; threads share the tiles of all replicas."""
        few = chunk.state.shape[2] <= COMPONENTS or chunk.model.rule
        return super().advance(chunk) if few else reference.BACKEND.advance(chunk)

    def leap(self, chunk):
        """Go through a chunk by leaps; threads share the tiles, and replicas share the maps."""
        few = chunk.state.shape[2] <= COMPONENTS
        return super().leap(chunk) if few else reference.BACKEND.leap(chunk)

    def advance_tiles(self, job, leaves, threads):
        """Take every tile and replica through the job step by step."""
        _run(job, leaves, threads, False)

    def leap_tiles(self, job, leaves, threads):
        """Take every tile through the job by leaps."""
        _run(job, leaves, threads, True)

    def add_leaves(self, partial, values):
        """Sum `partial`, (rows, leaves), over leaves into `values`, (rows,)."""
        cdef Arena arena = Arena(NULL, NULL)
        code.add_leaves(&arena, as_f64_2(partial), as_f64_1(values))

    def make_normals(self, leaves, words, begin, z):
        """Write the normals of a tile for four steps to z[begin:]."""
        cdef Arena arena = Arena(NULL, NULL)
        code.make_normals[leaves > 1](&arena, as_u32_1(words), begin, as_f32_1(z))


BACKEND = CythonBackend()
