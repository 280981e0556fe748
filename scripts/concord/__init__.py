"""Concord: do statsmodels and lme4 agree on this mixed model, and if not, which one is right?"""

import os
import sys

# Under ``python -m concord`` the current folder is first on the path: a file json.py there would be taken for the
# library's, and run. It goes before anything else is imported, unless this package stands in it; and processes that are
# started from here on leave out a current folder of their own.
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    if sys.path[0] != os.path.dirname(os.path.dirname(os.path.abspath(__file__))):
        del sys.path[0]
    os.environ["PYTHONSAFEPATH"] = "yes"

import lazy_loader  # noqa: E402

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
