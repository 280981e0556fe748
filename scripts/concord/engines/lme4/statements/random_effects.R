# What lme4's own functions say of a fit's random effects, its rows and new rows, and the parts of its variance. Its
# methods of base R's generics are found once its namespace is loaded.

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
