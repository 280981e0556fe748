"""A call explained to a person: what is said and shown, the way back from lmer, the comparison, and the command."""

from __future__ import annotations

import ast
import io
import json
import re
import shlex
import warnings
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest

import concord
from concord.commands.cli import main
from concord.data import datasets
from concord.engines.calls import CallError
from concord.errors import InputError
from concord.likelihood.likelihood import Likelihood
from support.readme import blocks

CALL = 'smf.mixedlm("strength ~ 1", df, groups="batch", vc_formula={"cask": "0 + C(cask)"}).fit(reml=False)'


@pytest.fixture(scope="module")
def pastes():
    return datasets.load("pastes").frame


def test_a_call_is_said_in_the_words_of_both_packages(pastes):
    """The formula, how the call comes to it, that its columns are the formula's, R's code; then what was meant."""
    explained = concord.from_mixedlm(CALL, pastes)
    assert (explained.formula, explained.method) == ("strength ~ 1 + (1 | batch:cask)", "ML")
    assert explained.checked is True and explained.chosen == explained.formula
    said = repr(explained)
    for words in (
        "This call of MixedLM fits, in lme4's notation, by ML:",
        "re_formula is left out beside vc_formula: MixedLM then has no random intercept of batch",
        "are those of the formula, number by number",
        "lmer(strength ~ 1 + (1 | batch:cask), data = data, REML = FALSE)",
        "Probably meant:",
        "strength ~ 1 + (1 | batch) + (1 | cask)",
        "strength ~ 1 + (1 | batch) + (1 | batch:cask)",
        'groups=data["batch"], re_formula="1"',
    ):
        assert words in re.sub(r"\n +", " ", said), words
    shown = explained._repr_mimebundle_()
    assert shown["text/plain"] == said and "<pre><code>strength ~ 1" in shown["text/html"]
    assert "library(lme4)" in explained.listings.r


def test_what_is_shown_is_text_and_no_markup():
    named = concord.from_mixedlm('smf.mixedlm("y ~ Q(\'<b>\')", df, groups="<i>g")')
    assert "<b>" not in named._repr_mimebundle_()["text/html"].replace("<b>`", "")
    assert named.formula == "y ~ `<b>` + (1 | `<i>g`)"


def test_a_result_that_was_given_is_judged_with_the_others():
    """Beside the fits by the engines, against the optimum of its formula; without another table."""
    import statsmodels.formula.api as smf

    frame = datasets.load("sleepstudy").frame
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = smf.mixedlm("Reaction ~ Days", frame, groups="Subject", re_formula="~Days").fit(method="powell")
    explained = concord.from_mixedlm(result)
    assert explained.formula == "Reaction ~ Days + (1 + Days | Subject)" and explained.checked
    comparison = explained.compare()
    given = next(i for i, label in enumerate(comparison.labels) if "as given" in label)
    model = comparison.model
    top = Likelihood(model.design, True).optimum().loglik
    assert comparison.judgements[given].gap == pytest.approx(top - result.llf, rel=0, abs=1e-6)
    assert {"lme4 default", "statsmodels default"} <= set(comparison.labels)


