"""Batch sizes: the frontier of steps and samples, and where a larger batch stops paying."""
