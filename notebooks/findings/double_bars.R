# lme4's (x || g): the name of the grouping column is pasted into code, so that it can become another model.
suppressMessages(library(lme4))
table <- expand.grid(x = 1:4, plot = 1:3, site = 1:8)
row <- seq_len(nrow(table))
table[["site:plot"]] <- rep(1:16, each = 6)
table[["y"]] <- 3 + table[["x"]] + 2 * sin(1.7 * table[["site:plot"]]^2) + sin(2.3 * table[["x"]] * table[["site"]]^2) + sin(3.1 * row^2)
groups <- function(formula) getME(suppressMessages(suppressWarnings(lmer(formula, table))), "l_i")[[1]]
bars <- c(one = groups(y ~ x + (x | `site:plot`)), two = groups(y ~ x + (x || `site:plot`)))
cat("groups in the column `site:plot`:", length(unique(table[["site:plot"]])), "\n")
cat("groups of (x | `site:plot`):", bars[["one"]], "\n")
cat("groups of (x || `site:plot`):", bars[["two"]], "- those of site and plot crossed\n")

# A name can be any code, and that is run.
table[["print('run')"]] <- table[["site"]]
ran <- capture.output(try(groups(y ~ x + (x || `print('run')`)), silent = TRUE))
cat("a column named print('run'): its name", if (any(grepl("run", ran))) "is run\n" else "is not run\n")

# The mend: the term is built of calls, not of text.
mended <- function(term) {
  if (!is.call(term)) return(term)
  if (identical(term[[1]], quote(`||`))) {
    parts <- attr(terms(as.formula(call("~", term[[2]]))), "variables")[-1]
    bars <- lapply(as.list(parts), function(part) call("(", call("|", call("+", 0, part), term[[3]])))
    return(Reduce(function(a, b) call("+", a, b), bars, call("(", call("|", 1, term[[3]]))))
  }
  as.call(lapply(term, mended))
}
formula <- as.formula(mended(quote(y ~ x + (x || `site:plot`))))
right <- groups(formula)
cat("mended:", right, "\n")
cat(sprintf('{"one": %d, "two": %d, "ran": %d, "mended": %d}\n', bars[["one"]], bars[["two"]], any(grepl("run", ran)), right))
