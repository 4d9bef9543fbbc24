"""The commands of ``nqm-fast``, a module for each.

A module has ``ORDER``, its place in the help, and a function ``add(commands)``, which
adds the command to the parser and sets the function that runs it as the default of ``run``.
"""
