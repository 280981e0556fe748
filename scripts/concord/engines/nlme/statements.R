# What nlme says of a fit of its own beyond the estimates.

# The table of nlme's summary, and its approximate covariance matrix of logarithms of standard deviations and
# log((1 + r) / (1 - r)) of correlations; innermost grouping factor first, the residuals last.
summary_table <- function(fit) {
  table <- summary(fit)$tTable
  parts <- fit$modelStruct$reStruct
  approximate <- fit$apVar
  list(
    terms = rownames(table),
    table = unname(table),
    why = if (is.character(approximate)) approximate,
    covariance = if (!is.character(approximate)) unname(unclass(approximate)[, , drop = FALSE]),
    at = if (!is.character(approximate)) as.numeric(attr(approximate, "Pars")),
    columns = unname(lapply(parts, function(each) attr(each, "Dimnames")[[1L]])),
    independent = vapply(parts, function(each) inherits(each, "pdDiag"), NA)
  )
}

# The same approximate covariance matrix by steps that keep the digits. nlme's own, 6e-6 of a parameter, are so small
# where a parameter is near zero that the log-likelihood's rounding is what is differenced. The fit is made again, from
# the table that it keeps.
by_wide_steps <- function(fit) {
  home <- asNamespace("nlme")
  again <- fit$call
  again$data <- fit$data
  control <- if (is.null(again$control)) nlme::lmeControl() else eval(again$control, home)
  control[c(".relStep", "minAbsParApVar", "apVar")] <- list(1e-4, 1, TRUE)
  again$control <- control
  fresh <- eval(again, home)
  if (is.character(fresh$apVar)) stop(fresh$apVar)
  list(covariance = unname(unclass(fresh$apVar)[, , drop = FALSE]), at = as.numeric(attr(fresh$apVar, "Pars")))
}

# nlme's intervals(): of the fixed effects, with the degrees of freedom that they took, and of standard deviations and
# correlations, level of grouping by level, outermost first. With a `step`, after the same call with that relative step for
# the differences that nlme's second derivatives are made of.
wald <- function(fit, level, step = NULL) {
  if (!is.null(step)) {
    call <- fit$call
    call$data <- fit$data
    if (is.null(call$control)) call$control <- quote(lmeControl())
    call$control$.relStep <- step
    fit <- eval(call, asNamespace("nlme"))
  }
  fixed <- nlme::intervals(fit, level, which = "fixed")$fixed
  varied <- attempt(nlme::intervals(fit, level, which = "var-cov"))
  components <- varied$value
  list(
    fixed = rownames(fixed), ends = unname(fixed[, c(1L, 3L), drop = FALSE]), df = as.numeric(fit$fixDF$X),
    reason = varied$reason,
    names = unname(lapply(components$reStruct, rownames)),
    components = unname(lapply(components$reStruct, function(each) unname(as.matrix(each[, c(1L, 3L)])))),
    sigma = as.numeric(components$sigma[c(1L, 3L)])
  )
}

rows <- function(fit) {
  list(
    fitted = used(fitted(fit)),
    fitted_fixed = used(fitted(fit, level = 0)),
    predicted = used(predict(fit)),
    residual = used(residuals(fit)),
    pearson = used(residuals(fit, type = "pearson")),
    scaled = used(residuals(fit, type = "normalized"))
  )
}

# One table a level of grouping, outermost first, as engines/nlme.R has the random effects themselves.
standardized <- function(fit) {
  tables <- nlme::ranef(fit, standard = TRUE)
  if (is.data.frame(tables)) tables <- list(tables)
  unname(lapply(tables, function(table) {
    list(level = rownames(table), term = colnames(table), estimate = as.matrix(table))
  }))
}

new_rows <- function(fit, new) {
  # A grouping factor of several columns was made in the call, of the table that the call names.
  made <- fit$call$data
  if (is.call(made) && identical(made[[1L]], as.name("transform"))) {
    made[[2L]] <- new
    new <- eval(made, asNamespace("stats"))
  }
  list(
    new_fixed = as.numeric(predict(fit, new, level = 0)),
    new = as.numeric(predict(fit, new, level = fit$dims$Q))
  )
}

variances <- function(fit) {
  rows <- fit$data[rownames(fit$fitted), , drop = FALSE]
  shares <- lapply(fit$modelStruct$reStruct, function(each) {
    share(model.matrix(formula(each), rows), nlme::pdMatrix(each) * fit$sigma^2)
  })
  list(fixed = var(as.numeric(fitted(fit, level = 0))), random = sum(unlist(shares)), residual = fit$sigma^2)
}

# The log-likelihood, and the criteria that follow from it.
criteria <- function(fit) {
  found <- logLik(fit)
  list(
    loglik = as.numeric(found), df = as.numeric(attr(found, "df")), aic = AIC(fit), bic = BIC(fit),
    nobs = as.numeric(nobs(fit))
  )
}
