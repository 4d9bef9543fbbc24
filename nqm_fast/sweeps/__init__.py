"""Sweeps: many points of a grid, on any executor."""
