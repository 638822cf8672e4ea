"""What tables and plots need from bitloop's JSON reports."""

POINTS = 100
OBJECTIVES = ("top1_drop", "loss_increase")
PPM = 1_000_000
# Ranks that the experiments verify; lower ones may have been verified for another search.
RANKS = 3


def interval(result, objective):
    """Value, low and high of a measured loss: percentage points for `top1_drop`, nats for `loss_increase`."""
    factor = POINTS if objective == "top1_drop" else 1
    return tuple(factor * result[objective][end] for end in ("value", "low", "high"))


def cost_share(row, report, cost):
    """A config's cost in percent of the baseline's."""
    if cost == "size":
        return 100 * row["size_bits"] / report["baseline_size_bits"]
    return 100 * row["bops"] / report["baseline_bops"]


def searches(report):
    """The searches of an experiment, each with the words by which it is compared."""
    for search in report["searches"]:
        plan = search["plan"]
        words = " and ".join(limit_text(limit) for limit in plan["limits"])
        widths = ", ".join(map(str, sorted({row["bits"] for row in report["rows"]})))
        yield {"limit": words, "predictor": plan["predictor"], "objective": plan["objective"], "widths": widths,
               "swept": swept(report), **search}


def swept(report):
    """How many configs the sensitivity stage measured."""
    return len(report["rows"]) + sum(row["stage"] == "sensitivity" for row in report["configs"])


def limit_text(limit):
    at_most = limit["at_most"]
    if "of_baseline_ppm" in at_most:
        return f"{limit['cost'].rsplit('_', 1)[0]} {100 * at_most['of_baseline_ppm'] / PPM:g} %"
    return f"{limit['cost']} {next(iter(at_most.values())):g}"


def uniform(reports):
    """Each uniform width once, narrowest first: its width, its row and the report it is from."""
    found = {}
    for report in reports:
        for row in report["verified"]["uniform"]:
            widths = set(row["changes"].values())
            if row["result"]["state"] == "done" and len(widths) == 1:
                found.setdefault(widths.pop(), (row, report))
    return [(width, *found[width]) for width in sorted(found)]


def verified(search):
    """The configs of a search that were measured on the report images, with their ranks."""
    return [(rank, row) for rank, row in enumerate(search["top"][:RANKS], 1) if row["verified"]["state"] == "done"]


def measured(reports):
    """Everything measured on the selection images, each config once: kind, costs and result."""
    seen = {}
    for report in reports:
        for row in report["rows"]:
            if row["result"]["state"] == "done":
                changes = {row["point"]: row["bits"]}
                size = report["baseline_size_bits"] - row["size_saved_bits"]
                bops = report["baseline_bops"] - row["bops_saved"]
                single = {"kind": "one point", "size_bits": size, "bops": bops, "result": row["result"]}
                seen.setdefault(key(changes), (single, report))
        for row in report["configs"]:
            if row["result"]["state"] == "done":
                seen.setdefault(key(row["changes"]), ({**row, "kind": kind(row)}, report))
    return list(seen.values())


def kind(row):
    if row["stage"] == "search":
        return "by a search"
    return "two points" if len(row["changes"]) == 2 else "random set"


def key(changes):
    return tuple(sorted(changes.items()))
