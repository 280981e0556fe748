"""Times what Concord does beside the plain way of doing it, alternating, in one run: `make bench`; no room needs it.

A benchmark is two sides that do the same work, each a function of an empty folder. The ratio is Concord's seconds over
the plain way's, round by round, so that what slows the machine down slows both sides. How time grows with the rows is
measured in one side only, from size to size.
"""

import os

# Threads inside a side would fight for the cores of the other's processes. Numpy and R read this once, when they load.
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
os.environ.update(THREADS)
