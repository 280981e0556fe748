# lme4's lmer, with everything that it says caught where it says it.

# Optimizers of lme4's own, with tight tolerances. nloptr's relative tolerance of x, 1e-4 unless it is given, rules over
# the tolerances that lme4 documents.
controls <- list(
  nloptwrap = list(optimizer = "nloptwrap", optCtrl = list(
    algorithm = "NLOPT_LN_BOBYQA", xtol_rel = 1e-12, xtol_abs = 1e-14, ftol_abs = 0, ftol_rel = 1e-15, maxeval = 1e5
  )),
  bobyqa = list(optimizer = "bobyqa", optCtrl = list(rhobeg = 0.2, rhoend = 1e-11, maxfun = 1e5)),
  Nelder_Mead = list(optimizer = "Nelder_Mead", optCtrl = list(
    maxfun = 1e5, FtolAbs = 1e-14, FtolRel = 1e-15, XtolRel = 1e-12
  )),
  nlminbwrap = list(optimizer = "nlminbwrap", optCtrl = list(rel.tol = 1e-15, x.tol = 1e-12))
)

# All optimizers of lme4's allFit, under allFit's names, and the one that is behind nlminbwrap by way of optimx; their
# tolerances and limits are their own.
plain_controls <- function() {
  table <- rbind(lme4::allFit(show.meth.tab = TRUE), c("optimx", "nlminb"))
  optimizer <- table[, "optimizer"]
  method <- table[, "method"]
  key <- ifelse(optimizer == "nloptwrap", "algorithm", "method")
  controls <- Map(function(optimizer, method, key) {
    list(optimizer = optimizer, optCtrl = if (nzchar(method)) setNames(list(method), key))
  }, optimizer, method, key)
  setNames(lapply(controls, Filter, f = Negate(is.null)), sub("\\.$", "", paste(optimizer, method, sep = ".")))
}

# What a user changes in the call where its default stops short, the plainest first: nloptr's tolerance of x, another
# optimizer, and last those with tight tolerances. Under the arguments as they are written.
remedies <- local({
  one <- c(
    list(list(optCtrl = list(xtol_rel = 1e-12))),
    lapply(c("bobyqa", "nlminbwrap", "Nelder_Mead"), function(name) list(optimizer = name)),
    unname(controls)
  )
  setNames(one, vapply(one, function(control) {
    paste(deparse(as.call(c(as.name("lmerControl"), control)), width.cutoff = 500L), collapse = " ")
  }, ""))
})

# The call that fits the model to a table called `name`, unevaluated.
write_call <- function(formula, name, reml, optimizer = NULL, among = "tight", weights = NULL) {
  written <- call("lmer", formula, data = as.name(name), REML = reml)
  if (!is.null(weights)) written$weights <- as.name(weights)
  if (!is.null(optimizer)) {
    chosen <- switch(among, tight = controls, plain = plain_controls(), remedy = remedies)[[optimizer]]
    written$control <- as.call(c(as.name("lmerControl"), chosen))
  }
  written
}

call_text <- function(...) paste(deparse(write_call(...), width.cutoff = 500L), collapse = " ")

formula_text <- function(fit) paste(deparse(stats::formula(fit), width.cutoff = 500L), collapse = " ")

fit <- function(formula, name, data, reml, optimizer = NULL, among = "tight", weights = NULL) {
  # Formulas see lme4 and stats, not what stands in the user's workspace.
  room <- new.env(parent = asNamespace("lme4"))
  assign(name, data, envir = room)
  # With weights lmer writes into the formula's environment, and namespaces are locked.
  environment(formula) <- new.env(parent = environment(formula))
  observe(write_call(formula, name, reml, optimizer, among, weights), room)
}

# Every term's columns, out of Z': mmList has them too, but in the order of the formula and not in lmer's of the terms.
columns_of <- function(fit, groups) {
  Zt <- lme4::getME(fit, "Zt")
  Map(function(names, start, group) {
    rows <- start + (as.integer(group) - 1L) * length(names)
    vapply(seq_along(names), function(j) as.numeric(Zt[cbind(rows + j, seq_along(rows))]), numeric(length(rows)))
  }, lme4::getME(fit, "cnms"), head(lme4::getME(fit, "Gp"), -1L), groups)
}

