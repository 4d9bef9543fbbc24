"""Backends, threads, memory and workers of the machine."""
