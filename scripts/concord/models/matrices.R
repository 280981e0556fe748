# The numbers of a formula on a table: those of its own rows, and those of new ones.

# The numbers of the model: response, offset, fixed-effects matrix and which of its columns lmer keeps, for every random term its matrix and the level of
# every row, and the levels of all factors in R's order. Rows with a missing value in any variable are left out, as lmer
# does.
design <- function(formula, data) {
  bars <- of_lme4("findbars")(of_lme4("expandDoubleVerts")(formula))
  everything <- of_lme4("subbars")(formula)
  frame <- model.frame(everything, data, na.action = na.omit, drop.unused.levels = TRUE)
  room <- list2env(lapply(as.list(frame), identity), parent = asNamespace("stats"))
  # Made when they are asked for: a response or a predictor of many values takes long to become a factor.
  factors <- new.env(parent = baseenv())
  lapply(names(frame), function(name) delayedAssign(name, factor(frame[[name]]), assign.env = factors))
  factors$`:` <- function(a, b) interaction(a, b, sep = ":", drop = TRUE, lex.order = TRUE)
  terms <- lapply(bars, function(bar) {
    group <- eval(bar[[3L]], factors)
    if (!is.factor(group)) stop(text_of(bar[[3L]]), " is not a grouping factor", call. = FALSE)
    matrix <- model.matrix(as.formula(call("~", bar[[2L]]), env = room), frame)
    list(columns = colnames(matrix), matrix = matrix, levels = levels(group), codes = as.integer(group) - 1L)
  })
  X <- model.matrix(as.formula(call("~", fixed_side(formula)), env = room), frame)
  y <- model.response(frame)
  if (!is.numeric(y) || is.matrix(y)) stop("the response ", text_of(formula[[2L]]), " is not a number", call. = FALSE)
  rows <- setdiff(seq_len(nrow(data)), as.integer(attr(frame, "na.action")))
  named <- Filter(function(column) is.factor(column) || is.character(column), as.list(data))
  list(
    y = as.numeric(y), offset = as.numeric(model.offset(frame)), X = X, X_columns = colnames(X),
    kept = kept_columns(X) - 1L, terms = terms, rows = rows - 1L,
    factors = names(named),
    levels = unname(lapply(named, function(column) levels(factor(column[rows]))))
  )
}

# The design rows of new data, as R's predict() makes them: factors with the levels and contrasts of the data that the
# model was fitted to, and poly(), scale() and the like with the numbers that they took from those data (makepredictcall
# writes them into the terms' `predvars` when the model frame is made).

# The numbers of `new` for a formula on `data`: fixed-effects matrix, offset, and for every random term its matrix and
# the names of the levels. Rows with missing values stay, as missing numbers.
new_rows <- function(formula, data, new) {
  bars <- of_lme4("findbars")(of_lme4("expandDoubleVerts")(formula))
  fixed <- fixed_side(formula)
  frame <- model.frame(of_lme4("subbars")(formula), data, na.action = na.omit, drop.unused.levels = TRUE)
  terms <- attr(frame, "terms")
  # A variable that only groups may have levels that the data did not have; any other may not.
  plain <- unique(c(all.vars(fixed), unlist(lapply(bars, function(bar) all.vars(bar[[2L]])))))
  levels <- .getXlevels(terms, frame)
  variables <- setNames(as.list(attr(terms, "variables"))[-1L], names(frame))
  held <- vapply(variables[names(levels)], function(variable) all(all.vars(variable) %in% plain), NA)
  fresh <- model.frame(delete.response(terms), new, na.action = na.pass, xlev = levels[held])
  rows <- nrow(new)
  # A formula's own call finds its columns in the frame by their names: its environment need hold nothing.
  matrix_of <- function(rhs, fixed = FALSE) {
    one_sided <- as.formula(call("~", rhs), env = asNamespace("stats"))
    before <- model.matrix(one_sided, frame)
    matrix <- model.matrix(one_sided, fresh, contrasts.arg = attr(before, "contrasts"))
    if (!identical(colnames(before), colnames(matrix))) stop("the new data give other columns", call. = FALSE)
    if (fixed) of_kept(before, matrix) else matrix
  }
  # The columns that lmer keeps; and of those that it drops, what the kept ones do not make of them in the new rows, as
  # a part of the largest value in the old ones.
  of_kept <- function(before, matrix) {
    kept <- kept_columns(before)
    dropped <- setdiff(seq_len(ncol(before)), kept)
    made <- qr.coef(qr(before[, kept, drop = FALSE]), before[, dropped, drop = FALSE])
    beyond <- matrix[, dropped, drop = FALSE] - matrix[, kept, drop = FALSE] %*% made
    sizes <- vapply(dropped, function(j) max(abs(before[, j])), 0)
    list(X = matrix[, kept, drop = FALSE], beyond = sweep(beyond, 2L, ifelse(sizes > 0, sizes, 1), "/"))
  }
  factors <- list2env(lapply(as.list(fresh), factor), parent = baseenv())
  factors$`:` <- function(a, b) interaction(a, b, sep = ":", drop = TRUE, lex.order = TRUE)
  offset <- model.offset(fresh)
  of_fixed <- matrix_of(fixed, TRUE)
  list(
    X = of_fixed$X,
    beyond = of_fixed$beyond,
    offset = if (is.null(offset)) numeric(rows) else as.numeric(offset),
    matrices = unname(lapply(bars, function(bar) matrix_of(bar[[2L]]))),
    levels = unname(lapply(bars, function(bar) as.character(eval(bar[[3L]], factors))))
  )
}
