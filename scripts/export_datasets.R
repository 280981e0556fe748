# How each CSV in datasets/ left its R package.
#
#   Rscript --vanilla scripts/export_datasets.R [OUTPUT]
#
# Reads `source = "package::name"` from every datasets/*/dataset.toml and writes OUTPUT/<id>/<id>.csv (OUTPUT defaults to
# datasets/). All columns and rows, in the package's order; factors as their labels (the order of the levels stands in
# dataset.toml); numbers in the shortest decimal form that reads back as the same double; missing values as empty fields.

arguments <- commandArgs(trailingOnly = FALSE)
script <- sub("^--file=", "", grep("^--file=", arguments, value = TRUE))
datasets <- file.path(dirname(dirname(normalizePath(script))), "datasets")
output <- c(commandArgs(trailingOnly = TRUE), datasets)[1]

shortest <- function(x) {
  text <- format(x, digits = 15, trim = TRUE)
  for (digits in 1:17) {
    candidate <- vapply(x, formatC, "", digits = digits, format = "g", width = 1)
    todo <- if (digits == 1) rep(TRUE, length(x)) else !exact
    text[todo] <- candidate[todo]
    exact <- is.na(x) | suppressWarnings(as.numeric(text)) == x
    if (all(exact)) break
  }
  # No exponents for numbers of everyday size: a spreadsheet user reads this file too.
  plain <- !is.na(x) & grepl("e", text) & abs(x) < 1e15 & abs(x) >= 1e-4
  text[plain] <- vapply(x[plain], function(value) {
    format(value, digits = 15, scientific = FALSE, trim = TRUE)
  }, "")
  text[is.na(x)] <- ""
  text
}

field <- function(column) {
  if (is.numeric(column)) return(shortest(as.numeric(column)))
  if (is.logical(column)) return(ifelse(is.na(column), "", ifelse(column, "true", "false")))
  text <- enc2utf8(as.character(column))
  quoted <- grepl("[\",\n\r]", text) | text == ""
  text[quoted] <- paste0("\"", gsub("\"", "\"\"", text[quoted]), "\"")
  text[is.na(column)] <- ""
  text
}

for (toml in sort(Sys.glob(file.path(datasets, "*", "dataset.toml")))) {
  line <- grep("^source *= *\"", readLines(toml, encoding = "UTF-8"), value = TRUE)
  origin <- regmatches(line, regexec("^source *= *\"([A-Za-z0-9.]+)::([A-Za-z0-9._]+)\"", line))[[1]]
  if (length(origin) != 3) stop(toml, ": source must read \"package::name\"", call. = FALSE)
  room <- new.env()
  suppressWarnings(data(list = origin[3], package = origin[2], envir = room))
  if (!exists(origin[3], room, inherits = FALSE)) {
    stop(toml, ": package ", origin[2], " has no data set ", origin[3], call. = FALSE)
  }
  table <- as.data.frame(get(origin[3], room))
  id <- basename(dirname(toml))
  file <- file.path(output, id, paste0(id, ".csv"))
  dir.create(dirname(file), recursive = TRUE, showWarnings = FALSE)
  rows <- do.call(paste, c(lapply(table, field), sep = ","))
  connection <- file(paste0(file, ".part"), "wb")
  writeLines(c(paste(field(names(table)), collapse = ","), rows), connection, sep = "\n", useBytes = TRUE)
  close(connection)
  invisible(file.rename(paste0(file, ".part"), file))
  cat(sprintf("%-12s %s::%s %s, %d rows\n", id, origin[2], origin[3], packageVersion(origin[2]), nrow(table)))
}
