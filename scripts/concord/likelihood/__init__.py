"""The independent likelihood of a linear mixed model, its optimum, and the certificate of it; no package, no R, no
screen."""
