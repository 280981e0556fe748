# What R says of log-likelihoods: criteria of one fit, anova() of several, and the columns of a random term with one
# effect less.

# The columns of a random term without one of its effects, as formulas' right-hand sides, by the rules of R: what another
# effect is an interaction with stays. Where nothing is left, an intercept.
reduced <- function(columns) {
  formula <- as.formula(paste("~", columns), env = baseenv())
  labels <- attr(terms(formula), "term.labels")
  intercept <- attr(terms(formula), "intercept")
  vapply(drop.scope(formula), function(label) {
    kept <- setdiff(labels, label)
    if (length(kept)) paste(c(intercept, kept), collapse = " + ") else "1"
  }, "", USE.NAMES = FALSE)
}

criteria <- function(fit) {
  found <- logLik(fit)
  mixed <- inherits(fit, "merMod")
  list(
    loglik = as.numeric(found), df = as.numeric(attr(found, "df")), aic = AIC(fit), bic = BIC(fit),
    deviance = if (!mixed) NA_real_ else if (lme4::isREML(fit)) lme4::REMLcrit(fit) else deviance(fit),
    df_residual = if (mixed) as.numeric(df.residual(fit)) else NA_real_, nobs = as.numeric(nobs(fit))
  )
}

# anova() as it prints, its numbers, and the fits that they are of: by ML, where `refit` says so. Fits are given in the
# order of their numbers of parameters, so that R leaves them there.
anova_of <- function(fits, names, refit) {
  found <- heard(do.call(anova, c(unname(fits), list(refit = refit, model.names = names))))
  table <- found$value
  list(
    text = paste(capture.output(print(table)), collapse = "\n"), numbers = unname(as.matrix(table)),
    names = rownames(table), said = found$said,
    fits = suppressMessages(suppressWarnings(if (refit) lapply(fits, lme4::refitML) else fits))
  )
}
