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

# An expression as R writes it.
text_of <- function(e, backtick = TRUE) paste(deparse(e, width.cutoff = 500L, backtick = backtick), collapse = " ")
