# glmmTMB's fits, with everything that it says caught where it says it.

fit <- function(formula, name, data, reml) {
  room <- new.env(parent = asNamespace("glmmTMB"))
  assign(name, data, envir = room)
  observe(call("glmmTMB", as.formula(str2lang(formula), env = room), data = as.name(name), REML = reml), room)
}

describe <- function(fit) {
  covariances <- glmmTMB::VarCorr(fit)[["cond"]]
  spread <- vcov(fit)[["cond"]]
  list(
    reml = isTRUE(fit[["modelInfo"]][["REML"]]),
    loglik = as.numeric(logLik(fit)),
    names = names(glmmTMB::fixef(fit)[["cond"]]),
    fixed = unname(glmmTMB::fixef(fit)[["cond"]]),
    std_error = unname(sqrt(diag(as.matrix(spread)))),
    y = as.numeric(fit[["frame"]][[1L]]),
    groups = sub("\\.[0-9]+$", "", names(covariances)),
    terms = unname(lapply(covariances, function(one) {
      list(columns = colnames(one), covariance = matrix(as.numeric(one), nrow(one)))
    })),
    sigma = sigma(fit),
    converged = fit[["fit"]][["convergence"]] == 0L
  )
}

summary_text <- function(fit) paste(capture.output(print(summary(fit))), collapse = "\n")
