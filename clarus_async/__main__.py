"""``python -m clarus_async`` is ``clarus``."""

import sys

from clarus_async.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