# Which structure lme4 2 gives every random term's covariance matrix: us, diag, cs or ar1, with hom before it where all
# variances are the same; before that it had one.
structures_of <- function(fit) {
  given <- attr(fit, "reCovs")
  if (is.null(given)) return(rep("us", length(lme4::getME(fit, "cnms"))))
  vapply(given, function(one) {
    kind <- sub("Covariance.", "", class(one)[[1L]], fixed = TRUE)
    paste0(if (kind != "us" && one@hom) "hom", kind)
  }, "")
}

has_structures <- function() utils::packageVersion("lme4") >= "2"

# A term in parts that are not correlated with each other: what diag() makes of it is one for every column.
uncorrelated <- function(term, structure) {
  if (!structure %in% c("us", "diag", "cs", "homcs", "ar1", "homar1")) {
    stop("(", paste(term$columns, collapse = ", "), " | ", term$group, ") has the covariance structure ", structure, call. = FALSE)
  }
  if (structure != "diag") return(list(c(term, structure = if (structure == "us") "" else structure)))
  lapply(seq_along(term$columns), function(j) {
    list(
      group = term$group, columns = term$columns[j], matrix = term$matrix[, j, drop = FALSE], codes = term$codes,
      covariance = term$covariance[j, j, drop = FALSE], structure = ""
    )
  })
}

describe <- function(fit) {
  if (anyNA(lme4::getME(fit, "theta"))) stop("its estimates are not numbers", call. = FALSE)
  flist <- lme4::getME(fit, "flist")
  groups <- flist[attr(flist, "assign")]
  convergence <- fit@optinfo$conv
  # That a fit is singular lme4 says in a message, and keeps it among the warnings of convergence.
  alarms <- grep("boundary (singular) fit", convergence$lme4$messages, fixed = TRUE, value = TRUE, invert = TRUE)
  list(
    reml = lme4::isREML(fit),
    loglik = as.numeric(logLik(fit)),
    weights = as.numeric(weights(fit)),
    offset = as.numeric(lme4::getME(fit, "offset")),
    y = as.numeric(lme4::getME(fit, "y")),
    X = unname(as.matrix(lme4::getME(fit, "X"))),
    names = names(lme4::fixef(fit)),
    # As the columns of X are: where lme4 2 has scaled them (autoscale), its vcov() is scaled back, and its fixef() too,
    # but not where it is one column.
    fixed = fit@beta,
    vcov = if (is.null(attr(fit@pp$X, "scaled:scale"))) unname(as.matrix(vcov(fit))) else sigma(fit)^2 * fit@pp$unsc(),
    terms = unlist(unname(Map(function(group, columns, matrix, codes, covariance, structure) {
      uncorrelated(list(
        group = group, columns = columns, matrix = matrix, codes = as.integer(codes),
        covariance = base::matrix(as.numeric(covariance), nrow(covariance))
      ), structure)
    }, names(groups), lme4::getME(fit, "cnms"), columns_of(fit, groups), groups, lme4::VarCorr(fit), structures_of(fit))),
    recursive = FALSE),
    sigma2 = sigma(fit)^2,
    converged = identical(as.integer(convergence$opt), 0L) && length(alarms) == 0L,
    said = c(
      if (length(alarms)) paste("warning:", alarms),
      if (lme4::isSingular(fit)) "message: boundary (singular) fit: see help('isSingular')"
    ),
    call = paste(deparse(fit@call, width.cutoff = 500L), collapse = " ")
  )
}

summary_text <- function(fit) paste(capture.output(print(summary(fit))), collapse = "\n")

random_effects <- function(fit) {
  table <- as.data.frame(lme4::ranef(fit, condVar = TRUE))
  list(
    group = as.character(table$grpvar), level = as.character(table$grp), term = as.character(table$term),
    estimate = as.numeric(table$condval), std_error = as.numeric(table$condsd)
  )
}
