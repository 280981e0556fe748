# The design rows of new data, as R's predict() makes them: factors with the levels and contrasts of the data that the
# model was fitted to, and poly(), scale() and the like with the numbers that they took from those data (makepredictcall
# writes them into the terms' `predvars` when the model frame is made).

# The numbers of `new` for a formula on `data`: fixed-effects matrix, offset, and for every random term its matrix and
# the names of the levels. Rows with missing values stay, as missing numbers.
new_rows <- function(formula, data, new) {
  bars <- lme4::findbars(lme4::expandDoubleVerts(formula))
  fixed <- lme4::nobars(formula)
  frame <- model.frame(lme4::subbars(formula), data, na.action = na.omit, drop.unused.levels = TRUE)
  terms <- attr(frame, "terms")
  # A variable that only groups may have levels that the data did not have; any other may not.
  plain <- unique(c(all.vars(fixed), unlist(lapply(bars, function(bar) all.vars(bar[[2L]])))))
  levels <- .getXlevels(terms, frame)
  variables <- setNames(as.list(attr(terms, "variables"))[-1L], names(frame))
  held <- vapply(variables[names(levels)], function(variable) all(all.vars(variable) %in% plain), NA)
  fresh <- model.frame(delete.response(terms), new, na.action = na.pass, xlev = levels[held])
  rows <- nrow(new)
  # A formula's own call finds its columns in the frame by their names: its environment need hold nothing.
  matrix_of <- function(rhs) {
    one_sided <- as.formula(call("~", rhs), env = asNamespace("stats"))
    before <- model.matrix(one_sided, frame)
    matrix <- model.matrix(one_sided, fresh, contrasts.arg = attr(before, "contrasts"))
    if (!identical(colnames(before), colnames(matrix))) stop("the new data give other columns", call. = FALSE)
    matrix
  }
  factors <- list2env(lapply(as.list(fresh), factor), parent = baseenv())
  factors$`:` <- function(a, b) interaction(a, b, sep = ":", drop = TRUE, lex.order = TRUE)
  offset <- model.offset(fresh)
  list(
    X = matrix_of(if (length(fixed) == 3L) fixed[[3L]] else fixed[[2L]]),
    offset = if (is.null(offset)) numeric(rows) else as.numeric(offset),
    matrices = unname(lapply(bars, function(bar) matrix_of(bar[[2L]]))),
    levels = unname(lapply(bars, function(bar) as.character(eval(bar[[3L]], factors))))
  )
}
