"""The Monte Carlo engine: experiments, the loops that drive the kernels, and their results."""
