"""rpy2 makes text of a pandas column of integers that R's integers cannot hold."""

import json
import warnings

import pandas as pd
import rpy2.robjects as ro
from rpy2.robjects import pandas2ri
from rpy2.robjects.conversion import localconverter

table = pd.DataFrame({"micrograms": [10, 2**31 + 5, 2**32 + 7]})


def kind(frame):
    with localconverter(ro.default_converter + pandas2ri.converter):
        converted = ro.conversion.get_conversion().py2rpy(frame)
    return ro.r("function(frame) class(frame[[1]])")(converted)[0]


with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    given = kind(table)
warned = any("micrograms" in str(told.message) for told in said)
print(f"a column of {table.dtypes.iloc[0]} is {given} in R; warned: {'yes' if warned else 'no'}")
# The mend: doubles, which hold every integer up to 2**53.
mended = kind(table.astype(float))
print(f"mended, as doubles: {mended}")
print(
    json.dumps(
        {"text": float(given == "character"), "warned": float(warned), "text_mended": float(mended == "character")}
    )
)