LMER = {
    "lmer(y ~ x + (1|g), data = d, REML = FALSE)": ("y ~ x + (1 | g)", "ML", 'groups=data["g"]).fit(reml=False)'),
    "m <- lme4::lmer(y ~ x + (1 + x | g), d)": ("y ~ x + (1 + x | g)", "REML", 're_formula="~1 + x").fit(reml=True)'),
    "library(lme4)\nf <- y ~ x + (x || g)\nfit <- lmer(f, data = d, REML = F, control = lmerControl())": (
        "y ~ x + (x || g)",
        "ML",
        "np.eye(model.k_re)",
    ),
    "lmer(y ~ x + (1 | g), d, offset = o)": ("y ~ x + (1 | g) + offset(o)", "REML", '"I(y - o) ~ x"'),
    "lmer(y ~ x + (1 | g), d, weights = d$w)": ("y ~ x + (1 | g)", "REML", 'roots = np.sqrt(data["w"]'),
    "f <- y ~ z + (1|g)\nf <- y ~ x + (1|g)\nlmer(f, d)\nf <- y ~ 1 + (1|g)": (
        "y ~ x + (1 | g)",
        "REML",
        'groups=data["g"]).fit(reml=True)',
    ),
    "f <- 'y ~ x + (1 | g)'\nlmer(as.formula(f), d[d$x > 0, ], REML = 0)": (
        "y ~ x + (1 | g)",
        "ML",
        "the call takes d[d$x > 0, ], and what is said and compared here is of the whole table",
    ),
    "> m <- lmer(y ~ x +\n+   (1 | g), d)\n> summary(m)\nLinear mixed model": (
        "y ~ x + (1 | g)",
        "REML",
        'groups=data["g"]).fit(reml=True)',
    ),
    "lmer('y ~ x + (1 | a/b)', d)": ("y ~ x + (1 | a/b)", "REML", 'groups=data["a"], re_formula="1"'),
}


@pytest.mark.parametrize("code", LMER)
def test_a_call_of_lmer_gives_the_call_of_mixedlm(code):
    formula, method, call = LMER[code]
    explained = concord.explain(code)
    assert (explained.formula, explained.method) == (formula, method)
    assert call in repr(explained) and "In Python:" in repr(explained)


def test_what_mixedlm_cannot_express_has_the_nearest_formula_its_code_and_what_it_loses():
    """In an explanation, in a translation, and of a structure; the code of the nearest runs."""
    code = "lmer(y ~ x + (x | g) + (1 + x | h), data = d)"
    said = repr(concord.explain(code))
    nearest = "y ~ x + (1 | g) + (0 + x | g) + (1 | h) + (0 + x | h)"
    lost = "# lost by that: the correlations of the effects in (x | g) and (1 + x | h), which are independent there"
    assert nearest in said and lost in said and 'vc_formula={"g": "0 + C(g)"' in said
    listing = concord.translate("y ~ x + (x | g) + (1 + x | h)")
    assert lost in listing.python and listing.python.rstrip().endswith("print(fit.summary())")
    structured = repr(concord.explain("lmer(y ~ x + ar1(0 + x + z | g), d)"))
    assert "lost by that: the structure of ar1(0 + x + z | g)" in structured and 're_formula="~0 + x + z"' in structured


def test_the_code_of_the_nearest_fits_the_nearest():
    """Its log-likelihood is one of the nearest formula's, and not above that formula's optimum."""
    import statsmodels.formula.api as smf

    frame = datasets.load("penicillin").frame.assign(x=lambda table: np.arange(len(table)) % 5 + 0.5)
    explained = concord.explain("lmer(diameter ~ x + (x | plate) + (1 | sample), d, REML = FALSE)", frame)
    code = concord.translate(explained.formula, frame, "ML").python
    *_, fit = (line for line in code.splitlines() if line.startswith("fit = "))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = eval(fit.removeprefix("fit = "), {"smf": smf, "np": np, "data": frame})
    nearest = explained.model("diameter ~ x + (1 | plate) + (0 + x | plate) + (1 | sample)")
    fitted = concord.engines.statsmodels.from_native(result, nearest)
    likelihood = Likelihood(nearest.design, False)
    assert likelihood.loglik(fitted.parameters) == pytest.approx(result.llf, rel=0, abs=1e-6)


def printed(said: str) -> list[str]:
    """The pieces of code that are shown, without their margin."""
    blocks = re.findall(r"(?:^ {4}.*\n(?:\n(?= {4}))?)+", said + "\n", re.MULTILINE)
    return [re.sub(r"^ {4}", "", block, flags=re.MULTILINE).strip() for block in blocks]


