"""What a fit takes of the machine, as far as it can be told beforehand."""

from __future__ import annotations

from dataclasses import dataclass

GIGABYTE = 1e9


@dataclass(frozen=True)
class Demand:
    """The time and the memory of one fit, as estimated.

    Attributes
    ----------
    seconds : of one core, at default settings
    memory : in bytes
    why : what takes the memory, in a clause
    """

    seconds: float
    memory: float
    why: str

    def refusal(self, available: float) -> str:
        """Why there is no use in beginning the fit with so many bytes of memory; empty where there is."""
        if self.memory <= available:
            return ""
        needed, there = self.memory / GIGABYTE, max(0.0, available) / GIGABYTE
        return f"it would need {needed:.2g} GB of memory, and {there:.2g} GB are free: {self.why}"

    def told(self, engine: str) -> str:
        """How long it will take, in words: ``some 4 minutes``."""
        minutes = self.seconds / 60
        span = f"{self.seconds:.0f} seconds" if minutes < 1.5 else f"{minutes:.0f} minutes"
        return f"{engine}: some {span if minutes < 90 else f'{minutes / 60:.0f} hours'}"
