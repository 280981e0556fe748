# What every R file here has beside its own functions.

# Evaluates `expression`; gives its value and what R says meanwhile, each saying once, in order; `marked` says which are
# messages and which warnings.
heard <- function(expression, marked = FALSE) {
  said <- character()
  hear <- function(kind, restart) {
    function(condition) {
      text <- trimws(conditionMessage(condition))
      said <<- c(said, if (marked) paste0(kind, ": ", text) else text)
      invokeRestart(restart)
    }
  }
  value <- withCallingHandlers(
    expression,
    message = hear("message", "muffleMessage"), warning = hear("warning", "muffleWarning")
  )
  list(value = value, said = unique(said))
}

# Evaluates `expression` in `room`; gives its value with R's messages and warnings, in their order, and the seconds.
observe <- function(expression, room) {
  started <- proc.time()[["elapsed"]]
  found <- heard(eval(expression, room), marked = TRUE)
  list(value = found$value, messages = found$said, seconds = proc.time()[["elapsed"]] - started)
}

# Evaluates `expression`; gives its value, or NULL where R stops, with R's reason, messages and warnings.
attempt <- function(expression) {
  reason <- NULL
  found <- heard(tryCatch(expression, error = function(e) {
    reason <<- conditionMessage(e)
    NULL
  }))
  list(value = found$value, reason = reason, said = found$said)
}

# Rows that na.exclude has put in stand for no row that was used.
used <- function(values) {
  values <- as.numeric(values)
  values[!is.na(values)]
}

# The mean over rows of z' Psi z (Johnson 2014).
share <- function(Z, covariance) mean(rowSums((Z %*% covariance) * Z))

# An expression as R writes it.
text_of <- function(e, backtick = TRUE) paste(deparse(e, width.cutoff = 500L, backtick = backtick), collapse = " ")

# One of lme4's functions that take formulas apart. lme4 2 has them from the package reformulas, and warns under its own
# name.
of_lme4 <- function(name) {
  getExportedValue(if ("reformulas" %in% names(getNamespaceImports("lme4"))) "reformulas" else "lme4", name)
}

# The right-hand side of a formula without its random terms, as lmer has it: 1 where nothing else is there, whatever the
# left-hand side is (nobars() of the whole formula gives the response alone where that is a call).
fixed_side <- function(formula) of_lme4("nobars")(formula[[3L]])

# Which columns of a fixed-effects matrix lmer keeps: R's QR decomposition moves a column that is a combination of those
# before it to the end.
kept_columns <- function(X) {
  if (!nrow(X) || !all(is.finite(X))) return(seq_len(ncol(X)))
  decomposed <- qr(X, tol = 1e-7, LAPACK = FALSE)
  decomposed$pivot[seq_len(decomposed$rank)]
}