def test_what_is_printed_runs_says_whether_the_own_search_arrives_and_how_to_go_on(tmp_path, capsys, monkeypatch):
    """Of a search that is stopped at once: held to MixedLM's own log-likelihood, and to the command that is printed."""
    import statsmodels.formula.api as smf

    monkeypatch.chdir(tmp_path)
    (tmp_path / "given").mkdir()
    frame = datasets.load("sitka").frame
    frame.to_csv("given/sitka.csv", index=False)
    call = 'smf.mixedlm("size ~ Time", df, groups="tree", vc_formula={"t": "0 + Time"}).fit(method="powell", maxiter=1)'
    assert main(["explain", call, "given/sitka.csv"]) == 1
    said = capsys.readouterr().out
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stopped, through = (eval(text, {"smf": smf, "df": frame}) for text in (call, call.replace(", maxiter=1", "")))
    below = f"{through.llf - stopped.llf:.2g}"
    assert f"(method='powell', maxiter=1) ends {below} log-likelihood units below the optimum: short, warned." in said
    codes = printed(said)
    for formula in ("size ~ Time + (0 + Time | tree)", "size ~ Time + (1 | tree) + (0 + Time | tree)"):
        assert f'concord compare given/sitka.csv "{formula}"' in codes
    (python,) = (code for code in codes if code.startswith("import"))
    assert "np.eye" in python
    room: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(python, room)
    assert room["fit"].llf > through.llf


def test_without_a_table_the_code_imports_what_it_calls():
    said = repr(concord.explain("lmer(y ~ x + (1 + x || g), d, REML = FALSE)"))
    (code,) = (block for block in printed(said) if "smf." in block)
    names = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
    imported = {one.asname or one.name for node in ast.parse(code).body for one in getattr(node, "names", ())}
    assert names - imported == {"data", "model", "free"} and {"np", "smf", "MixedLMParams"} <= imported
    assert 'concord compare TABLE "y ~ x + (1 + x || g)" --method ML' in said


BARS = {
    'smf.mixedlm("y ~ x + (1 | n)", df, groups="n")': "patsy reads '1 | n' as Python's bitwise or of whole numbers",
    'smf.mixedlm("y ~ x + (1 + x | g)", df, groups="g")': "'x | g' as Python's bitwise or, and the call stops",
    'smf.mixedlm("y ~ x + (1 | g)", df)': "the call has no groups=, without which MixedLM stops",
    'smf.mixedlm("y ~ x + (1 || g)", df, groups="g")': "|| is no operator of Python's, and the call stops",
}


@pytest.mark.parametrize("code", BARS)
def test_of_bars_it_is_said_what_they_are_to_mixedlm(code):
    """MixedLM does just that: one more column, or an error; and both packages' code of what was meant is shown."""
    import statsmodels.formula.api as smf

    frame = pd.DataFrame({"y": np.arange(8.0) ** 1.5, "x": np.arange(8.0) % 3, "n": [1, 2] * 4, "g": list("aabbaabb")})
    explained = concord.explain(code, frame)
    said = re.sub(r"\n +", " ", repr(explained))
    assert BARS[code] in said and "This call of MixedLM is not what its formula would be in lme4" in said
    assert "lme4 cannot" not in said and "smf.mixedlm(" in said and "lmer(" in said
    if "stops" in BARS[code]:
        with pytest.raises(Exception):  # noqa: B017 - of whatever kind
            eval(code, {"smf": smf, "df": frame})
    else:
        assert eval(code, {"smf": smf, "df": frame}).exog_names[-1] == "1 | n"


MISSPELT = {
    'smf.mixedlm("y ~ x", df, group="g")': "no argument group: did you mean groups?",
    'smf.mixedlm("y ~ x", df, groups="g", re_fomula="~x")': "no argument re_fomula: did you mean re_formula?",
    'smf.mixedlm("y ~ x", df, groups="g", vc_formulas={})': "no argument vc_formulas: did you mean vc_formula?",
    'smf.mixedlm("y ~ x", df, groups="g", use_sqr=False)': "no argument use_sqr: did you mean use_sqrt?",
    "sm.MixedLM(df.y, df.x, groups=df.g, exog_res=df.x)": "no argument exog_res: did you mean exog_re?",
    'smf.mixedlm("y ~ x", df, groups="g").fit(methods="powell")': "fit has no argument methods: did you mean method?",
    'smf.mixedlm("y ~ x", df, groups="g").fit(REML=False)': "fit has no argument REML: did you mean reml?",
    'smf.mixedlm("y ~ x", df, groups="g").fit(max_iter=9)': "fit has no argument max_iter: did you mean maxiter?",
    "lmer(y ~ x + (1 | g), d, wieghts = w)": "did you mean weights?",
}


