"""Everything that packages state beyond the estimates, held to its own definition; no fit is judged here, no picture
drawn."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    "anova checks criteria effect_tests influence intervals predictions".split()
    + ["marginal_means", "model_tests", "nested_models", "standard_errors", "term_tests"],
    submod_attrs={"account": ["Account", "SECTIONS"], "definitions": ["conversions"], "line": ["Line", "Sheet"]},
)
