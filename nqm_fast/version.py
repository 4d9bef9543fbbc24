"""The version of the package, which everything else that says it reads or is tested against."""

__version__ = "0.2.0"
