"""The command line, as ``python -m nqm_fast``."""

import sys

from .cli import main

sys.exit(main())
