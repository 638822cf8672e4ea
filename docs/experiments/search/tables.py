"""Markdown tables of what searches found."""

import math
import statistics

from reports import cost_share, interval, searches, uniform, verified

ALIKE = "all points alike"
# Standard errors from the middle to the end of a 95 % interval.
NORMAL_95 = 1.96
WORDS = ["limit", "predictor", "objective", "widths"]


def all_tables(splits, cost):
    """The tables of the first split, and the means over splits where there are several."""
    first = next(iter(splits.values()))
    parts = [introduction(first[0]), chosen(first, cost), "Predicted and measured on the selection images:",
             predictions(first)]
    if len(splits) > 1:
        parts += [f"Means over {len(splits)} splits of the images, smallest and largest in brackets:",
                  means(splits, cost)]
    return "\n\n".join(parts) + "\n"


def introduction(report):
    on_report, baseline = report["verified"], report["baseline"]
    return (f"Baseline: {report['baseline_bits']} bits, top-1 {100 * baseline['top1']:.2f} % of {baseline['n']} selection "
            f"images and {100 * on_report['baseline']['top1']:.2f} % of {on_report['images']} report images "
            f"(float: {100 * on_report['float']['top1']:.2f} %).")


def chosen(reports, cost):
    """The first rank of every search, and uniform widths, by cost limit."""
    rows = []
    for report in reports:
        for search in searches(report):
            best = search["top"][0]
            ranks = verified(search)
            rows.append((order(search), [
                *words(search), f"{search['swept']} + {search['trials']}", str(len(best["changes"])),
                f"{cost_share(best, report, cost):.2f} %", points(best["result"]), points(ranks[0][1]["verified"]),
                nats(ranks[0][1]["verified"]),
                ", ".join(f"{interval(row['verified'], 'top1_drop')[0]:+.2f}" for _, row in ranks[1:])]))
    body = [cells for _, cells in sorted(rows, key=lambda row: row[0])]
    for width, row, report in uniform(reports):
        body.append([ALIKE, "", "", str(width), "", str(len(row["changes"])), f"{cost_share(row, report, cost):.2f} %", "",
                     points(row["result"]), nats(row["result"]), ""])
    return table([*WORDS, "trials", "points lowered", cost, "drop, selection", "drop, report",
                  "loss increase, report", "drop of ranks 2, 3"], body)


def words(search):
    """What tells a search from others, as cells."""
    return [search[word] for word in WORDS]


def order(search):
    """Searches by limit, tightest first, then by their words."""
    limits = tuple(next(iter(limit["at_most"].values())) for limit in search["plan"]["limits"])
    return limits, *words(search)


def points(result):
    value, low, high = interval(result, "top1_drop")
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def nats(result):
    value, low, high = interval(result, "loss_increase")
    return f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"


def predictions(reports):
    """How well each search's last predictor describes the configs that the search kept."""
    body = []
    for report in reports:
        for search in searches(report):
            known = [row for row in search["top"] if row["predicted"] and row["result"]["state"] == "done"]
            if len(known) < 2:
                continue
            losses = [interval(row["result"], search["objective"]) for row in known]
            pairs = [(row["predicted"], value) for row, (value, _, _) in zip(known, losses)]
            errors = [predicted["value"] - measured for predicted, measured in pairs]
            inside = sum(predicted["low"] <= measured <= predicted["high"] for predicted, measured in pairs)
            noise = statistics.fmean((high - low) / (2 * NORMAL_95) for _, low, high in losses)
            digits = 2 if search["objective"] == "top1_drop" else 4
            body.append((order(search), [
                *words(search), str(len(pairs)),
                f"{statistics.stdev(value for value, _, _ in losses):.{digits}f}", f"{noise:.{digits}f}",
                f"{statistics.fmean(errors):+.{digits}f}",
                f"{math.sqrt(statistics.fmean(error * error for error in errors)):.{digits}f}",
                f"{inside} of {len(pairs)}"]))
    body.sort(key=lambda row: row[0])
    return table([*WORDS, "configs", "deviation among them", "standard error of one", "mean error", "RMS error",
                  "inside the 90 % interval"], [cells for _, cells in body])


def means(splits, cost):
    """Drop and loss increase on report images, averaged over splits."""
    groups = {}
    for reports in splits.values():
        for report in reports:
            for search in searches(report):
                best = search["top"][0]
                groups.setdefault(order(search), (words(search), []))[1].append(
                    (search["trials"], cost_share(best, report, cost), best["verified"]))
        for width, row, report in uniform(reports):
            cells = [ALIKE, "", "", str(width)]
            groups.setdefault(((math.inf,), width), (cells, []))[1].append(
                (0, cost_share(row, report, cost), row["result"]))
    body = []
    for _, (cells, found) in sorted(groups.items()):
        trials, costs, results = zip(*found)
        body.append([*cells, f"{statistics.fmean(trials):.0f}", f"{statistics.fmean(costs):.2f} %",
                     spread(results, "top1_drop", 2), spread(results, "loss_increase", 4)])
    return table([*WORDS, "trials", cost, "drop, report", "loss increase, report"], body)


def spread(results, objective, digits):
    values = [interval(result, objective)[0] for result in results]
    return f"{statistics.fmean(values):+.{digits}f} ({min(values):+.{digits}f} to {max(values):+.{digits}f})"


def table(heads, body):
    lines = [heads, ["---"] * len(heads), *body]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
