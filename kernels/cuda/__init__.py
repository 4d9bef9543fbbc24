"""The Monte Carlo backend for NVIDIA's GPUs, through `numba.cuda`."""
