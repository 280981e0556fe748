# lme4 2's profile of a covariance, searched by the fit's own optimizer, lies above the curve: its interval is too short.
suppressMessages(library(lme4))
fit <- lmer(Reaction ~ Days + (Days | Subject), sleepstudy, REML = FALSE)
ends <- function(...) {
  curve <- profile(fit, which = "cov_Days.(Intercept)|Subject", prof.scale = "varcov", signames = FALSE, ...)
  as.numeric(confint(curve))
}
own <- suppressWarnings(ends()) # it warns of NAs
cat(sprintf("95 %% of the covariance, by the fit's optimizer: %.1f to %.1f\n", own[1], own[2]))

# The mend: another optimizer for the profile, by its argument.
other <- suppressWarnings(ends(optimizer = "bobyqa"))
cat(sprintf("mended, by optimizer = \"bobyqa\":               %.1f to %.1f\n", other[1], other[2]))

# Who is right? The smallest deviance with the covariance held, from the normal density: at the end of an interval of 95 %
# it has risen by 3.841. All 18 subjects have the same ten days, so least squares gives the fixed effects.
Z <- cbind(1, 0:9)
residuals <- matrix(resid(lm(Reaction ~ Days, sleepstudy)), 10)
held <- function(covariance) {
  at <- function(log_sd) { # of intercept, slope and residuals
    variances <- exp(2 * log_sd)
    if (covariance^2 >= variances[1] * variances[2]) return(1e10)
    V <- Z %*% matrix(c(variances[1], covariance, covariance, variances[2]), 2) %*% t(Z) + variances[3] * diag(10)
    18 * log(det(V)) + sum(residuals * solve(V, residuals)) + 180 * log(2 * pi)
  }
  start <- log(c(25, 6, 25))
  for (again in 1:3) start <- optim(start, at, control = list(maxit = 2000, reltol = 1e-12))[["par"]]
  at(start)
}
fall <- function(end) held(end) + 2 * as.numeric(logLik(fit))
cat(sprintf("the deviance has risen there by %.3f and by %.3f; 95 %% is %.3f\n", fall(own[1]), fall(other[1]), qchisq(0.95, 1)))
cat(sprintf(
  '{"lower": %.8g, "upper": %.8g, "rise": %.8g, "lower_mended": %.8g, "upper_mended": %.8g, "rise_mended": %.8g}\n',
  own[1], own[2], fall(own[1]), other[1], other[2], fall(other[1])
))
