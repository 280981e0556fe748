"""Proofs that no better optimum exists, by interval arithmetic over the whole parameter space; no package, no R, no
screen."""
