"""The code of a comparison in both languages, from the file to the fit; nothing is read or fitted here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["readers"],
    submod_attrs={"listings": ["Condemned", "Listings", "Written", "as_html", "code", "fit_code"]},
)
