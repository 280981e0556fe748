# lme4's own criterion at given factors: reads places.csv (number, file, formula, reml, term, theta: lower triangles by
# columns, separated by blanks, one line a random term) and writes criteria.csv (number, criterion).
suppressMessages(library(lme4))
folder <- commandArgs(TRUE)[1]
places <- read.csv(file.path(folder, "places.csv"), colClasses = "character")
result <- lapply(split(places, factor(places$number, unique(places$number))), function(terms) {
  table <- read.csv(terms$file[1])
  control <- lmerControl(check.nobs.vs.nlev = "ignore", check.nobs.vs.nRE = "ignore", check.scaleX = "ignore")
  parts <- lFormula(as.formula(terms$formula[1]), table, REML = terms$reml[1] == "TRUE", control = control)
  # lme4 sorts its terms by their number of levels: each is found again by its group and its first effect.
  cnms <- parts$reTrms$cnms
  keys <- paste(sub("[.][0-9]+$", "", names(cnms)), vapply(cnms, `[`, "", 1L))
  theta <- as.numeric(unlist(strsplit(terms$theta[match(keys, terms$term)], " ")))
  # NA where rounding leaves lme4 no positive definite matrix.
  criterion <- tryCatch(do.call(mkLmerDevfun, parts)(theta), error = function(e) NA)
  data.frame(number = terms$number[1], criterion = format(criterion, digits = 17))
})
write.csv(do.call(rbind, result), file.path(folder, "criteria.csv"), row.names = FALSE)
