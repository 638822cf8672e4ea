"""Compares what two evaluations find about the same configs: the order of the losses, and which points cost too much."""

import math
import statistics

# In percentage points of top-1; a point above it is one that a person would not lower.
DROP_LIMIT = 1.0


def of_bitloop(results, points):
    """Loss and drop of some points of a single sweep, and the baseline that they are relative to."""
    first = results[0]
    return {
        "baseline": {"loss": first["loss"] - first["loss_increase"],
                     "top1": percent(first["correct"] + first["lost"] - first["gained"], first["n"])},
        "configs": {results[point]["lowered"][0]["point"]: {
            "loss_increase": results[point]["loss_increase"],
            "drop": percent(results[point]["lost"] - results[point]["gained"], results[point]["n"])} for point in points}}


def of_rival(answers, names, images):
    """The same of a rival's answers by point, of which none is the baseline."""
    baseline = answers[None]
    return {
        "baseline": {"loss": baseline["loss"], "top1": percent(baseline["correct"], images)},
        "configs": {names[point]: {"loss_increase": answer["loss"] - baseline["loss"],
                                   "drop": percent(baseline["correct"] - answer["correct"], images)}
                    for point, answer in answers.items() if point is not None}}


def percent(part, count):
    return 100 * part / count


def agreement(one, other):
    """How alike the decisions are; both must be about the same configs."""
    points = sorted(one["configs"])
    losses = [[found["configs"][point]["loss_increase"] for point in points] for found in (one, other)]
    above = [{point for point in points if found["configs"][point]["drop"] > DROP_LIMIT} for found in (one, other)]
    return {
        "configs": len(points),
        "spearman": spearman(*losses),
        "above": [sorted(each) for each in above],
        "above_in_one": sorted(above[0] ^ above[1]),
        "drop_difference_max": max(abs(one["configs"][point]["drop"] - other["configs"][point]["drop"]) for point in points),
        "loss_difference_median": statistics.median(abs(a - b) for a, b in zip(*losses)),
    }


def spearman(first, second):
    """Spearman's rank correlation; equal values share the mean of their ranks. NaN where all values are equal."""
    if min(len(set(first)), len(set(second))) < 2:
        return math.nan
    return statistics.correlation(ranks(first), ranks(second))


def ranks(values):
    ascending = sorted(values)
    return [ascending.index(value) + (ascending.count(value) - 1) / 2 for value in values]
