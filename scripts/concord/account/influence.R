# lme4's own influence() of a fit: every level of the column `level` left out and the model fitted anew, by its default
# optimizer and stopping rules, whatever the fit itself was made by.
influence_of <- function(fit, data, column) {
  # Of every singular refit it would say so; what they are is compared, not how they look.
  found <- suppressMessages(influence(fit, groups = column, data = data))
  fixed <- found[[2L]]
  list(
    levels = as.character(found$deleted), fixed = unname(as.matrix(fixed)), whole = unname(as.numeric(found[[1L]])),
    dfbeta = unname(as.matrix(lme4:::dfbeta.influence.merMod(found))), distance = as.numeric(cooks.distance(found))
  )
}
