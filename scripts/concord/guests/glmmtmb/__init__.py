"""glmmTMB, by R, a guest: Laplace's approximation with automatic derivatives, which is exact for these models."""

import lazy_loader

name, title, language, role = "glmmtmb", "glmmTMB", "R", "guest"
settings = ("default",)
packages, companions, preload = ("glmmTMB",), (), ()
orthogonal, inverts, sweep = False, False, 0
optimizers = fit_by = remedies = fit_remedy = refitters = statements = None

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"engine": ["call", "fit", "from_native", "imports"]}
)
