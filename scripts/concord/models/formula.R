# Takes an lme4 formula apart with R's own parser and lme4's own functions. Nothing of a formula is evaluated before
# every function and name in it has been checked: what is passed around is its text, for R evaluates a call that it is
# given as an argument.

# Levels of nesting, and terms of a sum, that R's and Python's recursion are trusted with.
deepest <- 250L

# All functions that `expression` calls and all variables that it names; anything but calls of plain names, variables,
# numbers, strings and truth values is reported under `other`.
inventory <- function(expression) {
  found <- list(functions = character(), variables = character(), other = character())
  walk <- function(e, depth) {
    if (depth > deepest) stop("it is nested too deeply: more than ", deepest, " levels, or terms of a sum")
    if (is.name(e)) {
      found$variables <<- c(found$variables, as.character(e))
    } else if ((is.numeric(e) || is.logical(e) || is.character(e)) && length(e) == 1L && !is.na(e)) {
      NULL
    } else if (is.call(e) && (is.name(e[[1L]]) || of_package(e[[1L]]))) {
      found$functions <<- c(found$functions, text_of(e[[1L]], FALSE))
      for (i in seq_along(e)[-1L]) {
        if (identical(e[[i]], quote(expr = ))) found$other <<- c(found$other, "an empty argument")
        else walk(e[[i]], depth + 1L)
      }
    } else {
      found$other <<- c(found$other, paste(deparse(e), collapse = " "))
    }
  }
  walk(expression, 1L)
  lapply(found, unique)
}

# Whether a function is named by its package, as splines::bs.
of_package <- function(e) {
  is.call(e) && identical(e[[1L]], as.name("::")) && is.name(e[[2L]]) && is.name(e[[3L]])
}

# Parses without evaluating. `problem` says why the text is not one two-sided formula, or is NULL.
parse_formula <- function(text) {
  refused <- function(problem) c(list(problem = problem), inventory(NULL))
  expressions <- tryCatch(parse(text = text, keep.source = FALSE), error = function(e) conditionMessage(e))
  if (is.character(expressions)) return(refused(where(sub("\n.*", "", expressions))))
  if (length(expressions) != 1L) return(refused("expected one formula"))
  e <- expressions[[1L]]
  if (!is.call(e) || !identical(e[[1L]], as.name("~")) || length(e) != 3L) {
    return(refused("expected response ~ terms"))
  }
  found <- tryCatch(inventory(e), error = function(e) conditionMessage(e))
  if (is.character(found)) return(refused(found))
  c(list(problem = NULL), found)
}

# R's message on what does not parse, with its place in the text behind it.
where <- function(message) {
  said <- sub("^<text>:[0-9:]+ *", "", message)
  place <- regmatches(message, regexec("^<text>:([0-9]+):([0-9]+):", message))[[1L]]
  if (length(place) != 3L || grepl("end of input", said)) return(said)
  line <- if (place[[2L]] == "1") "" else paste0(" of line ", place[[2L]])
  paste0(said, " at character ", place[[3L]], line)
}

# The formula as R has it, of a text that has passed the check. A grouping factor is made a factor by lmer itself, which
# does not find the `g` of `factor(g)`: it is written as `g`. us() and diag() are written as lme4 has always had them;
# cs() and ar1() stay where they are wanted, and are plain terms where only the columns are.
formula_of <- function(text, structured = FALSE) {
  plain <- function(e) {
    if (is.call(e) && is.name(e[[1L]]) && as.character(e[[1L]]) %in% c("factor", "as.factor") && length(e) == 2L) {
      return(plain(e[[2L]]))
    }
    if (is.call(e)) for (i in seq_along(e)[-1L]) e[[i]] <- plain(e[[i]])
    e
  }
  walk <- function(e) {
    if (!is.call(e)) return(e)
    name <- as.character(e[[1L]])
    if (structured && name %in% c("cs", "ar1")) {
      e[[2L]] <- walk(e[[2L]])
      return(e)
    }
    if (name %in% c("us", "diag", "cs", "ar1")) {
      bar <- e[[2L]]
      if (name == "diag") bar[[1L]] <- as.name("||")
      return(call("(", walk(bar)))
    }
    if (name %in% c("|", "||")) e[[3L]] <- plain(e[[3L]])
    else for (i in seq_along(e)[-1L]) e[[i]] <- walk(e[[i]])
    e
  }
  as.formula(walk(str2lang(text)), env = asNamespace("stats"))
}

# An expression as nested lists: name, value, or call with the names of its arguments.
tree <- function(e) {
  if (is.name(e)) return(list("name", as.character(e)))
  if (is.character(e)) return(list("text", e))
  if (is.logical(e)) return(list("truth", as.integer(e)))
  if (is.numeric(e)) return(list("number", as.numeric(e)))
  arguments <- as.list(e)[-1L]
  labels <- names(arguments)
  if (is.null(labels)) labels <- rep("", length(arguments))
  list("call", text_of(e[[1L]], FALSE), as.list(labels), unname(lapply(arguments, tree)))
}

tree_of <- function(text) tree(str2lang(text))

# The columns of a random term by R's own algebra: whether there is an intercept, and the factors of every other term.
columns_of <- function(e) {
  expanded <- terms(as.formula(call("~", e), env = baseenv()))
  variables <- as.list(attr(expanded, "variables"))[-1L]
  involved <- attr(expanded, "factors")
  each <- lapply(seq_along(attr(expanded, "term.labels")), function(j) {
    unname(lapply(variables[involved[, j] > 0L], tree))
  })
  list(intercept = attr(expanded, "intercept"), terms = each)
}

# The parts of a formula that has passed the check: response, fixed part, and one entry for every random term.
parts <- function(text) {
  formula <- of_lme4("expandDoubleVerts")(formula_of(text))
  bars <- of_lme4("findbars")(formula)
  fixed <- fixed_side(formula)
  expanded <- columns_of(fixed)
  list(
    response = text_of(formula[[2L]]),
    fixed = text_of(fixed),
    response_tree = tree(formula[[2L]]),
    fixed_tree = tree(fixed),
    intercept = expanded$intercept,
    terms = expanded$terms,
    random = lapply(bars, function(bar) {
      # As lme4 names the group: a lone name without backticks.
      texts <- list(columns = text_of(bar[[2L]]), group = text_of(bar[[3L]], !is.name(bar[[3L]])))
      c(texts, list(columns_tree = tree(bar[[2L]]), group_tree = tree(bar[[3L]])), columns_of(bar[[2L]]))
    })
  )
}
