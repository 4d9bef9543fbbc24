"""Throughput on an NVIDIA GPU, compared with loops in other libraries and with the roofline.

Where there is no GPU, all tests but that of the estimate are skipped.
"""

import pytest

pytest.importorskip("numba_cuda")

import gpu_estimate
import numpy as np
from gpu_peers import GPU_PEERS

import nqm_fast as nqm
from nqm_fast import kernels

BATCH = 64
LR = 0.1
WORKS = {
    "SGD": nqm.SGD(LR),
    "SGD with momentum": nqm.SGD(LR, momentum=0.9),
    "SGD with momentum and EMA": nqm.SGD(LR, momentum=0.9, ema=0.99),
}


@pytest.fixture(scope="module")
def gpu():
    """Name of the first GPU."""
    try:
        return kernels.load_backend("cuda").devices()[0]
    except kernels.BackendError as error:
        pytest.skip(str(error))


@pytest.fixture
def sizes(request):
    """Coordinates and steps: enough to measure, or just enough to see that everything runs."""
    return (10**5, 64) if request.config.getoption("benchmark_disable") else (10**7, 2048)


def simulate(dim, algorithm, steps, **more):
    """Simulate one replica, and record only the last step."""
    problem = nqm.Problem.power_law(dim)
    return nqm.simulate(problem, algorithm, BATCH, steps, record=[steps], backend="cuda", **more)


def roofline(gpu, components):
    """Return the estimate for this GPU in coordinate-steps/s, or None if it is unknown."""
    known = next((x for name, x in gpu_estimate.GPUS.items() if name.split()[0] in gpu), None)
    return gpu_estimate.estimated(components, known).steps if known else None


def note(benchmark, gpu, work, rate, **more):
    benchmark.extra_info |= {"gpu": gpu, "on GPU": work, "coordinate-steps/s": rate} | more


@pytest.mark.gpu
@pytest.mark.parametrize("name", GPU_PEERS)
def test_peer(benchmark, alternate, gpu, sizes, name):
    """Plain SGD in turns with one of the peers."""
    dim, steps = sizes
    h = nqm.Problem.power_law(dim).h
    peer, peer_steps = GPU_PEERS[name](h, h, BATCH, LR), max(steps // 16, 1)
    ours, theirs = alternate(
        lambda: simulate(dim, WORKS["SGD"], steps), lambda: peer.step(peer_steps)
    )
    rate, other = dim * steps / ours, dim * peer_steps / theirs
    bound = roofline(gpu, 1)
    note(
        benchmark, gpu, "plain SGD, with its start", rate, peer=name, ratio=rate / other,
        **({"part of the roofline": rate / bound} if bound else {}),
    )  # fmt: skip


@pytest.mark.gpu
@pytest.mark.parametrize("work", WORKS)
def test_kernels(benchmark, alternate, gpu, sizes, work):
    """The kernels alone, timed by the clock of the device, against the roofline."""
    dim, steps = sizes
    rates = []

    def run():
        stats = simulate(dim, WORKS[work], steps).stats
        rates.append(stats["coordinate_steps"] / stats["compute"])

    alternate(run)
    bound = roofline(gpu, gpu_estimate.WORKS[work])
    rate = float(np.median(rates))
    more = {"part of the roofline": rate / bound} if bound else {}
    note(benchmark, gpu, work, rate, **more)


@pytest.mark.gpu
@pytest.mark.parametrize("name", GPU_PEERS)
def test_peers_simulate_the_model(gpu, name):
    """This is no benchmark: peers do the same work, as their risk shows."""
    problem = nqm.Problem(np.ones(4096))
    peer = GPU_PEERS[name](problem.h, problem.c, BATCH, LR)
    peer.step(600)
    x = np.asarray(peer.w.get() if hasattr(peer.w, "get") else peer.w.tolist(), dtype=float)
    expected = nqm.expected_risk(problem, WORKS["SGD"], BATCH, 600)
    assert 0.5 * (x @ x) == pytest.approx(expected, rel=0.12)


@pytest.mark.long
def test_the_estimate(capsys):
    """This is no benchmark: the estimate needs no GPU, is plausible, and is called an estimate."""
    pytest.importorskip("cuda.core")
    gpu_estimate.main([])
    text = capsys.readouterr().out
    assert text.startswith("ESTIMATES from machine code, not measurements")
    assert text.count("coordinate-steps/s") == 2
    for gpu in gpu_estimate.GPUS.values():
        threads = 128 * gpu.multiprocessors * gpu.clock
        for components in gpu_estimate.WORKS.values():
            found = gpu_estimate.estimated(components, gpu)
            assert found.steps_with_rest < found.steps
            assert found.steps <= 1.001 * threads / (found.noise + found.moving) < threads / 50
