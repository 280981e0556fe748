"""Processes: a worker that keeps its engine, a cluster, kernels that start warm; they know no statistics."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["cluster", "kernels", "worker"])
