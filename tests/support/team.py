"""The models of a team, and the command that checks them."""

from __future__ import annotations

GROWTH = """
[[models]]
name = "growth"
data = "data/sleep.csv"
formula = "Reaction ~ Days + (1 + Days | Subject)"
"""
PIGS = """
[[models]]
name = "pigs"
data = "data/pigs.csv"
formula = "Weight ~ Time + (1 + Time | Pig)"
"""
CROSSED = """
[[models]]
name = "crossed"
data = "data/sleep.csv"
formula = "Reaction ~ Days + (1 + Days | Subject) + (1 + Days | week)"
expect = "cannot express"
reason = "correlated slopes of two crossed factors"
details = false
"""
