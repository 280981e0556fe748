"""Times what Concord does beside the plain way of doing it, alternating, in one run: `make bench`.

A benchmark is two sides that do the same work, each a function of an empty folder. The ratio is Concord's seconds over
the plain way's, round by round, so that what slows the machine down slows both sides. How time grows with the rows is
measured in one side only, from size to size.
"""
