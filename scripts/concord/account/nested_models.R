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

# The fixed part without one of its terms, as formulas' right-hand sides, named by what is left out; by the rules of R.
without_term <- function(fixed) {
  formula <- as.formula(paste("~", fixed), env = baseenv())
  whole <- terms(formula)
  labels <- attr(whole, "term.labels")
  offsets <- vapply(as.list(attr(whole, "variables"))[-1L][attr(whole, "offset")], text_of, "")
  dropped <- drop.scope(formula)
  kept <- vapply(dropped, function(label) {
    paste(c(attr(whole, "intercept"), setdiff(labels, label), offsets), collapse = " + ")
  }, "", USE.NAMES = FALSE)
  list(dropped = as.character(dropped), kept = kept)
}
