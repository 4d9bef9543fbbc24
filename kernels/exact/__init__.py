"""Kernels of the exact model: second moments, the closed form, and the first passage."""
