"""Runs in memory, in files and on workers: begun, gone on with, and searched."""
