# lme4 2's allFit begins every optimizer where the fit ended: the one that stopped early is shown at the optimum.
suppressMessages(library(lme4))
trees <- transform(MASS::Sitka, tree = factor(tree))
fit <- suppressWarnings(lmer(size ~ Time + (1 + Time | tree), trees)) # by the default, nloptwrap with BOBYQA
every <- function(...) {
  fits <- suppressMessages(suppressWarnings(allFit(fit, verbose = FALSE, ...)))
  vapply(Filter(function(one) inherits(one, "merMod"), fits), function(one) as.numeric(logLik(one)), 0)
}
default <- "nloptwrap.NLOPT_LN_BOBYQA"
again <- every()
cat(sprintf("the fit, by lme4's default:                        %.4f\n", as.numeric(logLik(fit))))
cat(sprintf("the same optimizer by allFit:                      %.4f, the best of all %.4f\n", again[[default]], max(again)))

# The mend: every optimizer begins where lmer begins, by the argument that there is.
scratch <- every(start_from_mle = FALSE)
cat(sprintf("by allFit(start_from_mle = FALSE):                 %.4f, the best of all %.4f\n", scratch[[default]], max(scratch)))
cat(sprintf(
  '{"short": %.8g, "by_all_fit": %.8g, "mended": %.8g}\n',
  max(again) - as.numeric(logLik(fit)), max(again) - again[[default]],
  abs(scratch[[default]] - as.numeric(logLik(fit)))
))
