# A table as R's anova() prints it: `table` with the columns of lme4's, `names` of the models, and the lines above.
anova_text <- function(table, names, heading) {
  row.names(table) <- names
  paste(capture.output(print(structure(table, heading = heading, class = c("anova", "data.frame")))), collapse = "\n")
}
