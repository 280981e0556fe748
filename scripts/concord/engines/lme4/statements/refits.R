# What lme4 says of a fit by fitting anew.

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
