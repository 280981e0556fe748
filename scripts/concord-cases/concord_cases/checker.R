# Held to a certified case: how far the estimates of a linear mixed model lie below the optimum, in base R.
#
# One file, no package: source it, or run
#
#   Rscript checker.R CASE.json ESTIMATES.json [--strict]
#
# where ESTIMATES.json holds the arguments of `check` by name. The likelihood here is written from the definition. With
#
#   y = X b + Z u + e,    u ~ N(0, G),    e ~ N(0, s W^-1),    V = Z G Z' + s W^-1,    r = y - X b,
#
# it is, by ML and by REML (Harville 1974, Biometrika 61, 383-385, without the term log |X'X| / 2 that some add),
#
#   -(n log 2 pi + log |V| + r'V^-1 r) / 2,
#   -((n - p) log 2 pi + log |V| + log |X'V^-1 X| + r'V^-1 r) / 2.
#
# It is evaluated group by group by orthogonal transformations: no cross-product is formed, so that nothing cancels.

# From so many log-likelihood units, or standard errors of a fixed effect, on a fit is short and not only imprecise.
short_gap <- 0.01
short_errors <- 0.1

# ---- reading ----------------------------------------------------------------------------------------------------------

read_case <- function(path) parse_json(paste(readLines(path, encoding = "UTF-8", warn = FALSE), collapse = "\n"))

parse_json <- function(text) {
  pattern <- "\"(?:[^\"\\\\]|\\\\.)*\"|[][{}:,]|[^][{}:,\\s\"]+"
  tokens <- regmatches(text, gregexpr(pattern, text, perl = TRUE))[[1]]
  structural <- tokens %in% c("[", "{")
  at <- 1L
  scalar <- function(token) {
    if (startsWith(token, "\"")) return(unescaped(substr(token, 2L, nchar(token) - 1L)))
    switch(token, null = NA, true = TRUE, false = FALSE, as.numeric(token))
  }
  list_of <- function() {
    closing <- at - 1L + match("]", tokens[at:length(tokens)])
    if (!any(structural[at:closing])) {  # a list of scalars: all at once
      inside <- tokens[seq_len(closing - at) + at - 1L]
      at <<- closing + 1L
      inside <- inside[inside != ","]
      if (any(startsWith(inside, "\""))) return(vapply(inside, function(x) as.character(scalar(x)), "", USE.NAMES = FALSE))
      if (all(inside %in% c("true", "false", "null"))) return(c(true = TRUE, false = FALSE, null = NA)[inside])
      return(suppressWarnings(as.numeric(inside)))
    }
    values <- list()
    repeat {
      values[[length(values) + 1L]] <- value()
      at <<- at + 1L
      if (tokens[at - 1L] == "]") return(values)
    }
  }
  object <- function() {
    values <- list()
    if (tokens[at] == "}") {
      at <<- at + 1L
      return(values)
    }
    repeat {
      key <- scalar(tokens[at])
      at <<- at + 2L
      values[key] <- list(value())
      at <<- at + 1L
      if (tokens[at - 1L] == "}") return(values)
    }
  }
  value <- function() {
    token <- tokens[at]
    at <<- at + 1L
    switch(token, "[" = list_of(), "{" = object(), scalar(token))
  }
  value()
}

unescaped <- function(text) {
  if (!grepl("\\", text, fixed = TRUE)) return(text)
  for (code in unique(regmatches(text, gregexpr("\\\\u[0-9a-fA-F]{4}", text))[[1]]))
    text <- gsub(code, intToUtf8(strtoi(substr(code, 3L, 6L), 16L)), text, fixed = TRUE)
  for (pair in list(c("\\\"", "\""), c("\\n", "\n"), c("\\t", "\t"), c("\\/", "/"), c("\\\\", "\\")))
    text <- gsub(pair[1], pair[2], text, fixed = TRUE)
  text
}

# ---- the likelihood ---------------------------------------------------------------------------------------------------

