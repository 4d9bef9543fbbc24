"""Extension modules only; everything else is in pyproject.toml. There are none yet."""

from setuptools import setup

setup(ext_modules=[])
