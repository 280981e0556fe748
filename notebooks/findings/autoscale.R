# lme4's autoscale: vcov() is in the units of the data, fixef() in those of the scaled columns.
suppressMessages(library(lme4))
plain <- lmer(Reaction ~ Days + (Days | Subject), sleepstudy)
scaled <- lmer(Reaction ~ Days + (Days | Subject), sleepstudy, control = lmerControl(autoscale = TRUE))
row <- function(fit, estimate) c(estimate, sqrt(diag(as.matrix(vcov(fit))))[[2]])
given <- row(scaled, fixef(scaled)[[2]])
expected <- row(plain, fixef(plain)[[2]])
# The mend: fixef() over the standard deviations that the columns were divided by, as vcov() does.
mended <- row(scaled, fixef(scaled)[[2]] / sd(sleepstudy[["Days"]]))
cat(sprintf("slope and its error, without autoscale: %.2f, %.3f\n", expected[1], expected[2]))
cat(sprintf("with autoscale, fixef() and vcov():     %.2f, %.3f\n", given[1], given[2]))
cat(sprintf("mended:                                 %.2f, %.3f\n", mended[1], mended[2]))
cat(sprintf(
  '{"slope": %.8g, "error": %.8g, "slope_mended": %.8g}\n',
  given[1] / expected[1], given[2] / expected[2], mended[1] / expected[1]
))
