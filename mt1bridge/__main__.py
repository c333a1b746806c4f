"""`python -m mt1bridge`: the same as the command `mt1bridge`."""

import sys

from mt1bridge.cli import main

if __name__ == "__main__":
    sys.exit(main())
