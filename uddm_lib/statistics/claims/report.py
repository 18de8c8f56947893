"""Verdicts in short: folded over values and sizes, counted, and as Markdown."""

import pandas as pd

from uddm_lib.statistics.claims.evaluation import CLAIMS

__all__ = ["VERDICTS", "counts", "folded", "markdown"]

VERDICTS = ["does not hold", "undecided", "holds", "not tested"]  # the first that is there decides


def folded(table: pd.DataFrame) -> pd.DataFrame:
    """A verdict per claim, corpus and model size: ``corpus, size, name, verdict``.

    Args:
        table: of :func:`uddm_lib.statistics.claims.evaluate`.
    """
    groups = table.groupby(["corpus", "size", "name"], sort=False)["verdict"]
    return groups.agg(_first_verdict).reset_index()


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """How many claims have each verdict, by corpus and model size.

    Args:
        table: of :func:`uddm_lib.statistics.claims.evaluate`.
    """
    by_size = folded(table).groupby(["corpus", "size", "verdict"], sort=False).size()
    found = by_size.unstack(fill_value=0)
    return found.reindex(columns=VERDICTS, fill_value=0).rename_axis(columns=None)


def markdown(table: pd.DataFrame, brief: bool = False) -> str:
    """The verdicts as a Markdown table: a row per claim, a column per corpus.

    What was measured is given for the value that decides: of those with the verdict, the one
    nearest to its bound or farthest outside.

    Args:
        table: of :func:`uddm_lib.statistics.claims.evaluate`.
        brief: leave out what was measured, its bounds, and where the paper says it.
    """
    corpora = list(table["corpus"].unique())
    head = ["claim"] if brief else ["claim", "paper", "what must be so"]
    rows = [[*head, *corpora], ["---"] * (len(head) + len(corpora))]
    names = [claim.name for claim in CLAIMS]
    order = {name: i for i, name in enumerate(dict.fromkeys([*names, *table["name"]]))}
    for _, of_claim in table.groupby(table["name"].map(order)):
        first, cells = of_claim.iloc[0], dict.fromkeys(corpora, "")
        bounds: list[str] = []
        for corpus, part in of_claim.groupby("corpus", sort=False):
            row = _deciding(part)
            cells[corpus] = _verdicts(part, "" if brief else f": {_measured(row)}")
            bounds.append(f"{row['statistic']} ({row['unit']}) {row['bound']}")
        bound = "; ".join(dict.fromkeys(bounds))
        described = [first["claim"], first["source"], bound][: len(head)]
        rows.append([*described, *cells.values()])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _first_verdict(verdicts: pd.Series) -> str:
    """The verdict of several: the first of ``VERDICTS`` that is among them."""
    return next(verdict for verdict in VERDICTS if (verdicts == verdict).any())


def _verdicts(part: pd.DataFrame, measured: str) -> str:
    """The verdict of a claim on a corpus, or those of the sizes where they differ.

    What was ``measured`` stands behind the first one, which it decides.
    """
    by_size = folded(part)
    found = [verdict for verdict in VERDICTS if (by_size["verdict"] == verdict).any()]
    sizes = by_size.groupby("verdict")["size"].agg(", ".join)
    texts = [f"**{verdict}**" + f" ({sizes[verdict]})" * (len(found) > 1) for verdict in found]
    return "; ".join([texts[0] + measured, *texts[1:]])


def _deciding(part: pd.DataFrame) -> pd.Series:
    """The row that decides about a claim on a corpus."""
    rows = part[part["verdict"] == _first_verdict(part["verdict"])]
    if rows["verdict"].iloc[0] == "not tested":
        return rows.iloc[0]
    return rows.iloc[rows.apply(_margin, axis=1).argmin()]


def _measured(row: pd.Series) -> str:
    """What was measured, with its interval and where; or why nothing was."""
    if row["verdict"] == "not tested":
        return row["reason"]
    value, low, high = (f"{round(row[name], 2) + 0:.2f}" for name in ("measured", "low", "high"))
    where = [row["size"], *([row["part"]] if row["part"] else [])]
    return f"{value} [{low}, {high}] ({', '.join(where)})"


def _margin(row: pd.Series) -> float:
    """How far a value lies inside of its range; negative outside."""
    words, measured = row["bound"].split(), float(row["measured"])
    if words[0] == ">":
        return measured - float(words[1])
    if words[0] == "<":
        return float(words[1]) - measured
    return min(measured - float(words[1]), float(words[3]) - measured)
