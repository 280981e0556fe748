# What lme4 says of a fit of its own beyond the estimates, and lmerTest and pbkrtest of the same fit.

# ---- standard errors, tests and degrees of freedom ----

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
own_t <- function(fit) unname(coef(summary(fit))[, "t value"])

# ---- intervals and profiles ----

# Every parameter of an lmer fit by the names and in the order that profile() has them, with its estimate.
parameters <- function(fit) {
  deviations <- as.data.frame(lme4::VarCorr(fit), order = "lower.tri")$sdcor
  fixed <- lme4::fixef(fit)
  list(
    names = c(sprintf(".sig%02d", seq_len(length(deviations) - 1L)), ".sigma", names(fixed)),
    estimates = c(deviations, unname(fixed))
  )
}

# The fit by ML that profile() works on: the fit itself, or lme4's own refit of one by REML.
by_ml <- function(fit) lme4::refitML(fit)

# Optimizers for profile(), tried in turn until R has nothing to say of what they found. It would take the fit's own, whose
# steps and stopping rules were made for another problem: parameters here are standard deviations in the response's unit.
settings <- list(
  nloptwrap = list(algorithm = "NLOPT_LN_BOBYQA", xtol_rel = 1e-10),
  Nelder_Mead = list(),
  bobyqa = list()
)

# What spoils a profile that R gives all the same.
SPOILT <- "NAs detected|non-monotonic|bad spline|bad profile|unexpected decrease|identical or NA"

# Whether the correlations in every row of a profile are those of some covariance matrix. profile() bounds each of them
# alone, and makes a factor of what comes by a pivoted Cholesky decomposition, which is none of an indefinite matrix.
possible <- function(points, fit) {
  sizes <- lengths(fit@cnms)
  values <- as.matrix(points[sprintf(".sig%02d", seq_len(sum(sizes * (sizes + 1L) / 2L)))])
  fits <- rep(TRUE, nrow(values))
  start <- 0L
  for (q in sizes) {
    places <- start + seq_len(q * (q + 1L) / 2L)
    start <- max(places)
    if (q < 2L) next
    fits <- fits & apply(values[, places, drop = FALSE], 1L, function(row) {
      correlations <- matrix(0, q, q)
      correlations[lower.tri(correlations, diag = TRUE)] <- row
      diag(correlations) <- 1
      # By the lower triangle alone
      !anyNA(row) && min(eigen(correlations, symmetric = TRUE, only.values = TRUE)$values) > -1e-6
    })
  }
  as.numeric(fits)
}

# A profile of one parameter of a fit by ML, in so many steps out to the farthest point on either side: its points, the
# ends of the interval of a level, whether the profile crosses the quantile there, and zeta at the values `at` by lme4's
# spline. profile() takes optimizer and settings from the fit, so they are put there: its own argument `control` takes a
# list of one.
profile_one <- function(fit, which, level, steps = 8, at = numeric(), named = NULL) {
  first <- NULL
  for (optimizer in if (is.null(named)) names(settings) else named) {
    fit@optinfo$optimizer <- optimizer
    fit@optinfo$control <- settings[[optimizer]]
    tried <- attempt(profile(fit, which = which, delta.cutoff = 1 / steps))
    tried$optimizer <- optimizer
    if (is.null(first) || (is.null(first$value) && !is.null(tried$value))) first <- tried
    if (!is.null(tried$value) && !any(grepl(SPOILT, tried$said))) {
      first <- tried
      break
    }
  }
  if (is.null(first$value)) return(first[c("reason", "said", "optimizer")])
  ends <- attempt(confint(first$value, level = level))
  points <- as.data.frame(first$value)
  name <- names(attr(first$value, "backward"))
  spline <- attr(first$value, "backward")[[name]]
  forward <- attr(first$value, "forward")[[name]]
  # Where the profile does not cross the quantile, confint() gives the parameter's limit in its place.
  root <- qnorm((1 + level) / 2)
  broken <- inherits(spline, "error")
  list(
    value = points$.focal, zeta = points$.zeta, possible = possible(points, fit), ends = as.numeric(ends$value),
    crossed = if (broken) c(0, 0) else as.numeric(!is.na(predict(spline, c(-root, root))$y)),
    at = if (length(at) && !is.null(forward)) as.numeric(predict(forward, at)$y) else numeric(),
    reason = ends$reason, said = unique(c(first$said, ends$said)), optimizer = first$optimizer
  )
}

