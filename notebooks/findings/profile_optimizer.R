# lme4's profile() works with the optimizer and the tolerances of the fit, and breaks off where these suit the fit only.
suppressMessages(library(lme4))
table <- expand.grid(t = c(1.52, 1.74, 2.01, 2.27, 2.58), g = 1:20)
row <- seq_len(nrow(table))
table <- transform(table, y = 4 + t + 0.6 * sin(1.7 * g^2) + 0.3 * t * sin(2.3 * g^2 + 1) + 0.2 * sin(3.1 * row^2))
fit <- lmer(y ~ t + (t | g), table, REML = FALSE)
said <- function(fit, ...) {
  words <- character()
  withCallingHandlers(confint(profile(fit, which = "cor_t.(Intercept)|g", signames = FALSE, ...)), warning = function(w) {
    words <<- c(words, sub(":? *using minstep.*|: falling back.*| for .*", "", conditionMessage(w)))
    invokeRestart("muffleWarning")
  })
  setdiff(unique(words), "unused control arguments ignored") # those of the fit's optimizer, which another has not
}
own <- said(fit)
cat("profile of the correlation, with the fit's optimizer:", paste0("\n  ", own), "\n")

# The mend: another optimizer for the profile, by its argument.
other <- said(fit, optimizer = "Nelder_Mead")
cat("mended, by optimizer = \"Nelder_Mead\":", if (length(other)) other else "no warning", "\n")
cat(sprintf('{"warnings": %d, "warnings_mended": %d}\n', length(own), length(other)))
