"""Coordinates of a problem, as formulas or arrays, and few nodes that stand for many."""
