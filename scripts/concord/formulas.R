# Takes an lme4 formula apart with R's own parser and lme4's own functions. Nothing of a formula is evaluated before
# every function and name in it has been checked.

# All functions that `expression` calls and all variables that it names; anything but calls of plain names, variables
# and numbers is reported under `other`.
inventory <- function(expression) {
  found <- list(functions = character(), variables = character(), other = character())
  walk <- function(e) {
    if (is.name(e)) {
      found$variables <<- c(found$variables, as.character(e))
    } else if (is.numeric(e) && length(e) == 1L) {
      NULL
    } else if (is.call(e) && is.name(e[[1L]])) {
      found$functions <<- c(found$functions, as.character(e[[1L]]))
      for (argument in as.list(e)[-1L]) walk(argument)
    } else {
      found$other <<- c(found$other, paste(deparse(e), collapse = " "))
    }
  }
  walk(expression)
  lapply(found, unique)
}

text_of <- function(e) paste(deparse(e, width.cutoff = 500L), collapse = " ")

# Parses without evaluating. `formula` is NULL where the text is not one two-sided formula.
parse_formula <- function(text) {
  expressions <- tryCatch(parse(text = text, keep.source = FALSE), error = function(e) conditionMessage(e))
  if (is.character(expressions)) {
    return(list(formula = NULL, problem = sub("\n.*", "", sub("<text>:[0-9:]+ *", "", expressions))))
  }
  if (length(expressions) != 1L) return(list(formula = NULL, problem = "expected one formula"))
  e <- expressions[[1L]]
  if (!is.call(e) || !identical(e[[1L]], as.name("~")) || length(e) != 3L) {
    return(list(formula = NULL, problem = "expected response ~ terms"))
  }
  c(list(formula = e, problem = NULL), inventory(e))
}

# The parts of a formula that has passed the check: response, fixed part, and one entry for every random term.
parts <- function(e) {
  formula <- lme4::expandDoubleVerts(as.formula(e, env = baseenv()))
  bars <- lme4::findbars(formula)
  fixed <- lme4::nobars(formula)
  list(
    response = text_of(formula[[2L]]),
    fixed = if (length(fixed) == 3L) text_of(fixed[[3L]]) else "1",
    columns = vapply(bars, function(bar) text_of(bar[[2L]]), ""),
    groups = vapply(bars, function(bar) text_of(bar[[3L]]), ""),
    grouping_variables = lapply(bars, function(bar) all.vars(bar[[3L]]))
  )
}

# The numbers of the model: response, fixed-effects matrix, and for every random term its matrix and the level of every
# row. Rows with a missing value in any variable are left out, as lmer does.
design <- function(e, data) {
  formula <- as.formula(e, env = baseenv())
  bars <- lme4::findbars(lme4::expandDoubleVerts(formula))
  everything <- lme4::subbars(formula)
  frame <- model.frame(everything, data, na.action = na.omit, drop.unused.levels = TRUE)
  room <- list2env(lapply(as.list(frame), identity), parent = asNamespace("stats"))
  factors <- list2env(lapply(as.list(frame), factor), parent = baseenv())
  factors$`:` <- function(a, b) interaction(a, b, sep = ":", drop = TRUE, lex.order = TRUE)
  terms <- lapply(bars, function(bar) {
    group <- eval(bar[[3L]], factors)
    if (!is.factor(group)) stop(text_of(bar[[3L]]), " is no grouping factor", call. = FALSE)
    matrix <- model.matrix(as.formula(call("~", bar[[2L]]), env = room), frame)
    list(columns = colnames(matrix), matrix = matrix, levels = levels(group), codes = as.integer(group) - 1L)
  })
  X <- model.matrix(lme4::nobars(formula), frame)
  y <- model.response(frame)
  if (!is.numeric(y) || is.matrix(y)) stop("the response ", text_of(formula[[2L]]), " is no number", call. = FALSE)
  list(
    y = as.numeric(y), X = X, X_columns = colnames(X), terms = terms,
    rows = setdiff(seq_len(nrow(data)), as.integer(attr(frame, "na.action"))) - 1L
  )
}

# Response and fixed part alone, as a formula.
fixed_formula <- function(e) lme4::nobars(as.formula(e, env = baseenv()))
