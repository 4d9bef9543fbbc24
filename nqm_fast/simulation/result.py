"""The outcome of a Monte Carlo run."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..foundation.arithmetic import methods_in_usual_arithmetic
from ..foundation.validation import Array, counted
from ..output.html import facts_table, rows_table
from ..output.saving import file_path
from .experiment import Experiment
from .observables import BAND_RISK, OBSERVABLES, PATHS, RISK
from .tables import dataset, frame
from .trajectory import Trajectory, named_coordinates

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.figure import Figure


@methods_in_usual_arithmetic
@dataclass(frozen=True, repr=False, eq=False)  # Runs are compared by identity, not by arrays.
class Run:
    """The result of `simulate`.

    With a list of G settings, `risk` and all else that is observed, `diverged_at` and `state`
    have a leading axis (for `state` a tuple) of length G.

    Attributes
    ----------
    steps : ndarray of int, shape (records,)
        Recorded steps, ascending.
    risk : ndarray, shape (replicas, records)
        Excess risk of every replica; inf from the step at which it diverged.
    status : str
        "finished", "diverged" (at least one setting and replica) or "interrupted"; of a file
        that `open_run` reads also "running" or "killed".
    message : str
        What happened, in a sentence, and what to change; empty if finished.
    diverged_at : ndarray of int, shape (replicas,)
        First step at which the risk of a coordinate exceeded 1e290 (with sampling "leap":
        the first stop); -1 for none.
    state : ndarray, shape (replicas, components, d), or None
        Components of the algorithm's recurrence (for SGD w, then v, then e, as far as they
        play a part) after the last step, with ``keep_state=True``; inf where diverged.
    band_edges : ndarray, shape (bands + 1,), or None
        Curvatures that bound the bands.
    band_risk : ndarray, shape (replicas, records, bands), or None
        Risk of the coordinates in each band.
    observed : dict of str to ndarray
        All that was recorded, by name: "risk", with bands "band_risk", and what the argument
        `observe` named, such as "weight_norm" of shape (replicas, records). Each is also an
        attribute of the run: ``run.weight_norm``. With paths also the two arrays of `trajectory`.
    stats : dict
        Backend, threads, coordinate-steps done (settings, replicas and coordinates times
        steps), the order of the loops ("steps", "blocks", "replicas" of collapsed sampling and of
        noise that depends on the iterate, or "shards" of a run that was merged), and seconds spent
        in "compile" (kernels compiled, or loaded from the cache), "compute" and "write", which are
        those of all shards together.
    experiment : Experiment
        What was simulated: `problem`, `settings`, `seed` and so on.
    trajectory : Trajectory, or None
        Paths of the coordinates that the argument `trajectory` of `simulate` named: their numbers
        `coordinates`, shape (traced,), with `w` and `evaluated`, shape (replicas, records, traced):
        the first component of the state, which is the iterate w for SGD, and the evaluated iterate,
        inf where the risk is after divergence. None also for a shard that has none of them.
    wall_time : ndarray, shape (records,), or None
        Seconds that a run with a file had taken when a record was made, without breaks; those of
        all shards together, of a run that was merged.
    """

    steps: NDArray[np.int64]
    observed: dict[str, Array]
    status: str
    message: str
    diverged_at: NDArray[np.int64]
    state: Any = None
    stats: dict[str, Any] = field(default_factory=dict)
    experiment: Experiment | None = None
    wall_time: Array | None = None

    @property
    def risk(self) -> Array:
        """Excess risk, shape (replicas, records)."""
        return self.observed[RISK]

    @property
    def band_risk(self) -> Array | None:
        """Risk of the coordinates in each band, shape (replicas, records, bands), or None."""
        return self.observed.get(BAND_RISK)

    @property
    def band_edges(self) -> Array | None:
        """Curvatures that bound the bands, shape (bands + 1,), or None."""
        return None if self.experiment is None else self.experiment.bands

    @property
    def trajectory(self) -> Trajectory | None:
        """Paths of the traced coordinates, or None."""
        if self.experiment is None or not self.experiment.traced.size:
            return None
        return Trajectory(self.experiment.traced, *(self.observed[name] for name in PATHS))

    def __getattr__(self, name: str) -> Array:
        """Give an observable by its name."""
        if name in OBSERVABLES:
            if name in self.observed:
                return self.observed[name]
            raise AttributeError(f"{name} was not recorded: ask for it with observe=({name!r},)")
        raise AttributeError(f"a Run has no {name}")

    def only_setting(self) -> Run:
        """The run of one setting without the axis of settings."""
        return replace(
            self,
            observed={name: array[0] for name, array in self.observed.items()},
            diverged_at=self.diverged_at[0],
            state=None if self.state is None else self.state[0],
        )

    def to_xarray(self) -> xarray.Dataset:
        """The records as a dataset: dimensions setting (of a list), replica, step and band.

        Coordinates of the dimension setting are "label" and the parameters of settings, such as
        "lr", "momentum" and "batch_size"; NaN for a schedule that varies.

        Raises
        ------
        InputError
            If xarray is not installed.
        """
        return dataset(self)

    def to_pandas(self) -> pandas.DataFrame:
        """The records as a table with a row for each setting, replica and step.

        Raises
        ------
        InputError
            If pandas is not installed.
        """
        return frame(self)

    def plot(self, path: str | os.PathLike[str] | None = None, *, bands: bool = False) -> Figure:
        """Draw the run over its exact expectation.

        Parameters
        ----------
        path : path, optional
            A picture to write as well, such as ``run.png`` or ``run.pdf``.
        bands : bool
            Draw the risk of each band, and each setting in a panel of its own.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        InputError
            If there is no record after step 0, there are no bands, `path` is no picture, or
            Matplotlib is not installed.
        """
        from ..drawing import run as _run

        if path is not None:
            _run.draw(self, file_path("path", path), bands)
        return _run.figure_of(self, bands)

    def _repr_html_(self) -> str:
        experiment = self.experiment
        facts: dict[str, Any] = {"status": self.status}
        if self.message:
            facts["message"] = self.message
        if experiment is None:
            return facts_table("Run", facts | {"records": self.steps.size})
        facts |= {
            "problem": repr(experiment.problem),
            "steps": experiment.steps,
            "replicas": experiment.replicas.size,
            "records": f"{self.steps.size} of {experiment.records.size}",
            "sampling": experiment.sampling,
            "seed": experiment.seed,
        }
        if experiment.coordinates is not None:
            facts["shard"] = f"coordinates {experiment.coordinates}"
        if experiment.traced.size:
            facts["trajectory"] = named_coordinates(experiment.traced)
        rows = []
        risks = self.risk if self.risk.ndim == 3 else self.risk[None]
        for setting, risk in zip(experiment.settings, risks, strict=True):
            row = {"algorithm": repr(setting.algorithm), "batch size": setting.batch_size_text}
            if self.steps.size:
                row[f"mean risk at step {self.steps[-1]}"] = f"{risk[:, -1].mean():.8g}"
            rows.append(row)
        return rows_table("Run", facts, rows)

    def __repr__(self) -> str:
        *settings, replicas, records = self.risk.shape
        sizes = [counted(settings[0], "setting")] if settings else []
        sizes += [counted(replicas, "replica"), counted(records, "record")]
        if self.experiment is not None and self.experiment.coordinates is not None:
            sizes.append(f"coordinates {self.experiment.coordinates}")
        message = f": {self.message}" if self.message else ""
        return f"<Run {self.status}, {', '.join(sizes)}{message}>"


def with_public_axes(
    values: Array, steps: NDArray[np.int64], diverged_at: NDArray[np.int64]
) -> Array:
    """Give records the axes of the public API, and set them to inf after divergence.

    `values` is (records, settings, replicas, rows), `steps` is (records,), and `diverged_at` is
    (settings, replicas); the result is (settings, replicas, records, rows).
    """
    diverged = (diverged_at[..., None] >= 0) & (steps >= diverged_at[..., None])
    return np.where(diverged[..., None], np.inf, np.moveaxis(values, 0, 2))
