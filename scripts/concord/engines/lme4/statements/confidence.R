# lme4's own intervals and profiles, with what R says of them caught where it says it.

# Parameters go by the names that lme4 gives them where `signames` is FALSE. Its numbers, .sig01 and so on, go through a
# factor column by column in lme4 1.1, and through standard deviations before correlations in lme4 2.

# The names of a term's standard deviations and correlations, a matrix of which the lower triangle counts.
names_of <- function(group, columns) {
  found <- outer(columns, columns, function(one, other) paste0("cor_", one, ".", other, "|", group))
  diag(found) <- paste0("sd_", columns, "|", group)
  found
}

# Every parameter of an lmer fit by name, with its estimate.
parameters <- function(fit) {
  names <- Map(names_of, names(fit@cnms), fit@cnms)
  values <- lapply(lme4::VarCorr(fit), function(covariance) {
    covariance <- matrix(as.numeric(covariance), nrow(covariance))
    deviations <- sqrt(diag(covariance))
    found <- covariance / outer(deviations, deviations)
    diag(found) <- deviations
    found
  })
  lower <- function(each) unlist(lapply(unname(each), function(one) one[lower.tri(one, diag = TRUE)]))
  fixed <- lme4::fixef(fit)
  list(names = c(lower(names), "sigma", names(fixed)), estimates = c(lower(values), sigma(fit), unname(fixed)))
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
# alone, and makes a factor of what comes by a pivoted Cholesky decomposition, which does not exist for an indefinite matrix.
possible <- function(points, fit) {
  fits <- rep(TRUE, nrow(points))
  for (names in Map(names_of, names(fit@cnms), fit@cnms)) {
    pairs <- lower.tri(names)
    if (!any(pairs)) next
    fits <- fits & apply(as.matrix(points[names[pairs]]), 1L, function(row) {
      correlations <- diag(nrow(names))
      correlations[pairs] <- row
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
    tried <- attempt(profile(fit, which = which, signames = FALSE, delta.cutoff = 1 / steps))
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
