"""nlme, by R: the arbiter where the parties differ."""

import lazy_loader

name, title, language, role = "nlme", "nlme", "R", "arbiter"
settings = ("default", "tuned")
packages, companions = ("nlme",), ()
preload = (f"{__name__}.engine",)
orthogonal, inverts, sweep = True, False, 0
optimizers = fit_by = remedies = fit_remedy = refitters = None

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["statements"], submod_attrs={"engine": ["call", "fit", "from_native", "imports"]}
)