# Log-likelihoods by REML and ML at values of all parameters, and what they are made of: `fixed` in the order of the case's
# X or with names; `covariances`, a list of matrices in the order of its Z; `residual_variance`.
log_likelihood <- function(case, fixed, covariances, residual_variance) {
  given <- parameters_of(case, fixed, covariances, residual_variance)
  y <- as.numeric(case[["y"]])
  n <- length(y)
  X <- columns_of(case[["X"]][["columns"]], n)
  p <- ncol(X)
  weights <- if (length(case[["weights"]]) == n) as.numeric(case[["weights"]]) else rep(1, n)
  s <- given[["residual_variance"]]
  table <- sqrt(weights) * cbind(X, y - drop(X %*% given[["fixed"]]))
  terms <- lapply(seq_along(case[["Z"]]), function(t) {
    term <- case[["Z"]][[t]]
    columns <- sqrt(weights) * columns_of(term[["columns"]], n)
    list(codes = as.integer(term[["codes"]]), columns = columns %*% factor_of(given[["covariances"]][[t]] / s))
  })
  logdet <- 0
  rows <- list()
  for (block in split(seq_len(n), components(terms, n))) {
    ZF <- do.call(cbind, lapply(terms, function(term) spread(term, block)))
    m <- ncol(ZF)
    decomposed <- qr(rbind(ZF, diag(m)), tol = 0)
    logdet <- logdet + 2 * sum(log(abs(diag(qr.R(decomposed)))))
    left <- qr.qty(decomposed, rbind(table[block, , drop = FALSE], matrix(0, m, p + 1L)))
    rows[[length(rows) + 1L]] <- left[-seq_len(m), , drop = FALSE]
  }
  left <- do.call(rbind, rows)
  quadratic <- sum(left[, p + 1L]^2) / s
  parts <- list(
    V = n * log(s) - sum(log(weights)) + logdet,
    information = log_gram(left[, seq_len(p), drop = FALSE]) - p * log(s),
    gram = log_gram(table[, seq_len(p), drop = FALSE])
  )
  ML <- -(n * log(2 * pi) + parts[["V"]] + quadratic) / 2
  list(ML = ML, REML = ML + p * log(2 * pi) / 2 - parts[["information"]] / 2, parts = parts, n = n, p = p)
}

columns_of <- function(columns, n) {
  if (!length(columns)) return(matrix(0, n, 0))
  matrix(as.numeric(unlist(columns)), n)
}

# The determinant of A'A.
log_gram <- function(A) if (ncol(A)) 2 * sum(log(abs(diag(qr.R(qr(A, tol = 0)))))) else 0

# A factor F of a covariance matrix, F F', by the spectrum of its correlations.
factor_of <- function(matrix) {
  deviations <- sqrt(pmax(diag(matrix), 0))
  unit <- ifelse(deviations > 0, deviations, 1)
  if (any(diag(matrix) < 0) || any(matrix[deviations == 0, ] != 0))
    stop("covariances: a variance below zero, or zero with a covariance", call. = FALSE)
  spectrum <- eigen((matrix + t(matrix)) / 2 / outer(unit, unit), symmetric = TRUE)
  if (any(spectrum[["values"]] < -1e-7)) stop("covariances: a matrix has a negative eigenvalue", call. = FALSE)
  unit * spectrum[["vectors"]] %*% diag(sqrt(pmax(spectrum[["values"]], 0)), nrow(matrix))
}

# The columns of a term for the rows of a block, a block of columns a group.
spread <- function(term, block) {
  codes <- match(term[["codes"]][block], unique(term[["codes"]][block]))
  q <- ncol(term[["columns"]])
  wide <- matrix(0, length(block), q * max(codes))
  for (k in seq_len(q)) wide[cbind(seq_along(block), (codes - 1L) * q + k)] <- term[["columns"]][block, k]
  wide
}

# For every row the number of its independent block: rows that share a group of any term are in one.
components <- function(terms, n) {
  labels <- seq_len(n)
  repeat {
    before <- labels
    for (term in terms) labels <- ave(labels, term[["codes"]], FUN = min)
    if (all(labels == before)) return(labels)
  }
}

parameters_of <- function(case, fixed, covariances, residual_variance) {
  names <- as.character(case[["X"]][["names"]])
  fixed <- unlist(fixed)
  if (!is.null(names(fixed))) {
    if (!setequal(names(fixed), names)) stop("fixed: the case has ", paste(names, collapse = ", "), call. = FALSE)
    fixed <- fixed[names]
  }
  fixed <- as.numeric(fixed)
  s <- as.numeric(residual_variance)
  if (length(fixed) != length(names) || !all(is.finite(fixed))) stop("fixed: the case has ", length(names), call. = FALSE)
  if (!is.finite(s) || s <= 0) stop("residual_variance: it is not above 0", call. = FALSE)
  if (length(covariances) != length(case[["Z"]])) stop("covariances: a matrix for every term of Z", call. = FALSE)
  matrices <- lapply(seq_along(covariances), function(t) {
    q <- length(case[["Z"]][[t]][["names"]])
    values <- as.numeric(unlist(covariances[[t]]))
    if (length(values) != q^2 || !all(is.finite(values))) stop("covariances: matrix ", t, " is ", q, " x ", q, call. = FALSE)
    matrix(values, q)
  })
  list(fixed = fixed, covariances = matrices, residual_variance = s)
}

