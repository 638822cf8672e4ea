"""Compares what two programs find about the same configs: the order of the losses, and which points cost too much."""

import math
import statistics

# In percentage points of top-1; a point above it is one that a person would not lower.
DROP_LIMIT = 1.0


def paired(answers, results):
    """What both give for the same configs; answers by point (none is the baseline), results in the order of points."""
    baseline = answers[None]
    rows = []
    for point in sorted(point for point in answers if point is not None):
        answer, result = answers[point], results[point]
        count = result["n"]
        rows.append({
            "point": result["lowered"][0]["point"],
            "bitloop": {"loss_increase": result["loss_increase"],
                        "drop": percent(result["lost"] - result["gained"], count)},
            "aimet": {"loss_increase": answer["loss"] - baseline["loss"],
                      "drop": percent(baseline["correct"] - answer["correct"], count)}})
    first = results[0]
    correct = first["correct"] + first["lost"] - first["gained"]
    return {"configs": rows,
            "baseline": {"bitloop": {"loss": first["loss"] - first["loss_increase"], "top1": percent(correct, first["n"])},
                         "aimet": {"loss": baseline["loss"], "top1": percent(baseline["correct"], first["n"])}}}


def percent(part, count):
    return 100 * part / count


def summary(compared):
    """How alike the decisions are."""
    rows = compared["configs"]
    above = {name: {row["point"] for row in rows if row[name]["drop"] > DROP_LIMIT} for name in ("bitloop", "aimet")}
    return {
        "configs": len(rows),
        "spearman": spearman(*([row[name]["loss_increase"] for row in rows] for name in ("bitloop", "aimet"))),
        "above": {name: sorted(points) for name, points in above.items()},
        "above_in_one": sorted(above["bitloop"] ^ above["aimet"]),
        "difference_max": max(abs(row["bitloop"]["drop"] - row["aimet"]["drop"]) for row in rows),
    }


def spearman(first, second):
    """Spearman's rank correlation; equal values share the mean of their ranks. NaN where all values are equal."""
    if min(len(set(first)), len(set(second))) < 2:
        return math.nan
    return statistics.correlation(ranks(first), ranks(second))


def ranks(values):
    ascending = sorted(values)
    return [ascending.index(value) + (ascending.count(value) - 1) / 2 for value in values]
