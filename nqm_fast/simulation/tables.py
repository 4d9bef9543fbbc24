"""A run's records as a dataset of xarray, or as a table of pandas."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from ..foundation.validation import InputError
from ..labels import coordinates
from .observables import OBSERVABLES, PATHS, TRACED, recorded

if TYPE_CHECKING:
    import pandas
    import xarray


def check_installed(name: str) -> None:
    """Raise an InputError unless a package of the extra [xarray] is installed."""
    if find_spec(name) is None:
        raise InputError(f"this needs {name}: pip install 'nqm-fast[xarray]'")


def dataset(run: Any) -> xarray.Dataset:
    """The records of a run as a dataset, with the dimensions of its arrays."""
    check_installed("xarray")
    import xarray

    experiment = run.experiment
    listed = ["setting"] * experiment.listed
    coords: dict[str, Any] = {"replica": experiment.replicas, "step": run.steps}
    if listed:
        coords["setting"] = np.arange(len(experiment.settings))
    for name, values in _setting_columns(experiment).items():
        coords[name] = ("setting", values) if listed else values[0]
    if experiment.bands is not None:
        edges = experiment.bands
        coords |= {"band": np.arange(edges.size - 1)}
        coords |= {"band_low": ("band", edges[:-1]), "band_high": ("band", edges[1:])}
    if experiment.traced.size:
        coords[TRACED] = experiment.traced
    variables: dict[str, Any] = {}
    for name, values in run.observed.items():
        own, units, text = recorded(name)
        variables[name] = [*listed, "replica", "step", *own], values, _attributes(units, text)
    variables["diverged_at"] = (
        [*listed, "replica"],
        run.diverged_at,
        _attributes("1", "first step at which a coordinate's risk exceeded 1e290, -1 for none"),
    )
    if run.wall_time is not None:
        text = "running time when the record was made, without breaks"
        variables["wall_time"] = "step", run.wall_time, _attributes("s", text)
    if run.state is not None:
        states = run.state if listed else [run.state]
        for g, state in enumerate(states):
            name = f"state_{g}" if listed else "state"
            dims = ["replica", f"{name}_component", "coordinate"]
            text = "components of the recurrence (for SGD w, v, e) after the last step"
            variables[name] = dims, state, _attributes("1", text)
    facts = {
        "status": run.status,
        "message": run.message,
        "problem": repr(experiment.problem),
        "sampling": experiment.sampling,
        "data": experiment.data,
        "seed": str(experiment.seed),  # It may exceed what files hold as a number.
    }
    if experiment.coordinates is not None:
        facts["shard"] = f"coordinates {experiment.coordinates}"
    return xarray.Dataset(variables, coords, facts)


TAKEN = {"setting", "replica", "step", "band", "band_low", "band_high", "diverged_at", "wall_time"}
TAKEN |= {TRACED, *OBSERVABLES, *PATHS}
"""Names of tables' own columns, which parameters of a user's algorithms may have too."""


def _setting_columns(experiment: Any) -> dict[str, Any]:
    """Return the parameters of settings, by names that no other column has."""
    return {
        f"{name}_of_setting" if name in TAKEN else name: values
        for name, values in coordinates(experiment.settings).items()
    }


def _attributes(units: str, description: str) -> dict[str, str]:
    """The attributes that variables have in a run's file as well."""
    return {"units": units, "description": description}


def frame(run: Any) -> pandas.DataFrame:
    """The records of a run as a table with a row for each setting, replica and step."""
    check_installed("pandas")
    import pandas

    experiment = run.experiment
    settings = len(experiment.settings)
    shape = settings, experiment.replicas.size, run.steps.size
    columns: dict[str, Any] = {"setting": np.arange(settings)[:, None, None]}
    for name, values in _setting_columns(experiment).items():
        columns[name] = values[:, None, None]
    columns["replica"] = experiment.replicas[:, None]
    columns["step"] = run.steps
    for name, values in run.observed.items():
        if recorded(name).dims:
            several = np.reshape(values, (*shape, -1))
            numbers = experiment.traced if name in PATHS else range(several.shape[-1])
            for k, number in enumerate(numbers):
                columns[f"{name}_{number}"] = several[..., k]
        else:
            columns[name] = np.reshape(values, shape)
    flat = {name: np.broadcast_to(values, shape).ravel() for name, values in columns.items()}
    return pandas.DataFrame(flat)
