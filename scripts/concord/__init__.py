"""Concord: do statsmodels and lme4 agree on this mixed model, and if not, which one is right?"""

import os

import lazy_loader

# R that is started from here on, by rpy2 in this process or in one that it starts, reads no profile and no environment
# file, which would change a model without a word (options("contrasts")). Set to nothing, R does not look for its own.
os.environ.update(dict.fromkeys(("R_PROFILE", "R_PROFILE_USER", "R_ENVIRON", "R_ENVIRON_USER"), ""))

# Nothing is imported before it is asked for: a command that needs no engine answers at once.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["r"],
    submod_attrs={
        "account.two_models": ["likelihood_ratio"],
        "explanation": ["explain", "from_mixedlm"],
        "session": ["Inquiry", "compare_formula", "translate"],
    },
)
