# nlme without fixed effects: the last group's random effects are divided once too often.
suppressMessages(library(nlme))
table <- transform(as.data.frame(Rail), y = travel - mean(travel))
fit <- lme(y ~ 0, table, random = ~ 1 | Rail)
residual <- fit[["sigma"]]^2
variance <- as.numeric(getVarCov(fit))
stated <- setNames(ranef(fit)[[1]], rownames(ranef(fit)))
# What the model's own estimates give: every group's sum, shrunken.
sums <- tapply(table[["y"]], table[["Rail"]], sum)[names(stated)]
count <- 3
right <- sums * variance / (residual + count * variance)
last <- length(right)
off <- stated / right - 1
# The mend: undo the second division, by the last group's entry of the triangular factor.
mended <- stated[[last]] * sqrt(count + residual / variance) / right[[last]] - 1
cat("ranef(fit): ", sprintf("%9.4f", stated), "\n")
cat("by the model:", sprintf("%8.4f", right), "\n")
cat("fitted values of the last group:", sprintf("%.4f", fitted(fit)[names(fitted(fit)) == names(right)[[last]]]), "\n")
cat(sprintf('{"off_last": %.10g, "off_others": %.10g, "off_mended": %.10g}\n', off[[last]], max(abs(off[-last])), mended))
