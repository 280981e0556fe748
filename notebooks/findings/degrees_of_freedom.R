# lmerTest's and pbkrtest's degrees of freedom of a slope, with a year counted from far away.
suppressMessages(library(lmerTest))
data(sleepstudy, package = "lme4")
sleepstudy <- transform(sleepstudy, year = Days + 300)
control <- lmerControl(optCtrl = list(xtol_rel = 1e-14, ftol_rel = 1e-15))
near <- lmer(Reaction ~ Days + (Days | Subject), sleepstudy, control = control)
# The same model and the same optimum: Psi is carried over to the other origin, and the search begins there.
back <- rbind(c(1, -300), c(0, 1))
theta <- t(chol(back %*% VarCorr(near)[["Subject"]] %*% t(back))) / sigma(near)
far <- suppressWarnings(lmer(
  Reaction ~ year + (year | Subject), sleepstudy, start = theta[lower.tri(theta, TRUE)], control = control
))
df <- function(fit, ddf) suppressWarnings(coef(summary(fit, ddf = ddf))[2, "df"])
cat(sprintf("one optimum: log-likelihoods equal to 1e-8: %s\n", abs(logLik(near) - logLik(far)) < 1e-8))
cat(sprintf("error of the slope: %.3f and %.3f\n", coef(summary(near))[2, 2], coef(summary(far))[2, 2]))
given <- c(df(far, "Satterthwaite"), df(far, "Kenward-Roger"))
cat(sprintf("days 300 to 309, df of the slope: lmerTest more than 100: %s, pbkrtest more than 1000: %s\n", given[1] > 100, given[2] > 1000))
# The mend: any origin near the data. 18 subjects: 17 are exact in this balanced design.
mended <- c(df(near, "Satterthwaite"), df(near, "Kenward-Roger"))
cat(sprintf("days 0 to 9: lmerTest %.1f, pbkrtest %.1f\n", mended[1], mended[2]))
cat(sprintf(
  '{"same": %.3g, "lmerTest": %.6g, "pbkrtest": %.6g, "lmerTest_mended": %.6g, "pbkrtest_mended": %.6g}\n',
  abs(logLik(near) - logLik(far)), given[1], min(given[2], 1e300), mended[1], mended[2]
))
