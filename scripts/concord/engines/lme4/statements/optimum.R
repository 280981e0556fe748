# What lme4 says of a fit at its optimum.

# The log-likelihood, and the criteria that follow from it.
criteria <- function(fit) {
  found <- logLik(fit)
  list(
    loglik = as.numeric(found), df = as.numeric(attr(found, "df")), aic = AIC(fit), bic = BIC(fit),
    deviance = if (lme4::isREML(fit)) lme4::REMLcrit(fit) else deviance(fit), df_residual = as.numeric(df.residual(fit)),
    nobs = as.numeric(nobs(fit))
  )
}

# What lme4 checks of a fit of its own: the factor's diagonal against its bound, and derivatives by differences.
# checkConv() looks at derivatives only where the fit is not singular; it takes the smaller of the gradient and the
# gradient scaled by the Hessian's Cholesky factor, entry by entry, and the largest of these.
checks <- function(fit) {
  theta <- lme4::getME(fit, "theta")
  derivatives <- fit@optinfo$derivs
  gradient <- as.numeric(derivatives$gradient)
  scaled <- tryCatch(as.numeric(with(derivatives, solve(chol(Hessian), gradient))), error = function(e) NA_real_ * gradient)
  list(
    theta = as.numeric(theta), bounded = as.numeric(theta[lme4::getME(fit, "lower") == 0]),
    singular = lme4::isSingular(fit), gradient = gradient, scaled = scaled
  )
}