# Profiles of several parameters, each on its own: one that stops R stops no other.
profile_each <- function(fit, names, level, steps, at = numeric(), named = NULL) {
  fit <- by_ml(fit)
  found <- lapply(names, function(name) profile_one(fit, name, level, steps, at, named))
  list(loglik = as.numeric(logLik(fit)), estimates = parameters(fit)$estimates, profiles = setNames(found, names))
}

# The ends that confint() would give by way of a spline through other points of zeta.
ends_by_spline <- function(value, zeta, level) {
  points <- data.frame(value = value, .zeta = zeta)
  back <- splines::backSpline(splines::interpSpline(.zeta ~ value, points))
  root <- qnorm((1 + level) / 2)
  as.numeric(predict(back, c(-root, root))$y)
}

# confint(method = "Wald") of the fixed effects.
wald <- function(fit, level) {
  ends <- confint(fit, parm = "beta_", level = level, method = "Wald")
  list(names = rownames(ends), ends = unname(ends))
}

# ---- random effects, fitted values, predictions ----

rows <- function(fit) {
  list(
    fitted = used(fitted(fit)),
    fitted_fixed = used(predict(fit, re.form = NA)),
    predicted = used(predict(fit)),
    residual = used(residuals(fit)),
    pearson = used(residuals(fit, type = "pearson")),
    scaled = used(residuals(fit, scaled = TRUE))
  )
}

# Every term in lmer's order: its factor and columns, and for its levels the conditional covariance matrices that ranef()
# has, an array of columns x columns x levels. Of a factor with several terms ranef() has a list of arrays, one a term.
conditional <- function(fit, columns_of) {
  flist <- lme4::getME(fit, "flist")
  of <- attr(flist, "assign")
  effects <- lme4::ranef(fit, condVar = TRUE)
  spreads <- lapply(seq_along(of), function(i) {
    spread <- attr(effects[[names(flist)[of[i]]]], "postVar")
    if (is.list(spread)) spread[[sum(of[seq_len(i)] == of[i])]] else spread
  })
  list(
    groups = names(flist)[of],
    matrices = unname(columns_of(fit, flist[of])),
    codes = unname(lapply(flist[of], as.integer)),
    spreads = spreads
  )
}

new_rows <- function(fit, new) {
  list(
    new_fixed = as.numeric(predict(fit, new, re.form = NA)),
    new = as.numeric(predict(fit, new, re.form = NULL, allow.new.levels = TRUE))
  )
}

variances <- function(fit, columns_of) {
  flist <- lme4::getME(fit, "flist")
  matrices <- columns_of(fit, flist[attr(flist, "assign")])
  shares <- Map(function(Z, covariance) share(Z, matrix(covariance, nrow(covariance))), matrices, lme4::VarCorr(fit))
  list(
    fixed = var(as.numeric(lme4::getME(fit, "X") %*% lme4::fixef(fit))),
    random = sum(unlist(shares)),
    residual = sigma(fit)^2
  )
}

# ---- criteria, anova, checks, influence ----

# The log-likelihood, and the criteria that follow from it.
criteria <- function(fit) {
  found <- logLik(fit)
  list(
    loglik = as.numeric(found), df = as.numeric(attr(found, "df")), aic = AIC(fit), bic = BIC(fit),
    deviance = if (lme4::isREML(fit)) lme4::REMLcrit(fit) else deviance(fit), df_residual = as.numeric(df.residual(fit)),
    nobs = as.numeric(nobs(fit))
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

# lme4's own influence() of a fit: every level of the column `level` left out and the model fitted anew, by its default
# optimizer and stopping rules, whatever the fit itself was made by.
influence_of <- function(fit, data, column) {
  # Of every singular refit it would say so; what they are is compared, not how they look.
  found <- suppressMessages(influence(fit, groups = column, data = data))
  fixed <- found[[2L]]
  list(
    levels = as.character(found$deleted), fixed = unname(as.matrix(fixed)), whole = unname(as.numeric(found[[1L]])),
    dfbeta = unname(as.matrix(lme4:::dfbeta.influence.merMod(found))), distance = as.numeric(cooks.distance(found))
  )
}
