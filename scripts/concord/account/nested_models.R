# The columns of a random term without one of its effects, as formulas' right-hand sides, by the rules of R: what another
# effect is an interaction with stays. Where nothing is left, an intercept.
reduced <- function(columns) {
  formula <- as.formula(paste("~", columns), env = baseenv())
  labels <- attr(terms(formula), "term.labels")
  intercept <- attr(terms(formula), "intercept")
  vapply(drop.scope(formula), function(label) {
    kept <- setdiff(labels, label)
    if (length(kept)) paste(c(intercept, kept), collapse = " + ") else "1"
  }, "", USE.NAMES = FALSE)
}
