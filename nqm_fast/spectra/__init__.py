"""Spectra read from files, or measured."""