# ---- the check --------------------------------------------------------------------------------------------------------

# Hold estimates to a case's certified optimum: a list with `verdict` ("at the optimum", "imprecise", "short", "above",
# "no parameters"), `reason`, `gap`, `digits`, `loglik` at the estimates, `stated` and `status`, 0 where all is well.
check <- function(case, fixed, covariances, residual_variance, method = c("REML", "ML"), stated_loglik = NULL,
                  std_errors = NULL, strict = FALSE) {
  method <- match.arg(method)
  head <- list(case = case[["id"]], method = method, status = 1L)
  values <- tryCatch(log_likelihood(case, fixed, covariances, residual_variance), error = identity)
  if (inherits(values, "error"))
    return(c(head, list(verdict = "no parameters", reason = conditionMessage(values), gap = Inf, digits = numeric())))
  optimum <- case[["optimum"]][[method]]
  gap <- as.numeric(optimum[["loglik"]]) - values[[method]]
  compared <- digits_of(case, optimum, parameters_of(case, fixed, covariances, residual_variance), std_errors)
  stated <- if (!is.null(stated_loglik)) {
    value <- as.numeric(stated_loglik)
    list(value = value, error = value - values[[method]], recognised = recognised(value, values, method))
  }
  if (!is.null(stated)) compared[["digits"]][["loglik"]] <- lre(stated[["value"]], as.numeric(optimum[["loglik"]]))
  allowed <- 1e-6 + 1e-10 * values[["n"]]
  verdict <- if (gap >= short_gap || compared[["farthest"]] >= short_errors) "short" else
    if (gap > allowed) "imprecise" else if (gap < -allowed) "above" else "at the optimum"
  reason <- if (verdict == "short" && gap < short_gap)
    sprintf("a fixed effect is off by %.2g of its standard error", compared[["farthest"]]) else
    switch(verdict, "at the optimum" = "no more below it than rounding and stopping rules leave",
           above = sprintf("%.3g log-likelihood units above the certified optimum: please tell us", -gap),
           sprintf("%.3g log-likelihood units below the certified optimum", gap))
  well <- (verdict == "at the optimum" || (verdict == "imprecise" && !strict)) &&
    (is.null(stated) || stated[["recognised"]] == "right")
  head[["status"]] <- if (well) 0L else 1L
  c(head, list(verdict = verdict, reason = reason, gap = gap, digits = compared[["digits"]], loglik = values[[method]],
               stated = stated))
}

# Which number a stated log-likelihood is: "right", the other method's criterion, -2 times it, one without a constant.
recognised <- function(value, values, method) {
  if (!is.finite(value)) return("not a number")
  n <- values[["n"]]
  kinds <- c("the log-likelihood" = 1, "-2 log-likelihood (the deviance)" = -2, "minus the log-likelihood" = -1,
             "-log-likelihood a row" = -1 / n, "the log-likelihood a row" = 1 / n)
  amounts <- constants(values, method)
  amounts <- amounts[abs(amounts) > 2e-6]
  pairs <- if (length(amounts) > 1) utils::combn(seq_along(amounts), 2, simplify = FALSE)
  for (chosen in c(list(integer()), as.list(seq_along(amounts)), pairs))
    for (criterion in c(method, setdiff(c("REML", "ML"), method)))
      for (kind in names(kinds)) {
        moved <- kinds[[kind]] * (values[[criterion]] + sum(amounts[chosen]))
        if (abs(value - moved) > 1e-6 + 1e-9 * abs(moved)) next
        if (!length(chosen) && criterion == method && kind == "the log-likelihood") return("right")
        by <- if (criterion != method) paste(" by", criterion) else ""
        with <- if (length(chosen)) paste0(", ", paste(names(amounts)[chosen], collapse = " and ")) else ""
        return(paste0(kind, by, with))
      }
  "not recognised"
}

