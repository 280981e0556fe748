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
# `parts` are R's labels, and `wholes` the terms that each belongs to, of which all parts are left out at once.
without_term <- function(fixed, parts, wholes) {
  formula <- as.formula(paste("~", fixed), env = baseenv())
  whole <- terms(formula)
  labels <- attr(whole, "term.labels")
  offsets <- vapply(as.list(attr(whole, "variables"))[-1L][attr(whole, "offset")], text_of, "")
  of <- ifelse(labels %in% parts, wholes[match(labels, parts)], labels)
  scope <- drop.scope(formula)
  dropped <- Filter(function(term) all(labels[of == term] %in% scope), unique(of))
  kept <- vapply(dropped, function(term) {
    paste(c(attr(whole, "intercept"), labels[of != term], offsets), collapse = " + ")
  }, "", USE.NAMES = FALSE)
  list(dropped = as.character(dropped), kept = kept)
}
