# nlme's lme, with everything that it says caught where it says it. Uses observe() of lme4.R.

controls <- list(
  nlminb = list(maxIter = 500, msMaxIter = 2000, msMaxEval = 5000, tolerance = 1e-12, msTol = 1e-14, niterEM = 100),
  optim = list(maxIter = 500, msMaxIter = 2000, tolerance = 1e-12, msTol = 1e-14, niterEM = 100, opt = "optim")
)

# The random part: one term as it stands; several single columns as a diagonal matrix.
write_call <- function(fixed, columns, group, independent, name, method, optimizer = NULL) {
  one_sided <- str2lang(paste("~", columns))
  random <- if (independent) {
    as.call(c(as.name("list"), setNames(list(call("pdDiag", one_sided)), group)))
  } else {
    str2lang(paste("~", columns, "|", group))
  }
  written <- call("lme", fixed, data = as.name(name), random = random, method = method)
  if (!is.null(optimizer)) written$control <- as.call(c(as.name("lmeControl"), controls[[optimizer]]))
  written
}

call_text <- function(...) paste(deparse(write_call(...), width.cutoff = 500L), collapse = " ")

fit <- function(observe, fixed, columns, group, independent, name, data, method, optimizer = NULL) {
  room <- new.env(parent = asNamespace("nlme"))
  assign(name, data, envir = room)
  observe(write_call(fixed, columns, group, independent, name, method, optimizer), room)
}

describe <- function(fit) {
  structure <- fit$modelStruct$reStruct
  covariance <- nlme::pdMatrix(structure[[1L]]) * fit$sigma^2
  list(
    reml = fit$method == "REML",
    loglik = as.numeric(logLik(fit)),
    names = names(nlme::fixef(fit)),
    fixed = unname(nlme::fixef(fit)),
    std_error = unname(sqrt(diag(fit$varFix))),
    y = as.numeric(nlme::getResponse(fit)),
    expected = as.numeric(fit$fitted[, "fixed"]),
    codes = as.integer(fit$groups[[1L]]),
    plain = is.null(fit$modelStruct$varStruct) && is.null(fit$modelStruct$corStruct),
    columns = colnames(covariance),
    covariance = unname(covariance),
    levels = length(structure),
    sigma2 = fit$sigma^2,
    call = paste(deparse(fit$call, width.cutoff = 500L), collapse = " ")
  )
}

summary_text <- function(fit) paste(capture.output(print(summary(fit))), collapse = "\n")

random_effects <- function(fit) {
  table <- nlme::ranef(fit)
  list(level = rownames(table), term = colnames(table), estimate = as.matrix(table))
}
