"""What only a real GPU shows: large sizes, long runs, overlapping streams, a full memory."""

import numpy as np
import pytest
from gpu import BACKEND, jit, on_hardware, run
from helpers import arbitrary_job, assert_same
from nqm_fast.kernels import noise
from nqm_fast.kernels.contract import Chunk, Timeline

import nqm_fast as nqm
from nqm_fast import schedules

pytestmark = [pytest.mark.gpu, on_hardware]


@pytest.mark.parametrize("size", [1, 10**3, 10**6, 10**7, 10**8])
def test_sizes(size):
    problem = nqm.Problem.power_law(size)
    found, wanted = (
        nqm.simulate(problem, nqm.SGD(0.3, momentum=0.5), 8, 16, seed=3, record=[0, 7, 16], **how)
        for how in ({"backend": "cuda"}, {})
    )
    assert np.array_equal(found.risk, wanted.risk)


@pytest.mark.parametrize("name", ["plain", "all", "leap", *noise.LAWS])
def test_long_runs(name):
    batch = 8 if name in ("plain", "all", "leap") else schedules.Piecewise([1, 70], [500, 500])
    changes = {"batch_size": batch, "steps": 1000, "record": 50}
    assert_same(run(name, backend="cuda", **changes), run(name, backend="auto", **changes))


def test_records_come_back_while_the_next_steps_are_computed():
    """The sums of one chunk are copied on a stream of their own, while the next is computed."""
    stream, model, timeline, state = arbitrary_job(2, 1, 4096, -1)
    held = BACKEND.new_state(stream, model, state, [0])
    alive = np.ones((1, 2), dtype=bool)
    one = np.ones((1, 1))
    far = Timeline(
        10, 200_010, np.array([200_010]), timeline.weights[:1], one, one.astype(int),
        timeline.records[:0],
    )  # fmt: skip
    held.launch(timeline, alive, False)
    held.collect()
    held.launch(far, alive, False)
    running = held.shards[0].running
    before = held.read()
    assert not running.computed.query()
    assert np.isfinite(before).all()
    held.collect()


def test_a_memory_that_is_really_full():
    cuda = jit.cuda
    free = int(BACKEND.free_memory([0]))
    taken = cuda.device_array(free - (1 << 28), dtype=np.uint8)
    *arguments, state = arbitrary_job(2, 1, 1 << 17, -1)
    with pytest.raises(MemoryError, match="GPU's memory is full"):
        BACKEND.advance(Chunk(*arguments, state, np.ones((1, 2), dtype=bool), [0]))
    del taken
    assert_same(run("plain", backend="cuda"), run("plain", backend="numpy"))
