# What lme4, lmerTest and pbkrtest say of a fit, without fitting it again.

# The deviance function of an lmer fit from the fit's own parts: lmerTest looks for it by running the fit's call again,
# whose data need not be found any more. The parts are copied, for a deviance function writes into what it is given.
deviance_of <- function(fit) {
  parts <- lme4::getME(fit, c("Zt", "theta", "Lambdat", "Lind", "lower", "flist", "cnms", "Gp"))
  parts <- unserialize(serialize(parts, NULL))
  lme4::mkLmerDevfun(
    fr = fit@frame, X = lme4::getME(fit, "X"), reTrms = parts, REML = lme4::isREML(fit), start = parts$theta
  )
}

# One row a contrast of `contrasts`: estimate, standard error, degrees of freedom, t, p.
by_contrast <- function(contrasts, one) {
  rows <- lapply(seq_len(nrow(contrasts)), function(i) as.numeric(one(contrasts[i, ])))
  matrix(unlist(rows), ncol = 5L, byrow = TRUE)
}

# lmerTest's Satterthwaite tests, and its covariance matrix of (theta, sigma).
satterthwaite <- function(fit, contrasts) {
  got <- heard(lmerTest:::as_lmerModLT(fit, deviance_of(fit)))
  table <- by_contrast(contrasts, function(l) lmerTest::contest1D(got$value, l, ddf = "Satterthwaite"))
  flist <- lme4::getME(fit, "flist")
  list(
    groups = names(flist)[attr(flist, "assign")], columns = unname(lme4::getME(fit, "cnms")),
    table = table, covariance = got$value@vcov_varpar, theta = unname(lme4::getME(fit, "theta")), sigma = sigma(fit),
    said = got$said
  )
}

# pbkrtest's Kenward-Roger tests. Its adjusted covariance matrix is made once; lmerTest makes it for every contrast.
kenward_roger <- function(fit, contrasts) {
  got <- heard(pbkrtest::vcovAdj(fit))
  adjusted <- got$value
  conditional <- vcov(fit)
  table <- by_contrast(contrasts, function(l) {
    estimate <- sum(l * lme4::fixef(fit))
    error <- sqrt(sum(l * as.numeric(adjusted %*% l)))
    df <- pbkrtest::Lb_ddf(l, conditional, adjusted)
    c(estimate, error, df, estimate / error, 2 * pt(-abs(estimate / error), df))
  })
  list(table = table, said = got$said)
}

# The t of lme4's own summary.
own_t <- function(fit) if (length(lme4::fixef(fit))) unname(coef(summary(fit))[, "t value"]) else numeric()
