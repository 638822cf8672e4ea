"""Markdown tables of what compare.py measured."""

import math
import statistics

import decisions

FLOAT, INTEGER, TRAINED = "bitloop f32", "bitloop w8a8", "bitloop 4 bits"
RATES = {"pytorch": "PyTorch", "torchscript": "TorchScript", "aimet": "AIMET W8A8", FLOAT: "bitloop f32",
         INTEGER: "bitloop W8A8", TRAINED: "bitloop, 4 bits"}
# How many times as fast the first is as the second.
RATIOS = [(FLOAT, "pytorch"), (TRAINED, "pytorch"), (FLOAT, "torchscript"), (INTEGER, "pytorch"), (INTEGER, "torchscript"),
          (INTEGER, "aimet"), ("pytorch", "aimet")]
SWEPT = {"pytorch": "PyTorch, float", "aimet": "AIMET, one point at 4 bits, the others at 8"}
MILLI = 1000


def trained(quantized):
    """The name of bitloop's training steps."""
    return TRAINED if quantized else FLOAT


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
    """Time per config and for a sweep of all points; beside bitloop also ratios and decisions."""
    about = (f"{rows[0]['cpu']}; PyTorch {rows[0]['torch']}; {rows[0]['date']}; medians of {settings.configs} configs spread "
             f"over the depth, {settings.images} images each; s for all points is extrapolated from them, bitloop's is measured")
    body = [case_cells(row) + [name, f"{wall:.3f}", f"{cpu:.3f}", str(row["points"]), f"{wall * row['points']:.0f}"]
            for row in rows for name, wall, cpu in sweep_times(row)]
    parts = [about, table(case_columns() + ["", "s per config", "CPU-s per config", "points", "s for all points"], body)]
    if any("singles" in row for row in rows):
        parts += ["Times as fast:", sweep_ratios(rows, settings)]
    if any("decisions" in row for row in rows):
        parts += ["Decisions:", sweep_decisions([row for row in rows if "decisions" in row])]
    return "\n\n".join([*parts, "Variants that were fastest:", variants(rows)])


def sweep_times(row):
    """Name, seconds and processor seconds per config of all that was measured."""
    if "singles" in row:
        for name, suffix in (("together", ""), ("one by one", "_alone")):
            yield (f"bitloop, {name}", *(middle(row["singles"], key + suffix) for key in ("s_per_config", "cpu_s_per_config")))
    for name, turns in row["turns"].items():
        yield (SWEPT[name], middle(turns, "wall_s"), middle(turns, "cpu_s"))


def sweep_ratios(rows, settings):
    """AIMET's time per config, which is the same for any config, beside bitloop's for single points and for pairs."""
    body = []
    for row in (row for row in rows if "singles" in row):
        for clock, simulator, ours in (("wall", "wall_s", "s_per_config"), ("processor", "cpu_s", "cpu_s_per_config")):
            theirs = middle(row["turns"].get("aimet", []), simulator)
            cells = []
            for runs in (row["singles"], [row["pairs"]] if row["pairs"] else []):
                # Pairs are evaluated on fewer images.
                together, alone = (settings.images * per_image(runs, key) for key in (ours, f"{ours}_alone"))
                cells += [times(theirs / together), times(alone / together)]
            body.append(case_cells(row) + [clock, *cells])
    columns = ["time", "AIMET / bitloop, single", "one by one / together, single", "AIMET / bitloop, pairs",
               "one by one / together, pairs"]
    return table(case_columns() + columns, body)


def per_image(runs, key):
    return statistics.median([run[key] / run["images"] for run in runs] or [math.nan])


def sweep_decisions(rows):
    """Agreement of the simulator with all else that evaluated the same configs."""
    body = []
    for row in rows:
        for name in row["decisions"].keys() - {"AIMET"}:
            pair = [row["decisions"][name], row["decisions"]["AIMET"]]
            found = decisions.agreement(*pair)
            body.append(case_cells(row) + [
                f"{name}, AIMET", " / ".join(f"{each['baseline']['top1']:.2f}" for each in pair), str(found["configs"]),
                f"{found['spearman']:.4f}", f"{found['loss_difference_median']:.1e}",
                " / ".join(str(len(points)) for points in found["above"]), ", ".join(found["above_in_one"]) or "none",
                f"{found['drop_difference_max']:.2f}"])
    columns = ["between", "top-1 at 8 bits", "configs", "Spearman of loss increases", "median difference of them",
               f"dropping more than {decisions.DROP_LIMIT:g} point", "in one of them alone",
               "largest difference of drops, points"]
    return table(case_columns() + columns, sorted(body))


def progress(row):
    return " ".join(case_cells(row)) + ": " + ", ".join(
        f"{name} {median(row, name, 'images_per_s'):.1f}/s" for name in row["turns"])


def case_columns():
    return ["network", "image", "batch", "threads"]


def case_cells(row):
    strides = " (small-image strides)" if row["small_strides"] and row["network"] != "convblock" else ""
    return [row["network"] + strides, f"{row['size']}x{row['size']}", str(row["batch"]), str(row["threads"])]


def median(row, name, key):
    return middle(row["turns"].get(name, []), key)


def middle(turns, key):
    """NaN where nothing was measured."""
    return statistics.median([turn[key] for turn in turns] or [math.nan])


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
