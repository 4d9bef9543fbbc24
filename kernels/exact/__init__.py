"""Kernels of the exact model: second moments, closed form, first passage."""
