# The terms of the fixed effects: which columns of the model's matrix are whose, and the columns that each would have
# were every factor in it coded by one column a level.

fixed_terms <- function(formula, data) {
  fixed <- fixed_side(formula)
  frame <- model.frame(of_lme4("subbars")(formula), data, na.action = na.omit, drop.unused.levels = TRUE)
  terms <- terms(as.formula(call("~", fixed), env = asNamespace("stats")))
  X <- model.matrix(terms, frame)
  labels <- attr(terms, "term.labels")
  uses <- attr(terms, "factors")
  variables <- if (length(labels)) rownames(uses) else character()
  full <- lapply(labels, function(label) {
    model.matrix(as.formula(paste("~ 0 +", label), env = asNamespace("stats")), frame)
  })
  intercept <- attr(terms, "intercept")
  blocks <- c(if (intercept) list(matrix(1, nrow(frame), 1L)), full)
  treatment <- Filter(function(name) !is.numeric(frame[[name]]), variables)
  treatment <- setNames(rep(list("contr.treatment"), length(treatment)), treatment)
  names <- colnames(model.matrix(terms, frame, contrasts.arg = treatment))
  list(
    labels = labels,
    variables = variables,
    numeric = as.character(Filter(function(name) is.numeric(frame[[name]]), variables)),
    matrices = as.character(Filter(function(name) is.matrix(frame[[name]]), variables)),
    uses = if (length(labels)) matrix(as.numeric(uses > 0), nrow(uses)) else matrix(0, 0L, 0L),
    of_column = as.integer(attr(X, "assign")[kept_columns(X)]),
    full = do.call(cbind, blocks),
    of_full = as.integer(rep(c(if (intercept) 0L, seq_along(labels)), vapply(blocks, ncol, 0L))),
    not_first = as.integer(c(if (intercept) "(Intercept)", unlist(lapply(full, colnames))) %in% names)
  )
}
