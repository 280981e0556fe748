"""PyPI's glmm, a guest: mixed models by a compiled engine of its own."""

import lazy_loader

name, title, language, role = "glmm", "glmm (PyPI)", "Python", "guest"
settings = ("default",)
packages, companions, preload = ("glmm",), (), ()
orthogonal, inverts, sweep = False, False, 0
optimizers = fit_by = remedies = fit_remedy = refitters = statements = None

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"engine": ["call", "fit", "from_native", "imports"]}
)
