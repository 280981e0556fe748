# What lme4's and nlme's own functions say of a fit's random effects, its rows and new rows, and the parts of its
# variance. lme4's and nlme's methods of base R's generics are found once their namespaces are loaded.

# Rows that na.exclude has put in stand for no row that was used.
used <- function(values) {
  values <- as.numeric(values)
  values[!is.na(values)]
}

lme4_rows <- function(fit) {
  list(
    fitted = used(fitted(fit)),
    fitted_fixed = used(predict(fit, re.form = NA)),
    predicted = used(predict(fit)),
    residual = used(residuals(fit)),
    pearson = used(residuals(fit, type = "pearson")),
    scaled = used(residuals(fit, scaled = TRUE))
  )
}

nlme_rows <- function(fit) {
  list(
    fitted = used(fitted(fit)),
    fitted_fixed = used(fitted(fit, level = 0)),
    predicted = used(predict(fit)),
    residual = used(residuals(fit)),
    pearson = used(residuals(fit, type = "pearson")),
    scaled = used(residuals(fit, type = "normalized"))
  )
}

# Every term in lmer's order: its factor and columns, and for its levels the conditional covariance matrices that ranef()
# has, an array of columns x columns x levels. Of a factor with several terms ranef() has a list of arrays, one a term.
lme4_conditional <- function(fit, columns_of) {
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

# One table a level of grouping, outermost first, as engines/nlme.R has the random effects themselves.
nlme_standardized <- function(fit) {
  tables <- nlme::ranef(fit, standard = TRUE)
  if (is.data.frame(tables)) tables <- list(tables)
  unname(lapply(tables, function(table) {
    list(level = rownames(table), term = colnames(table), estimate = as.matrix(table))
  }))
}

lme4_new <- function(fit, new) {
  list(
    new_fixed = as.numeric(predict(fit, new, re.form = NA)),
    new = as.numeric(predict(fit, new, re.form = NULL, allow.new.levels = TRUE))
  )
}

nlme_new <- function(fit, new) {
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

# The mean over rows of z' Psi z (Johnson 2014).
share <- function(Z, covariance) mean(rowSums((Z %*% covariance) * Z))

lme4_variances <- function(fit, columns_of) {
  flist <- lme4::getME(fit, "flist")
  matrices <- columns_of(fit, flist[attr(flist, "assign")])
  shares <- Map(function(Z, covariance) share(Z, matrix(covariance, nrow(covariance))), matrices, lme4::VarCorr(fit))
  list(
    fixed = var(as.numeric(lme4::getME(fit, "X") %*% lme4::fixef(fit))),
    random = sum(unlist(shares)),
    residual = sigma(fit)^2
  )
}

nlme_variances <- function(fit) {
  rows <- fit$data[rownames(fit$fitted), , drop = FALSE]
  shares <- lapply(fit$modelStruct$reStruct, function(each) {
    share(model.matrix(formula(each), rows), nlme::pdMatrix(each) * fit$sigma^2)
  })
  list(fixed = var(as.numeric(fitted(fit, level = 0))), random = sum(unlist(shares)), residual = fit$sigma^2)
}