@pytest.mark.parametrize("code", MISSPELT)
def test_a_misspelt_argument_is_told_its_name(code):
    with pytest.raises(CallError, match=re.escape(MISSPELT[code])):
        concord.explain(code)


def test_a_misspelt_argument_of_from_mixedlm_is_told_its_name():
    with pytest.raises(CallError, match=re.escape("no argument group: did you mean groups?")):
        concord.from_mixedlm("y ~ x", group="g")


REFUSED = {
    "y ~ x + (1 | g)": "no call of MixedLM or lmer in 'y ~ x + (1 | g)': concord translate takes a formula alone",
    "glmer(y ~ x + (1 | g), d, family = binomial)": "glmer is none of the calls that are explained here",
    "lmer(y ~ x + (1 | g), d, subset = x > 0)": "subset the table first",
    "lmer(y ~ x + (1 | g), d, REML = maybe)": "REML is maybe: expected TRUE or FALSE",
    "lmer(y ~ x + (1 | g)": "the code does not parse as R",
    "lmer(y ~ x + (1 | g), d, nonsense = 1)": "lmer does not take these arguments",
    "lmer(y ~ system('true') + (1 | g), d)": "system may not stand in a formula",
    "lmer(y ~ x + (1 | g), d, weights = 1 / v)": "weights = 1/v is no column",
    "lmer(data = d)": "the call has no formula",
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_cannot_be_explained_is_one_line(code, capsys):
    assert main(["explain", code]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and REFUSED[code] in err


def test_code_of_r_is_not_run(tmp_path):
    marker = tmp_path / "ran"
    for code in (
        f"file.create('{marker}'); lmer(y ~ x + (1 | g), d)",
        f"lmer(y ~ x + (1 | g), file.create('{marker}'))",
        f"lmer(formula = {{file.create('{marker}'); y ~ x + (1 | g)}})",
        f"lmer(y ~ file.create('{marker}') + (1 | g), d)",
    ):
        with suppress(InputError):
            repr(concord.explain(code))
        assert not marker.exists()


def test_the_command_explains_and_compares(tmp_path, capsys, monkeypatch, pastes):
    """A call with its table, options in its place, a file, the standard input, and no comparison on demand."""
    pastes.to_csv(tmp_path / "pastes.csv", index=False)
    table = str(tmp_path / "pastes.csv")
    options = ["--formula", "strength ~ 1", "--groups", "batch", "--vc-formula", "cask=0 + C(cask)", "--method", "ML"]
    assert main(["explain", *options, table]) == 0
    said = capsys.readouterr().out
    assert "strength ~ 1 + (1 | batch:cask)\n" in said and "pastes-model, ML, default settings: agree" in said
    (tmp_path / "call.py").write_text(f"import statsmodels.formula.api as smf\nfit = {CALL}\n", encoding="utf-8")
    blocks = ["--formula", "y ~ x", "--groups", "a:b", "--re-formula", "~x + z", "--free", "110/110/001"]
    assert main(["explain", *blocks]) == 0
    said_of_blocks = capsys.readouterr().out
    assert "y ~ x + (1 + x | a:b) + (0 + z | a:b)" in said_of_blocks and 'groups=data["a_b"]' in said_of_blocks
    monkeypatch.setattr("sys.stdin", io.StringIO(CALL))
    alone = []
    for given in (CALL, str(tmp_path / "call.py"), "-"):
        assert main(["explain", given, table, "--no-compare"]) == 0
        alone.append(capsys.readouterr().out)
    assert len(set(alone)) == 1 and alone[0].strip() == said.partition("\n\npastes-model")[0].strip()


SCRIPT = """
# a study
import statsmodels.formula.api as smf
model = smf.mixedlm("size ~ Time", df, groups="tree")
one = model.fit()
two = model.fit(
    method="powell", reml=False)
for formula in formulas:
    smf.mixedlm(formula, df, groups="tree")
last = smf.mixedlm("size ~ Time", df, groups="tree",
                   re_formula="~Time").fit()
"""
DOCUMENT = """
```{r, echo = FALSE}
library(lme4)
f <- size ~ Time + (1 | tree); lmer(f, d, REML = FALSE)
f <- size ~ 1 + (1 | tree)
m <- lmer(
  f, d)
```
```
lmer(no code)
```
```{python}
smf.mixedlm("size ~ 1", d, groups="tree")
```
"""


def cell(*lines: str) -> dict:
    return {"cell_type": "code", "source": [f"{line}\n" for line in lines]}


NOTEBOOK = [cell("%matplotlib inline", "import x"), {"cell_type": "markdown", "source": "smf.mixedlm(1)"}]
NOTEBOOK += [cell("%%R -i d", "m <- lmer(size ~ Time + (1 | tree), d)"), cell("%%bash", "lmer(")]
NOTEBOOK += [cell("!ls", "%time 1", 'm = sm.MixedLM.from_formula("size ~ 1", d, groups="tree")', "m.fit()")]
FILES = {
    "study.py": (
        SCRIPT,
        {
            "line 5": "size ~ Time + (1 | tree)",
            "line 6": "size ~ Time + (1 | tree)",
            "line 9": "cannot be explained: formula is formula, which is no text",
            "line 10": "size ~ Time + (1 + Time | tree)",
        },
    ),
    "report.Rmd": (
        DOCUMENT,
        {"line 4": "size ~ Time + (1 | tree)", "line 6": "size ~ 1 + (1 | tree)", "line 13": "size ~ 1 + (1 | tree)"},
    ),
    "book.ipynb": (
        json.dumps({"cells": NOTEBOOK, "metadata": {"kernelspec": {"name": "python3"}}}),
        {"code cell 2, line 2": "size ~ Time + (1 | tree)", "code cell 4, line 3": "size ~ 1 + (1 | tree)"},
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_every_call_in_a_file_is_explained_with_its_line(name, tmp_path, capsys):
    text, wanted = FILES[name]
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    assert main(["explain", str(file)]) == (2 if "cannot" in str(wanted) else 0)
    said = capsys.readouterr().out
    parts = re.split(rf"^{re.escape(str(file))}, (.*)$", said, flags=re.MULTILINE)[1:]
    told = dict(zip(parts[::2], parts[1::2], strict=True))
    assert list(told) == list(wanted)
    for place, words in wanted.items():
        assert words in told[place]
        assert words.startswith("cannot") or f'concord compare TABLE "{words}"' in told[place]
    if name == "study.py":
        assert "by ML" in told["line 6"] and "method='powell' is another search" in told["line 6"]


@pytest.mark.parametrize(
    ("name", "text"), [("a.ipynb", "[]"), ("a.ipynb", "{"), ("a.py", "x = 1"), ("a.R", "lmer(y"), ("a.py", "\xe9")]
)
def test_a_file_without_a_call_that_can_be_read_is_one_line(name, text, tmp_path, capsys):
    (tmp_path / name).write_text(text, encoding="latin-1")
    assert main(["explain", str(tmp_path / name)]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and "Error" not in err


def test_readme_shows_what_comes_out(capsys):
    (shown,) = (block for block in blocks("console") if block.startswith("$ concord explain"))
    command, _, output = shown.removeprefix("$ concord ").partition("\n")
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr().out == output


def test_translate_takes_a_call_too(capsys):
    assert main(["translate", "lmer(y ~ x + (1 | g), data = d, REML = FALSE)"]) == 0
    called = capsys.readouterr().out
    assert main(["translate", "y ~ x + (1 | g)", "--method", "ML"]) == 0
    assert called == capsys.readouterr().out and "reml=False" in called


def test_a_result_of_a_dict_has_its_table():
    import statsmodels.formula.api as smf

    frame = datasets.load("sleepstudy").frame
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = smf.mixedlm("Reaction ~ Days", dict(frame.astype({"Subject": str})), groups=frame["Subject"])
    assert concord.from_mixedlm(made).formula == "Reaction ~ Days + (1 | Subject)"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "expected a call"),
        (["--groups", "g"], "together with --formula"),
        (["--formula", "y ~ x"], "--groups is missing"),
        (["--formula", "y ~ x", "--groups", "g", "a.csv", "b.csv"], "expected a table"),
        (["--formula", "y ~ x", "--groups", "g", "--free", "12/01"], "expected diagonal, or rows of 0 and 1"),
        (["--formula", "y ~ x", "--groups", "g:"], "--groups g:: a name is missing"),
        (["--formula", "y ~ x", "--groups", "g", "--vc-formula", "=0 + C(h)"], "name is missing before the sign ="),
        (["nothing.py"], "nothing.py: there is no such file"),
        ([CALL, "nothing.csv"], "nothing.csv"),
    ],
)
def test_the_command_refuses_in_one_line(given, words, capsys):
    assert main(["explain", *given]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and words in err


def test_python_gives_what_the_options_give(pastes):
    """Arguments as statsmodels has them, a pattern of free, several columns, and arrays."""
    by_name = concord.from_mixedlm(
        "strength ~ 1", pastes, groups="batch", vc_formula={"cask": "0 + C(cask)"}, reml=False
    )
    assert repr(by_name) == repr(concord.explain(CALL, pastes))
    assert concord.from_mixedlm("strength ~ 1", pastes, groups="batch", method="ML").method == "ML"
    shared = concord.from_mixedlm("strength ~ 1", pastes, groups="batch", re_formula="1", vc_formula={"c": "C(cask)"})
    assert "lme4 cannot express this call of MixedLM: vc_formula 'c'" in repr(shared)
    several = concord.from_mixedlm("strength ~ 1", pastes, groups=["batch", "cask"])
    assert several.formula is None and several.chosen == "strength ~ 1 + (1 | batch) + (1 | cask)"
    assert "MixedLM takes one grouping column, and stops at 2" in several.problem and "does not run" in repr(several)
    ones = np.ones((len(pastes), 1))
    arrays = concord.from_mixedlm(pastes["strength"], ones, groups=pastes["batch"], exog_re=ones)
    assert arrays.formula == "strength ~ 1 + (1 | batch)" and arrays.checked
    with pytest.raises(CallError, match="no call of MixedLM or lmer in int"):
        concord.from_mixedlm(3)
    with pytest.raises(CallError, match="there is no table to compare on"):
        concord.from_mixedlm(CALL).compare()


def test_what_the_table_cannot_carry_was_not_meant(pastes):
    """As many groups as rows, and two random terms of the same groups: such formulas are not offered."""
    rows = pastes.assign(row=[f"r{i % 6}" for i in range(len(pastes))])
    code = 'smf.mixedlm("strength ~ 1", df, groups="batch", vc_formula={"row": "0 + C(row)"})'
    assert [one.formula for one in concord.explain(code).meant] == [
        "strength ~ 1 + (1 | batch) + (1 | row)",
        "strength ~ 1 + (1 | batch) + (1 | batch:row)",
    ]
    assert [one.formula for one in concord.explain(code, rows).meant] == ["strength ~ 1 + (1 | batch) + (1 | row)"]


def test_crossed_factors_leave_the_groups_own_effects_as_they_are():
    """An intercept that is among them already is no term of its own once more."""
    call = 'smf.mixedlm("y ~ x", df, groups="id", re_formula="~{}", vc_formula={{"batch": "0 + C(batch)"}})'
    for columns, own in (("x", "(1 + x | id)"), ("1", "(1 | id)"), ("0 + x", "(1 | id) + (0 + x | id)")):
        meant = concord.explain(call.format(columns)).meant
        assert [one.formula for one in meant] == [f"y ~ x + {own} + (1 | batch)"]
