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
