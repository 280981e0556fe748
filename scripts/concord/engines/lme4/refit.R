# One model, many responses: what does not depend on the response is made once. Uses controls of fit.R.

# What lmer makes of formula and table before it fits, and where a response goes.
prepare <- function(formula, name, data, reml, control, weights = NULL) {
  room <- new.env(parent = asNamespace("lme4"))
  assign(name, data, envir = room)
  control <- if (is.null(control)) lme4::lmerControl() else do.call(lme4::lmerControl, control)
  environment(formula) <- new.env(parent = environment(formula))
  written <- call("lFormula", formula, data = as.name(name), REML = reml, control = control)
  if (!is.null(weights)) written$weights <- as.name(weights)
  parts <- suppressMessages(eval(written, room)) # that columns are dropped was said of the fit
  parts$formula <- NULL
  room$fresh <- fresh
  room$prepared <- list(
    parts = parts, control = control, call = call("lmer", formula, data = as.name(name), REML = reml),
    response = attr(attr(parts$fr, "terms"), "response")
  )
  c(room$prepared, room = room)
}

layout <- function(prepared) {
  terms <- prepared$parts$reTrms
  groups <- terms$flist[attr(terms$flist, "assign")]
  matrices <- Map(function(names, start, group) {
    rows <- start + (as.integer(group) - 1L) * length(names)
    vapply(seq_along(names), function(j) as.numeric(terms$Zt[cbind(rows + j, seq_along(rows))]), numeric(length(rows)))
  }, terms$cnms, head(terms$Gp, -1L), groups)
  list(
    X = unname(as.matrix(prepared$parts$X)), groups = names(groups), widths = unname(lengths(terms$cnms)),
    matrices = unname(matrices), codes = unname(lapply(groups, as.integer))
  )
}

# Line by line what lmer() does with the parts (help page `modular` of lme4).
fresh <- function(prepared, response) {
  parts <- prepared$parts
  control <- prepared$control
  parts$fr[[prepared$response]] <- response
  # lme4 writes its theta into the vectors that it is given: without a copy the next fit would start where this one ends.
  parts$reTrms$theta <- parts$reTrms$theta + 0
  parts$reTrms$Lambdat@x <- parts$reTrms$Lambdat@x + 0
  criterion <- do.call(lme4::mkLmerDevfun, c(parts, list(control = control)))
  found <- lme4::optimizeLmer(
    criterion,
    optimizer = control$optimizer, restart_edge = control$restart_edge, boundary.tol = control$boundary.tol,
    control = control$optCtrl, calc.derivs = control$calc.derivs, use.last.params = control$use.last.params
  )
  checked <- checkConv(
    attr(found, "derivs"), found$par, ctrl = control$checkConv, lbound = environment(criterion)$lower
  )
  lme4::mkMerMod(environment(criterion), found, parts$reTrms, fr = parts$fr, mc = prepared$call, lme4conv = checked)
}
environment(fresh) <- new.env(parent = asNamespace("lme4"))

# By lme4's refit from the theta of a fit, as bootMer does; or anew. Numbers first: logLik, sigma^2, converged, seconds,
# then theta, fixed effects and (X'V^-1 X)^-1 at sigma = 1.
run <- function(prepared, response, from = NULL) {
  room <- prepared$room
  room$response <- response
  room$from <- from
  started <- Sys.time()
  ran <- observe(if (is.null(from)) quote(fresh(prepared, response)) else quote(refit(from, response)), room)
  fit <- ran$value
  # Of standard errors lme4 makes nothing before it is asked: vcov() takes this, and checks it at length.
  unscaled <- fit@pp$unsc()
  seconds <- as.numeric(Sys.time()) - as.numeric(started)
  sizes <- fit@devcomp$cmp
  reml <- fit@devcomp$dims[["REML"]] > 0
  convergence <- fit@optinfo$conv
  said <- convergence$lme4$messages
  alarmed <- length(said) && !all(grepl("boundary (singular) fit", said, fixed = TRUE))
  list(
    c(
      -sizes[[if (reml) "REML" else "dev"]] / 2, sizes[[if (reml) "sigmaREML" else "sigmaML"]]^2,
      identical(as.integer(convergence$opt), 0L) && !alarmed, seconds,
      fit@theta, fit@beta, as.numeric(unscaled)
    ),
    ran$messages
  )
}
