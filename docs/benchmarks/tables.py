"""Markdown tables of what compare.py measured."""

import math
import statistics

FLOAT, INTEGER = "bitloop f32", "bitloop w8a8"
RATES = {"pytorch": "PyTorch", "torchscript": "TorchScript", "aimet": "AIMET W8A8", FLOAT: "bitloop f32",
         INTEGER: "bitloop W8A8"}
# How many times as fast the first is as the second.
RATIOS = [(FLOAT, "pytorch"), (FLOAT, "torchscript"), (INTEGER, "pytorch"), (INTEGER, "torchscript"),
          (INTEGER, "aimet"), ("pytorch", "aimet")]
SWEPT = {"pytorch": "PyTorch, float", "aimet": "AIMET, one point at 4 bits, the others at 8"}
MILLI = 1000


def speed(rows, settings):
    """Rates, processor time and ratios of all cases, and what they were measured with."""
    names = [name for name in RATES if any(name in row["turns"] for row in rows)]
    names += sorted({name for row in rows for name in row["turns"]} - set(names))
    rates = table(case_columns() + [RATES.get(name, name) for name in names], [
        case_cells(row) + [rate(median(row, name, "images_per_s")) for name in names] for row in rows])
    cpu = table(case_columns() + [RATES.get(name, name) for name in names], [
        case_cells(row) + [f"{MILLI * median(row, name, 'cpu_s_per_image'):.3f}" for name in names] for row in rows])
    about = (f"{rows[0]['cpu']}; PyTorch {rows[0]['torch']}; {rows[0]['date']}; medians of {settings.rounds} turns of "
             f"{settings.seconds:g} s")
    parts = [about, "Images per second:", rates, "Milliseconds of processor time per image:", cpu,
             "Times as fast, median over rounds:", ratios(rows), "Variants that were fastest:", variants(rows)]
    return "\n\n".join(parts)


def ratios(rows):
    pairs = [pair for pair in RATIOS if any(set(pair) <= set(row["turns"]) for row in rows)]
    body = [case_cells(row) + [times(ratio(row, pair)) for pair in pairs] for row in rows]
    for threads in sorted({row["threads"] for row in rows}):
        chosen = [row for row in rows if row["threads"] == threads]
        body.append(["**geometric mean**", "", "", str(threads)] + [
            times(geometric_mean([ratio(row, pair) for row in chosen])) for pair in pairs])
    return table(case_columns() + [f"{RATES[one]} / {RATES[other]}" for one, other in pairs], body)


def variants(rows):
    names = sorted({name for row in rows for name in row["variants"]})
    return table(case_columns() + [RATES[name] for name in names],
                 [case_cells(row) + [row["variants"].get(name, "") for name in names] for row in rows])


def sweep(rows, settings):
    """Time per config, and for a sweep of all points."""
    body = []
    for row in rows:
        points = max(turn["points"] for turns in row["turns"].values() for turn in turns)
        for name, turns in row["turns"].items():
            wall, cpu = (statistics.median(turn[key] for turn in turns) for key in ("wall_s", "cpu_s"))
            body.append(case_cells(row) + [SWEPT[name], f"{wall:.2f}", f"{cpu:.2f}", str(points), f"{wall * points:.0f}"])
    about = (f"{rows[0]['cpu']}; PyTorch {rows[0]['torch']}; {rows[0]['date']}; medians of {settings.configs} configs spread "
             f"over the depth, {settings.images} images each; the last column is extrapolated from them")
    return about + "\n\n" + table(
        case_columns() + ["", "s per config", "CPU-s per config", "points in AIMET", "s for all points"], body)


def progress(row):
    return " ".join(case_cells(row)) + ": " + ", ".join(
        f"{name} {median(row, name, 'images_per_s'):.1f}/s" for name in row["turns"])


def case_columns():
    return ["network", "image", "batch", "threads"]


def case_cells(row):
    strides = " (small-image strides)" if row["small_strides"] and row["network"] != "convblock" else ""
    return [row["network"] + strides, f"{row['size']}x{row['size']}", str(row["batch"]), str(row["threads"])]


def median(row, name, key):
    """NaN where it was not measured."""
    return statistics.median(turn[key] for turn in row["turns"].get(name, [{key: math.nan}]))


def ratio(row, pair):
    """Median over rounds; within a round both saw the same machine."""
    turns = [row["turns"].get(name, []) for name in pair]
    each = [one["images_per_s"] / other["images_per_s"] for one, other in zip(*turns)]
    return statistics.median(each) if each else math.nan


def geometric_mean(values):
    measured = [value for value in values if not math.isnan(value)]
    return statistics.geometric_mean(measured) if measured else math.nan


def rate(value):
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}".replace(",", " ") if value >= 100 else f"{value:.1f}"


def times(value):
    return "-" if math.isnan(value) else f"{value:.2f}"


def table(columns, body):
    lines = [columns, ["---"] * len(columns), *body]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
