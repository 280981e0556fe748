# A call of lmer out of a text, by R's own parser and R's own matching of arguments. Nothing of it is evaluated.

# All calls in an expression, of a function by one of these names, with its package before it or without.
calls_of <- function(e, wanted) {
  if (!is.call(e)) return(if (is.expression(e)) unlist(lapply(e, calls_of, wanted), FALSE))
  name <- if (is.call(e[[1L]]) && length(e[[1L]]) == 3L) as.character(e[[1L]][[3L]]) else as.character(e[[1L]])[1L]
  inner <- unlist(lapply(as.list(e)[-1L], function(part) if (is.call(part)) calls_of(part, wanted)), FALSE)
  if (name %in% wanted) c(list(e), inner) else inner
}

# What a name was last given in the statements of a text; the expression itself where it is no name, or was given
# nothing.
resolved <- function(e, statements) {
  for (statement in rev(as.list(statements))) {
    assigns <- is.call(statement) && as.character(statement[[1L]])[1L] %in% c("<-", "=") && is.name(statement[[2L]])
    if (is.name(e) && assigns && identical(e, statement[[2L]])) return(statement[[3L]])
  }
  e
}

# `problem` says why there is no call that can be read, and is NULL where there is one.
# Of several calls that by its `number`; 0 where there is to be one.
lmer_call <- function(text, number) {
  nothing <- list(formula = "", reml = "", arguments = character(), texts = character())
  refused <- function(problem) c(list(problem = problem), nothing)
  expressions <- tryCatch(parse(text = text, keep.source = FALSE), error = function(e) conditionMessage(e))
  if (is.character(expressions)) {
    return(refused(paste("the code does not parse as R:", sub("\n.*", "", sub("<text>:[0-9:]+ *", "", expressions)))))
  }
  found <- calls_of(expressions, "lmer")
  if (number == 0L && length(found) != 1L) {
    return(refused(sprintf("%d calls of lmer stand in the code: give one at a time, or the file", length(found))))
  }
  number <- max(number, 1L)
  call <- tryCatch(match.call(lme4::lmer, found[[number]]), error = function(e) conditionMessage(e))
  if (is.character(call)) return(refused(paste("lmer does not take these arguments:", sub("\n.*", "", call))))
  # What stands before the statement with the call in it.
  place <- which(cumsum(vapply(expressions, function(e) length(calls_of(e, "lmer")), 0L)) >= number)[1L]
  before <- expressions[seq_len(place - 1L)]
  given <- lapply(as.list(call)[-1L], resolved, before)
  formula <- given[["formula"]]
  if (is.null(formula)) return(refused("the call has no formula"))
  if (is.call(formula) && as.character(formula[[1L]])[1L] %in% c("as.formula", "formula")) {
    formula <- resolved(formula[[2L]], before)
  }
  shown <- if (is.character(formula)) formula[[1L]] else paste(deparse(formula, width.cutoff = 500L), collapse = " ")
  rest <- given[setdiff(names(given), "formula")]
  texts <- vapply(rest, function(e) paste(deparse(e, width.cutoff = 500L), collapse = " "), "")
  reml <- if (is.null(rest[["REML"]])) "TRUE" else texts[["REML"]]
  list(problem = NULL, formula = shown, reml = reml, arguments = as.character(names(rest)), texts = unname(texts))
}

# The lines where the calls of lmer in a text begin, in the order of `calls_of`.
lmer_lines <- function(text) {
  parsed <- tryCatch(parse(text = text, keep.source = TRUE), error = function(e) NULL)
  if (is.null(parsed)) return(list(lines = 1L))  # which is told where the call is read
  tokens <- utils::getParseData(parsed)
  called <- tokens[tokens$token == "SYMBOL_FUNCTION_CALL" & tokens$text == "lmer", ]
  list(lines = called$line1[order(called$line1, called$col1)])
}
