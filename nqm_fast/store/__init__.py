"""Runs in files: written while they compute, read at any time, resumed after any kill."""
