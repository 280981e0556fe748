# nlme pastes the names of columns into code: a name that is code is run, and a name with an operator is another model.
suppressMessages(library(nlme))
table <- as.data.frame(Orthodont)[c("distance", "age", "Subject")]
fails <- function(expression) inherits(try(expression, silent = TRUE), "try-error")

names(table)[2] <- "cat('run')"
ran <- any(grepl("run", capture.output(fails(lme(distance ~ `cat('run')`, table, random = ~ 1 | Subject)))))
cat("a column named cat('run'): its name", if (ran) "is run\n" else "is not run\n")
names(table)[2] <- "age (years)"
failed <- fails(lme(distance ~ `age (years)`, table, random = ~ 1 | Subject))
cat("a column named age (years):", if (failed) "no fit" else "a fit", "\n")

# The mend: the formula is built of names, not of text.
one_formula <- function(..., omit = c(".", "pi")) {
  names <- setdiff(unique(unlist(lapply(list(...), all.vars))), omit)
  if (!length(names)) return(~1)
  as.formula(call("~", Reduce(function(a, b) call("+", a, b), lapply(names, as.name))), globalenv())
}
suppressWarnings(assignInNamespace("asOneFormula", one_formula, "nlme"))
still <- fails(fit <- lme(distance ~ `age (years)`, table, random = ~ 1 | Subject))
cat("mended:", if (still) "no fit" else sprintf("a fit, slope %.3f", fixef(fit)[[2]]), "\n")
cat(sprintf('{"ran": %d, "failed": %d, "failed_mended": %d}\n', ran, failed, still))
