"""The cases: every data set with its models, what is certified of them and how far each fit is from that, as records
for pages and files; nothing is fitted and nothing judged here.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["certified", "fits", "notation"], submod_attrs={"collection": ["Collection"]}
)
