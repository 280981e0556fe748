# pbkrtest's Kenward-Roger errors and degrees of freedom of a fit with weights, and of the same model without them.
suppressMessages(library(lmerTest))
data(sleepstudy, package = "lme4")
# Every second day counts sixteen times as much as the others.
sleepstudy <- transform(sleepstudy, w = ifelse(Days %% 2 == 0, 4, 0.25))
weighted <- lmer(Reaction ~ Days + (Days | Subject), sleepstudy, weights = w)
# The same model and the same optimum without weights: every row multiplied by the root of its weight.
rows <- with(sleepstudy, data.frame(y = Reaction * sqrt(w), one = sqrt(w), days = Days * sqrt(w), Subject))
begin <- unname(getME(weighted, "theta"))
plain <- lmer(y ~ 0 + one + days + (0 + one + days | Subject), rows, start = begin)
apart <- abs(as.numeric(logLik(plain)) + sum(log(sleepstudy[["w"]])) / 2 - as.numeric(logLik(weighted)))
asked <- function(fit) coef(summary(fit, ddf = "Kenward-Roger"))[2, c("Std. Error", "df")]
given <- asked(weighted)
# The mend: rows that are multiplied have residuals of one variance, as pbkrtest takes them to have.
mended <- asked(plain)
lme4s <- sqrt(diag(as.matrix(vcov(weighted))))[[2]]
cat(sprintf("one optimum: log-likelihoods equal to 1e-4: %s\n", apart < 1e-4))
cat(sprintf("error of the slope by lme4: %.3f\n", lme4s))
cat(sprintf("Kenward-Roger, with weights: %.3f and %.1f degrees of freedom\n", given[1], given[2]))
cat(sprintf("rows multiplied by the roots of the weights: %.3f and %.1f\n", mended[1], mended[2]))
cat(sprintf(
  '{"same": %.3g, "moved": %.4g, "df": %.6g, "moved_mended": %.4g, "df_mended": %.6g}\n',
  apart, abs(given[1] / lme4s - 1), given[2], abs(mended[1] / lme4s - 1), mended[2]
))
