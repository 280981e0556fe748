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
