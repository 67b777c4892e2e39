"""``python -m fxp`` is the command ``fxp``."""

import sys

from fxp.cli import main

if __name__ == "__main__":
    sys.exit(main())
