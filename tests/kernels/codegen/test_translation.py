"""Kernels are translated to C, and what the translation does not know is refused."""

import inspect
import re

import numpy as np
import pytest
from nqm_fast.kernels.codegen.translation import new_program
from nqm_fast.kernels.codegen.values import Array, Value

ROWS = Array("f64", 1)
NUMBERS = Value("x", ROWS), Value("n", "i64")


def translated(function, *arguments):
    """The C of a function and of what it calls."""
    program = new_program()
    program.function(function, arguments or NUMBERS)
    return "\n".join(program.text)


# -- what is translated --------------------------------------------------------------------


def sums(x, n):
    total = 0.0
    for j in range(n):
        if j % 2 == 0 and x[j] > 1.0:
            total += x[j] * x[j + 1]
    return total


def powers(x, n):
    size = 3
    for a in range(size):
        x[a] = x[n] if a == 1 else 0.5 * a + 1.0


def parts(x, n):
    copy = np.empty(n)
    copy[:] = 1.0
    copy[1:n] = x[: n - 1]
    return max(copy[0], copy[1])


def test_loops_and_choices():
    text = translated(sums)
    assert "for (int64_t j = ((int64_t)0LL); j < t1; j += ((int64_t)1LL))" in text
    assert "(((j % ((int64_t)2LL)) == ((int64_t)0LL)) && (x.p[j] > 0x1.0000000000000p+0))" in text
    assert "total = (total + (x.p[j] * x.p[(j + ((int64_t)1LL))]));" in text
    assert "return total;" in text


def test_what_is_known_is_worked_out():
    """Short loops are unrolled, and known choices made, while translating."""
    lines = [line.strip() for line in translated(powers).splitlines() if "=" in line]
    assert lines == [
        "x.p[((int64_t)0LL)] = 0x1.0000000000000p+0;",
        "x.p[((int64_t)1LL)] = x.p[n];",
        "x.p[((int64_t)2LL)] = 0x1.0000000000000p+1;",
    ]


def test_memory_is_given_back():
    lines = translated(parts).splitlines()
    take, release = (
        next(i for i, line in enumerate(lines) if word in line)
        for word in ("arena_take(", "arena_release(")
    )
    assert take < release < next(i for i, line in enumerate(lines) if "return" in line)


def test_other_types_are_another_function():
    program = new_program()
    first = program.function(parts, NUMBERS)
    assert program.function(parts, NUMBERS) is first
    other = program.function(parts, (Value("x", Array("f32", 1)), NUMBERS[1]))
    assert other.name != first.name


# -- what is not ---------------------------------------------------------------------------


def of_lists(x, n):
    x[0] = sum([1.0, 2.0])


def of_dictionaries(x, n):
    for j in range(n):
        x[j] = {"a": 1.0}["a"]


def of_powers(x, n):
    x[0] = x[1] ** 0.5


def of_two_types(x, n):
    y = 1
    y = x
    y[0] = 1.0


def of_unequal_types(x, n):
    return np.uint64(n) + n


def of_a_sum_that_loses_its_fraction(x, n):
    total = 0
    for j in range(n):
        total += x[j]


def of_results_of_two_types(x, n):
    if n > 3:
        return 0
    return x[0]


def of_an_index_from_the_end(x, n):
    x[-1] = 0.0


def of_every_other_element(x, n):
    x[0:n:2] = 0.0


def of_a_quotient_rounded_down(x, n):
    x[0] = x[1] // 2.0


def of_bits(x, n):
    x[0] = x[~n]


def of_a_counter_that_is_changed(x, n):
    for j in range(n):
        j += 1


def of_a_counter_after_its_loop(x, n):
    for j in range(n):
        x[j] = 0.0
    x[j] = 1.0


def of_a_default(x, n):
    x[0] = n or 5


def two(x, n):
    return n, x[0]


def of_a_condition_made_once(x, n):
    while two(x, n)[0] > 0:
        x[0] = 1.0


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (of_lists, "not translated: .1.0, 2.0."),
        (of_dictionaries, "not translated: {'a': 1.0}"),
        (of_powers, "not translated: x.1. .. 0.5"),
        (of_two_types, "x is of type .*, not i64"),
        (of_unequal_types, "values of types u64 and i64"),
        (of_a_sum_that_loses_its_fraction, "a number of type f64 does not fit into i64"),
        (of_results_of_two_types, "a number of type f64 does not fit into i64"),
        (of_an_index_from_the_end, "an index from the end"),
        (of_every_other_element, "a part with steps"),
        (of_a_quotient_rounded_down, "of whole numbers only"),
        (of_bits, "not translated: ~n"),
        (of_a_counter_that_is_changed, "j counts a loop"),
        (of_a_counter_after_its_loop, "read where it has no value"),
        (of_a_default, "neither true nor false"),
        (of_a_condition_made_once, "a call with several results"),
    ],
)
def test_what_kernels_do_not_use_is_refused(function, said):
    line = inspect.getsourcelines(function)[1]
    with pytest.raises(NotImplementedError, match=f"{function.__name__}, line .*: {said}") as error:
        translated(function)
    assert 0 < int(re.search(r"line (\d+)", str(error.value))[1]) - line < 4
