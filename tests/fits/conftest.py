import pytest
from simulated_runs import START, finals

import nqm_fast as nqm


@pytest.fixture(scope="session")
def fitted():
    """A fit to final losses without noise, from a start that is near."""
    return nqm.fit(finals(), extra=(), start=START)
