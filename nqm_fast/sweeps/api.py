"""The entry point of sweeps."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..foundation.arithmetic import in_usual_arithmetic
from ..output.progress import shown
from ..simulation.tables import check_installed

if TYPE_CHECKING:
    import xarray


@in_usual_arithmetic
def sweep(
    what: str,
    grid: Any,
    *,
    executor: Any = None,
    out: str | os.PathLike[str] | None = None,
    threads_per_task: int = 1,
    part: tuple[int, int] | None = None,
    progress: bool | None = None,
    **common: Any,
) -> xarray.Dataset:
    """Solve a problem at all points of a grid, on one machine or many.

    Points are independent: their results are those of the function called alone, to the last bit,
    whoever computes them and in whatever order. Points that cost little are sent together, about
    ten seconds of work at a time; those of one problem and seed that are simulated share one noise
    stream, which is computed once.

    Parameters
    ----------
    what : {"simulate", "tune", "risk", "steps", "schedule"}
        What is done at each point: `simulate`, `tune`, `expected_risk`, `steps_to_target` or
        `optimal_schedule`.
    grid : dict of axes, or list of dicts
        Values for each name along an axis, such as ``{"lr": [0.1, 0.2], "seed": range(8)}``, of
        which all combinations are points; or the points themselves. An axis may also be a table,
        ``{"start": 1, "stop": 1024, "num": 11, "log": True}``. Names are those of the function's
        arguments, of the algorithm's parameters ("lr", "momentum" and so on, of `SGD` or of
        "algorithm"), and those of `Problem.power_law`, "dim", "exponent" and so on, or "problem", a
        `Problem` or the name of a file, which must stay as it is until all is done.
    executor : int, Executor, or Client, optional
        None is a process on each core of this machine, a number so many of them; an executor is one
        of `concurrent.futures`, also of loky or mpi4py; a client is one of ``dask.distributed``.
    out : path, optional
        An HDF5 file for the results. What is done is kept in the folder ``OUT.parts`` beside it,
        which all workers must see: after Ctrl-C or any kill, the same call goes on there. The
        folder is removed when all is done.
    threads_per_task : int, default 1
        Threads that a task computes with.
    part : tuple of two ints, optional
        ``(k, n)`` does only the k-th of n parts of the points, from 0, for jobs of a queue; a call
        without `part` merges them. It needs `out`.
    progress : bool, optional
        Whether to show progress, as in `simulate`.
    **common
        Arguments that are the same at all points.

    Returns
    -------
    xarray.Dataset
        With the axes as coordinates, or the dimension "point" for a list. Beside them, "simulate"
        has the dimensions replica, step and band, "risk" step, "schedule" piece. Points that failed
        have NaN, or -1, and the reason in the variable "error"; a `SweepWarning` names them.

    Raises
    ------
    InputError
        If an argument cannot be used, `out` has another sweep or one of another version, or a task
        needs more memory than there is; if all points fail.
    RuntimeError
        If the executor ends before all is done. What is done is kept.
    OSError
        If `out` cannot be written.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> points = {"batch_size": [16, 64], "momentum": [0.0, 0.9]}
    >>> found = nqm.sweep("steps", points, executor=1, dim=100, lr=0.1, target=0.1)
    >>> found.steps.sel(momentum=0.9).values.tolist()
    [105.0, 61.0]
    """
    check_installed("xarray")
    if out is not None:
        check_installed("h5netcdf")
    from .session import swept

    with shown(progress):
        return swept(what, grid, common, executor, out, threads_per_task, part)
