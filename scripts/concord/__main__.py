"""``python -m concord``: see `concord.commands.cli`."""

import sys

from concord import interruptions

interruptions.handle(interruptions.leave)  # until the command line can tell of it

from concord.commands.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
