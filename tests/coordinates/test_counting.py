"""Gauss rules of the counting measure sum polynomials exactly."""

from fractions import Fraction

import numpy as np
import pytest

from nqm_fast.coordinates.counting import counting_rule


@pytest.mark.parametrize(("length", "nodes"), [(12, 11), (65, 10), (1000, 20), (10**15, 40)])
def test_a_rule_sums_polynomials_of_twice_its_size(length, nodes):
    # Powers of (x / length), which are exact fractions, by Faulhaber's sum or by the definition.
    node, weight = counting_rule(length, nodes)
    assert (weight > 0.0).all()
    assert (np.abs(node) < 0.5 * length).all()
    if length <= 1000:
        middle = Fraction(length - 1, 2)
        for degree in (0, 2, 4, 2 * nodes - 2):
            want = sum(((i - middle) / length) ** degree for i in range(length))
            got = (weight * (node / length) ** degree).sum()
            np.testing.assert_allclose(got, float(want), rtol=1e-13)
    else:  # The sum is an integral but for relative differences of 1e-30.
        for degree in (0, 2, 4, 2 * nodes - 2):
            want = length * 0.5**degree / (degree + 1)
            got = (weight * (node / length) ** degree).sum()
            np.testing.assert_allclose(got, want, rtol=1e-12)


def test_a_polynomial_of_higher_degree_is_not_summed():
    node, weight = counting_rule(1000, 3)
    want = sum(((i - 499.5) / 1000) ** 6 for i in range(1000))
    assert abs((weight * (node / 1000) ** 6).sum() / want - 1.0) > 1e-3


@pytest.mark.parametrize("length", [1, 2, 20])
def test_few_numbers_are_themselves(length):
    node, weight = counting_rule(length, 20)
    np.testing.assert_array_equal(node + 0.5 * (length - 1), np.arange(length))
    np.testing.assert_array_equal(weight, np.ones(length))


def test_a_rule_that_is_remembered_cannot_be_changed():
    for array in counting_rule(100, 7):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 3.0
