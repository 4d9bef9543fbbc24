"""Work spread over threads, and linear algebra on one of them."""

import pytest
import scipy.linalg  # noqa: F401  # has a library of its own
from threadpoolctl import threadpool_info, threadpool_limits

from nqm_fast.machine.parallel import one_blas_thread


def blas_threads():
    return {x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas"}


def test_linear_algebra_has_its_threads_again_after_the_last_that_wanted_one():
    """The number is the process's: parts that want one thread may begin and end in any order."""
    with threadpool_limits(2, user_api="blas"):
        if blas_threads() != {2}:
            pytest.skip("linear algebra was built for one thread")
        first, second = one_blas_thread, one_blas_thread
        first.__enter__()
        second.__enter__()
        assert blas_threads() == {1}
        first.__exit__()
        assert blas_threads() == {1}
        second.__exit__()
        assert blas_threads() == {2}
        with one_blas_thread:
            assert blas_threads() == {1}
        assert blas_threads() == {2}
