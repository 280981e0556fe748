"""Processes: a worker that keeps its engine, a cluster, kernels that start warm; they know no statistics."""
