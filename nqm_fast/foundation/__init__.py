"""Checks of arguments, messages, and descriptions that never change, which all else stands on."""
