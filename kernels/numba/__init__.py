"""The Monte Carlo kernels for CPUs, which Numba compiles while a program runs."""
