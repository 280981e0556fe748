# nlme's lme, with everything that it says caught where it says it.

controls <- list(
  nlminb = list(maxIter = 500, msMaxIter = 2000, msMaxEval = 5000, tolerance = 1e-12, msTol = 1e-14, niterEM = 100),
  optim = list(maxIter = 500, msMaxIter = 2000, tolerance = 1e-12, msTol = 1e-14, niterEM = 100, opt = "optim")
)

# The random part: for every level of grouping, outermost first, its columns, and the class of their effects' covariance
# matrix, empty for any matrix.
# A grouping factor of several columns is made a column of the table by the names in `made`.
# Weights divide the residuals' variance: the variance function has their inverse.
write_call <- function(fixed, columns, groups, kinds, made, name, method, optimizer = NULL, weights = NULL) {
  sides <- Map(function(each, kind) {
    one_sided <- str2lang(paste("~", each))
    if (nzchar(kind)) call(kind, one_sided) else one_sided
  }, columns, kinds)
  random <- if (length(groups) == 1L && !nzchar(kinds)) {
    call("~", call("|", sides[[1L]][[2L]], as.name(groups)))
  } else {
    as.call(c(as.name("list"), setNames(unname(sides), groups)))
  }
  table <- as.name(name)
  if (length(made)) {
    joined <- lapply(made, function(each) as.call(c(as.name("interaction"), lapply(each, as.name), drop = TRUE)))
    table <- as.call(c(as.name("transform"), table, joined))
  }
  written <- call("lme", fixed, data = table, random = random, method = method)
  if (!is.null(weights)) written$weights <- call("varFixed", call("~", call("/", 1, as.name(weights))))
  if (!is.null(optimizer)) written$control <- as.call(c(as.name("lmeControl"), controls[[optimizer]]))
  written
}

call_text <- function(...) paste(deparse(write_call(...), width.cutoff = 500L), collapse = " ")

fit <- function(fixed, columns, groups, kinds, made, name, data, method, optimizer = NULL, weights = NULL) {
  room <- new.env(parent = asNamespace("nlme"))
  assign(name, data, envir = room)
  observe(write_call(fixed, columns, groups, kinds, made, name, method, optimizer, weights), room)
}

# The response less its offset, and the fixed part without, from a text that has passed the check.
formula_from <- function(text) as.formula(str2lang(text), env = asNamespace("stats"))

describe <- function(fit) {
  structure <- rev(fit$modelStruct$reStruct) # outermost first, as the groups are
  covariances <- lapply(structure, function(each) nlme::pdMatrix(each) * fit$sigma^2)
  list(
    reml = fit$method == "REML",
    loglik = as.numeric(logLik(fit)),
    names = names(nlme::fixef(fit)),
    fixed = unname(nlme::fixef(fit)),
    std_error = unname(sqrt(diag(fit$varFix))),
    y = as.numeric(nlme::getResponse(fit)),
    expected = as.numeric(fit$fitted[, "fixed"]),
    levels = unname(Map(function(groups, covariance) {
      list(groups = as.character(groups), columns = colnames(covariance), covariance = unname(covariance))
    }, fit$groups, covariances)),
    weights = (fit$sigma / attr(fit$residuals, "std"))^2,
    plain = is.null(fit$modelStruct$corStruct),
    sigma2 = fit$sigma^2,
    call = paste(deparse(fit$call, width.cutoff = 500L), collapse = " ")
  )
}

summary_text <- function(fit) paste(capture.output(print(summary(fit))), collapse = "\n")

# One table a level of grouping, outermost first.
random_effects <- function(fit) {
  tables <- nlme::ranef(fit)
  if (is.data.frame(tables)) tables <- list(tables)
  unname(lapply(tables, function(table) {
    list(level = rownames(table), term = colnames(table), estimate = as.matrix(table))
  }))
}
