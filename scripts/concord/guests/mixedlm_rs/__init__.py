"""PyPI's mixedlm-rs, a guest: MixedLM's interface on a compiled engine, for one grouping factor."""

import lazy_loader

name, title, language, role = "mixedlm_rs", "mixedlm-rs (PyPI)", "Python", "guest"
settings = ("default",)
packages, companions, preload = ("mixedlm-rs",), (), ()
orthogonal, inverts, sweep = False, False, 0
optimizers = fit_by = remedies = fit_remedy = refitters = statements = None

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"engine": ["call", "fit", "from_native", "imports"]}
)
