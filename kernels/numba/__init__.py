"""The Monte Carlo kernels for CPUs, which Numba compiles while a program runs.

The extension compiles the same kernels ahead of time (see `codegen`).
"""
