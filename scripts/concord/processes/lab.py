"""What `make lab` has every kernel load as it starts, as an extension of IPython."""

from __future__ import annotations

from concord import r


def load_ipython_extension(shell: object) -> None:
    """Have R read nothing of the notebook's folder, also where the notebook imports rpy2 and Concord later or never."""
    r.isolate()
