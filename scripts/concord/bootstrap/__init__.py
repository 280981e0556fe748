"""The parametric bootstrap of one model, by every engine; experiments with many models are simulation's."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "intervals": ["Bootstrapped", "bootstrapped", "sheet"],
        "parametric": ["bootstrap"],
        "ratio": ["RatioTest", "ratio_test"],
        "result": ["Bootstrap"],
    },
)
