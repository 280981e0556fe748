"""Pictures, one subject a file; all that they show was computed elsewhere."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    "estimates influence observations optima profiles random_effects residuals simulation style trajectories "
    "verdicts".split(),
)
