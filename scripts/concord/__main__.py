"""``python -m concord``: see `concord.commands.cli`."""

import sys

from concord.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
