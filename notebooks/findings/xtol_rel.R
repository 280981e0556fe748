# lme4's default optimizer stops by a relative tolerance that lme4 does not set, and does not document.
suppressMessages(library(lme4))
table <- expand.grid(t = c(152, 174, 201, 227, 258), g = 1:20)
row <- seq_len(nrow(table))
table <- transform(table, y = 4 + 0.01 * t + 0.6 * sin(1.7 * g^2) + 0.003 * t * sin(2.3 * g^2 + 1) + 0.2 * sin(3.1 * row^2))
loglik <- function(...) {
  fit <- suppressWarnings(lmer(y ~ t + (t | g), table, control = lmerControl(optCtrl = list(...))))
  as.numeric(logLik(fit))
}
default <- loglik()
documented <- loglik(xtol_abs = 1e-14, ftol_abs = 1e-14)
relative <- loglik(xtol_rel = 1e-12)
cat("what nloptwrap sets:", paste(names(environment(nloptwrap)[["defaultControl"]]), collapse = ", "), "\n")
cat(sprintf("default: %.2f units below xtol_rel = 1e-12\n", relative - default))
cat(sprintf("xtol_abs and ftol_abs a million times smaller, as documented: %.2f below\n", relative - documented))

# The mend: the default of nloptwrap switches nloptr's own xtol_rel = 1e-4 off.
settings <- environment(nloptwrap)
settings[["defaultControl"]] <- c(settings[["defaultControl"]], xtol_rel = 0)
cat(sprintf("mended default: %.2f below\n", abs(relative - loglik())))
cat(sprintf(
  '{"short": %.10g, "changed": %.10g, "short_mended": %.10g}\n',
  relative - default, abs(documented - default), relative - loglik()
))
