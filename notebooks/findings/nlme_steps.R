# nlme's standard errors of variances, by differences of its own steps, beside the exact one of a balanced design.
suppressMessages(library(nlme))
data(sleepstudy, package = "lme4")
fit <- lme(Reaction ~ Days, sleepstudy, random = ~ Days | Subject)

# 18 subjects on the same days: the covariance matrix S of the subjects' own lines and the residual variance are
# independent, and their errors known. Psi = S - s2 (Z'Z)^-1.
Z <- cbind(1, 0:9)
lines <- t(sapply(split(sleepstudy, sleepstudy[["Subject"]]), function(own) qr.coef(qr(Z), own[["Reaction"]])))
V <- solve(crossprod(Z))
s2 <- sum(sapply(split(sleepstudy, sleepstudy[["Subject"]]), function(own) sum(qr.resid(qr(Z), own[["Reaction"]])^2))) / (18 * 8)
S <- cov(lines)
at <- rbind(c(1, 1), c(2, 1), c(2, 2))
of_S <- outer(1:3, 1:3, Vectorize(function(a, b) {
  i <- at[a, ]; j <- at[b, ]
  (S[i[1], j[1]] * S[i[2], j[2]] + S[i[1], j[2]] * S[i[2], j[1]]) / 17
}))
# In nlme's parameter of the correlation, log((1 + r) / (1 - r)).
parameter <- function(x) {
  psi <- S - x[4] * V
  psi[at] <- x[1:3] - x[4] * V[at]
  r <- psi[2, 1] / sqrt(psi[1, 1] * psi[2, 2])
  log((1 + r) / (1 - r))
}
x <- c(S[at], s2)
slope <- sapply(1:4, function(i) { h <- 1e-6 * x[i] * (1:4 == i); (parameter(x + h) - parameter(x - h)) / (2e-6 * x[i]) })
exact <- sqrt(slope[1:3] %*% of_S %*% slope[1:3] + slope[4]^2 * 2 * s2^2 / (18 * 8))[1]

error <- function(fit) sqrt(diag(fit[["apVar"]]))[[3]]
# The mend: steps that are not lost in rounding where a parameter is near zero.
wider <- update(fit, control = lmeControl(.relStep = 1e-4, minAbsParApVar = 1))
cat(sprintf("error of log((1 + r) / (1 - r)): exact %.3f\n", exact))
cat(sprintf("by nlme's own steps: off by more than 5 %%: %s\n", if (abs(error(fit) / exact - 1) > 0.05) "yes" else "no"))
cat(sprintf("mended, by wider steps: %.3f\n", error(wider)))
cat(sprintf('{"off": %.6g, "off_mended": %.6g}\n', error(fit) / exact - 1, error(wider) / exact - 1))
