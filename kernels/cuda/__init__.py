"""The Monte Carlo kernels for NVIDIA's GPUs, through `numba.cuda`."""
