"""PyPI's mixedlm, a guest: lme4's notation in Python; not MixedLM of statsmodels."""

import lazy_loader

name, title, language, role = "mixedlm_pypi", "mixedlm (PyPI)", "Python", "guest"
settings = ("default",)
packages, companions, preload = ("mixedlm",), (), ()
orthogonal, inverts, sweep = False, False, 0
optimizers = fit_by = remedies = fit_remedy = refitters = statements = None

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"engine": ["call", "fit", "from_native", "imports"]}
)
