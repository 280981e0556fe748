"""The one judge: fits of one model become a verdict with its reason; what a package states beyond them is the
account's."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["judgement", "sweep", "tolerances"],
    submod_attrs={
        "comparison": ["Comparison", "compare"],
        "gate": ["Gate", "everything"],
        "trials": ["Remedies", "remedies"],
        "verdict": ["Verdict"],
    },
)