# The constants that packages add or leave out, each with what it does to the log-likelihood.
constants <- function(values, method) {
  n <- values[["n"]]
  p <- values[["p"]]
  parts <- values[["parts"]]
  half <- log(2 * pi) / 2
  reml <- method == "REML"
  rows <- if (reml) n - p else n
  named <- c(setNames(rows * half, sprintf("without %s/2 log 2 pi", if (reml) "(n - p)" else "n")),
    if (p) c("with n in the place of n - p in the constant of 2 pi" = -p * half,
      if (reml) c("without n/2 log 2 pi" = n * half) else c("with n - p in the place of n" = p * half),
      "with + log |X'X| / 2" = parts[["gram"]] / 2,
      "with - log |X'X| / 2" = -parts[["gram"]] / 2,
      "without - log |X'V^-1 X| / 2" = parts[["information"]] / 2))
  c(named, setNames(c(rows, -rows) / 2, sprintf(c("without the constant %d/2 of the profiled criterion",
                                                  "with %d/2 subtracted once more"), rows)))
}

digits_of <- function(case, optimum, given, std_errors) {
  names <- as.character(case[["X"]][["names"]])
  certified <- vapply(optimum[["fixed"]], function(row) as.numeric(row[["estimate"]]), 0)
  errors <- vapply(optimum[["fixed"]], function(row) as.numeric(row[["std_error"]]), 0)
  digits <- setNames(mapply(lre, given[["fixed"]], certified, errors), names)
  farthest <- max(0, abs(given[["fixed"]] - certified) / errors)
  if (!is.null(std_errors)) {
    std_errors <- unlist(std_errors)
    if (!is.null(names(std_errors))) std_errors <- std_errors[names]
    digits <- c(digits, setNames(mapply(lre, as.numeric(std_errors), errors), paste("std_error", names)))
  }
  variance <- as.numeric(optimum[["residual_variance"]])
  for (t in seq_along(case[["Z"]])) {
    term <- case[["Z"]][[t]]
    correct <- matrix(as.numeric(unlist(optimum[["covariances"]][[t]])), length(term[["names"]]))
    squares <- colMeans(columns_of(term[["columns"]], length(case[["y"]]))^2)
    scale <- sqrt(pmax(diag(correct), variance / squares))
    for (i in seq_len(nrow(correct))) for (j in seq_len(i)) {
      what <- if (i == j) paste("var", term[["names"]][i]) else paste0("cov ", term[["names"]][j], ", ", term[["names"]][i])
      key <- paste(what, "|", term[["group"]])
      if (key %in% names(digits)) key <- sprintf("%s (%d)", key, t)
      digits[[key]] <- lre(given[["covariances"]][[t]][i, j], correct[i, j], scale[i] * scale[j])
    }
  }
  digits[["residual variance"]] <- lre(given[["residual_variance"]], variance)
  list(digits = digits, farthest = farthest)
}

# -log10 of the relative error (McCullough 1998), from 0 to 15; of a correct value of zero that of the error in a scale.
lre <- function(value, correct, scale = 1) {
  error <- abs(value - correct) / (if (correct != 0) abs(correct) else if (scale != 0) scale else 1)
  if (!is.finite(error)) 0 else if (error == 0) 15 else min(max(-log10(error), 0), 15)
}

told <- function(record) {
  cat(sprintf("%s, %s: %s: %s\n", record[["case"]], record[["method"]], record[["verdict"]], record[["reason"]]))
  digits <- record[["digits"]]
  if (length(digits))
    cat(sprintf("  fewest digits right: %.1f, of %s\n", min(digits), names(digits)[which.min(digits)]))
  stated <- record[["stated"]]
  if (!is.null(stated)) cat(sprintf("  stated log-likelihood %.12g: %s (off by %.3g)\n", stated[["value"]],
                                    stated[["recognised"]], stated[["error"]]))
}

if (sys.nframe() == 0L && !interactive()) {
  arguments <- commandArgs(trailingOnly = TRUE)
  files <- setdiff(arguments, "--strict")
  if (length(files) != 2L) {
    message("usage: Rscript checker.R CASE.json ESTIMATES.json [--strict]")
    quit(status = 2L)
  }
  record <- tryCatch(
    do.call(check, c(list(read_case(files[1])), read_case(files[2]), list(strict = "--strict" %in% arguments))),
    error = function(problem) {
      message("checker.R: ", conditionMessage(problem))
      quit(status = 2L)
    }
  )
  told(record)
  quit(status = record[["status"]])
}
