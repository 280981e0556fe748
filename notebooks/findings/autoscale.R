# lme4's autoscale with one numeric column: vcov() is in the units of the data, fixef() in those of the scaled column.
suppressMessages(library(lme4))
fits <- function(formula) {
  list(plain = lmer(formula, sleepstudy), scaled = lmer(formula, sleepstudy, control = lmerControl(autoscale = TRUE)))
}
shown <- function(fit) sprintf("%.2f, %.3f", fixef(fit)[["Days"]], sqrt(diag(as.matrix(vcov(fit))))[[2]])
one <- fits(Reaction ~ Days + (Days | Subject))
cat("slope and its error, without autoscale:", shown(one[["plain"]]), "\n")
cat("with autoscale, fixef() and vcov():    ", shown(one[["scaled"]]), "\n")
two <- suppressMessages(fits(Reaction ~ Days + I(Days^2) + (Days | Subject)))
cat("of two numeric columns, without:       ", shown(two[["plain"]]), "\n")
cat("with autoscale:                        ", shown(two[["scaled"]]), "\n")

# The mend: of one column, too, the scales have its name, by which fixef() looks for them.
mended <- function(fit) {
  X <- getME(fit, "X")
  columns <- setdiff(colnames(X), "(Intercept)")
  effects <- setNames(fit@beta, colnames(X))
  scales <- setNames(attr(X, "scaled:scale"), columns)
  centres <- setNames(attr(X, "scaled:center"), columns)
  effects[columns] <- effects[columns] / scales
  effects[["(Intercept)"]] <- effects[["(Intercept)"]] - sum(effects[columns] * centres)
  effects
}
cat(sprintf("mended: intercept %.2f, slope %.2f\n", mended(one[["scaled"]])[[1]], mended(one[["scaled"]])[[2]]))
ratio <- function(pair, of = fixef) of(pair[["scaled"]])[["Days"]] / fixef(pair[["plain"]])[["Days"]]
error <- function(fit) sqrt(diag(as.matrix(vcov(fit))))[[2]]
cat(sprintf(
  '{"slope": %.8g, "error": %.8g, "slope_of_two": %.8g, "slope_mended": %.8g, "intercept_mended": %.8g}\n',
  ratio(one), error(one[["scaled"]]) / error(one[["plain"]]), ratio(two),
  ratio(one, mended), mended(one[["scaled"]])[[1]] / fixef(one[["plain"]])[[1]]
))
