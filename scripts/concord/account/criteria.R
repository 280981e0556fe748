# What R says of a fit by lme4 or nlme: its log-likelihood and the criteria that follow from it.
criteria <- function(fit) {
  found <- logLik(fit)
  mixed <- inherits(fit, "merMod")
  list(
    loglik = as.numeric(found), df = as.numeric(attr(found, "df")), aic = AIC(fit), bic = BIC(fit),
    deviance = if (!mixed) NA_real_ else if (lme4::isREML(fit)) lme4::REMLcrit(fit) else deviance(fit),
    df_residual = if (mixed) as.numeric(df.residual(fit)) else NA_real_, nobs = as.numeric(nobs(fit))
  )
}
