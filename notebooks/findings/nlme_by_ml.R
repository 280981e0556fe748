# nlme's summary of a fit by ML: standard errors that are not those of ML.
suppressMessages(library(nlme))
fit <- lme(distance ~ age, as.data.frame(Orthodont), random = ~ 1 | Subject, method = "ML")
n <- nrow(Orthodont)
printed <- summary(fit)[["tTable"]][, "Std.Error"]
by_ml <- sqrt(diag(vcov(fit)))
# The mend: the argument that leaves the factor out.
mended <- summary(fit, adjustSigma = FALSE)[["tTable"]][, "Std.Error"]
cat("summary(fit):", sprintf("%.5f", printed), "\n")
cat("vcov(fit):   ", sprintf("%.5f", by_ml), "\n")
cat("summary(fit, adjustSigma = FALSE):", sprintf("%.5f", mended), "\n")
cat(sprintf("ratio %.6f; sqrt(n / (n - p)) = %.6f\n", printed[[2]] / by_ml[[2]], sqrt(n / (n - 2))))
cat(sprintf(
  '{"ratio": %.10g, "factor": %.10g, "ratio_mended": %.10g}\n',
  printed[[2]] / by_ml[[2]] - 1, printed[[2]] / by_ml[[2]] / sqrt(n / (n - 2)) - 1, mended[[2]] / by_ml[[2]] - 1
))
