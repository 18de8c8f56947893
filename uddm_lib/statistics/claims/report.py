"""Verdicts in short: folded over values and sizes, counted, and as Markdown."""

import pandas as pd

__all__ = ["counts", "markdown"]

VERDICTS = ["does not hold", "undecided", "holds", "not tested"]  # the first that is there decides


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """How many claims have each verdict, by corpus and model size.

    Args:
        table: of :func:`uddm_lib.statistics.claims.evaluate`.
    """
    folded = _of_sizes(table)
    found = folded.groupby(["corpus", "size", "verdict"], sort=False).size().unstack(fill_value=0)
    return found.reindex(columns=VERDICTS, fill_value=0).rename_axis(columns=None)


def markdown(table: pd.DataFrame) -> str:
    """The verdicts as a Markdown table: a row per claim and corpus.

    What was measured is given for the value that decides: of those with the verdict, the one
    nearest to its bound or farthest outside.

    Args:
        table: of :func:`uddm_lib.statistics.claims.evaluate`.
    """
    lines = ["| claim | paper | corpus | verdict | decided by |", "|---|---|---|---|---|"]
    for _, of_claim in table.groupby("name", sort=False):
        first = of_claim.iloc[0]
        begin = f"| {first['claim']} | {first['source']} "
        for corpus, part in of_claim.groupby("corpus", sort=False):
            lines.append(f"{begin}| {corpus} | {_verdicts(part)} | {_decided_by(part)} |")
            begin = "| | "
    return "\n".join(lines)


def _first_verdict(verdicts: pd.Series) -> str:
    """The verdict of several: the first of ``VERDICTS`` that is among them."""
    return next(verdict for verdict in VERDICTS if (verdicts == verdict).any())


def _of_sizes(table: pd.DataFrame) -> pd.DataFrame:
    """A verdict per claim, corpus and size."""
    groups = table.groupby(["corpus", "size", "name"], sort=False)["verdict"]
    return groups.agg(_first_verdict).reset_index()


def _verdicts(part: pd.DataFrame) -> str:
    """The verdict of a claim on a corpus, or those of the sizes where they differ."""
    folded = _of_sizes(part)
    found = [verdict for verdict in VERDICTS if (folded["verdict"] == verdict).any()]
    if len(found) == 1:
        return f"**{found[0]}**"
    sizes = folded.groupby("verdict")["size"].agg(", ".join)
    return "; ".join(f"**{verdict}** ({sizes[verdict]})" for verdict in found)


def _decided_by(part: pd.DataFrame) -> str:
    """The row that decides: its statistic, value, interval and bound."""
    rows = part[part["verdict"] == _first_verdict(part["verdict"])]
    if rows["verdict"].iloc[0] == "not tested":
        return str(rows["reason"].iloc[0])
    row = rows.iloc[rows.apply(_margin, axis=1).argmin()]
    value, low, high = (f"{row[name]:.2f}" for name in ("measured", "low", "high"))
    size = f"{row['size']}, " if part["size"].nunique() > 1 else ""
    return f"{size}{row['statistic']}: {value} [{low}, {high}], bound {row['bound']} {row['unit']}"


def _margin(row: pd.Series) -> float:
    """How far a value lies inside of its range; negative outside."""
    first, last = row["bound"].split()[0], float(row["bound"].split()[-1])
    if first == ">":
        return row["measured"] - last
    if first == "<":
        return last - row["measured"]
    return min(row["measured"] - float(first), last - row["measured"])
