"""Plots of what searches found, as Altair charts."""

import altair

from reports import OBJECTIVES, cost_share, interval, measured, searches, uniform, verified

PNG_SCALE = 1.5
WIDTH, HEIGHT = 470, 380
TITLES = {"top1_drop": "drop of top-1, points", "loss_increase": "increase of cross-entropy, nats"}
# Where the symmetric logarithmic scale turns linear, and its ticks.
LINEAR = {"top1_drop": 1, "loss_increase": 0.02}
TICKS = {"top1_drop": [-1, 0, 1, 2, 5, 10, 20, 50], "loss_increase": [0, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5]}
KINDS = {"one point": "#c9b458", "two points": "#d5d5d5", "random set": "#9aa7b1", "by a search": "#5fa777"}
CHOSEN = ["#1f5fd0", "#c2247f", "#7a4fbf", "#008a8a"]
UNIFORM = "#e07b00"
# Digits that inline data keeps: more than a pixel shows.
DIGITS = 4


def cost(reports, cost_name):
    """Loss against cost, one panel for each objective."""
    return altair.hconcat(*[cost_panel(reports, cost_name, objective) for objective in OBJECTIVES]).configure_view(
        stroke="#cccccc").configure_point(filled=True)


def cost_panel(reports, cost_name, objective):
    everything = [record(row, report, cost_name, interval(row["result"], objective)[:1], kind=row["kind"])
                  for row, report in measured(reports)]
    everything.sort(key=lambda row: list(KINDS).index(row["kind"]) if row["kind"] != "two points" else -1)
    lowest, highest = ends([row["loss"] for row in everything] + [
        end for _, row, _ in uniform(reports) for end in interval(row["result"], objective)])
    x = altair.X("cost:Q", title=f"{cost_name}, % of the baseline's", scale=altair.Scale(zero=False, nice=False))
    y = altair.Y("loss:Q", title=TITLES[objective], axis=altair.Axis(values=TICKS[objective], format=".2~f"),
                 scale=altair.Scale(type="symlog", constant=LINEAR[objective], domain=[lowest, highest], nice=False))
    has_legend = objective == OBJECTIVES[-1]
    kinds = altair.Color("kind:N", scale=altair.Scale(domain=list(KINDS), range=list(KINDS.values())),
                         legend=legend("measured on selection images", has_legend))
    cloud = altair.Chart(values(everything)).mark_point(size=9, opacity=0.6).encode(x, y, kinds)
    front = altair.Chart(values(pareto(everything))).mark_line(
        interpolate="step-after", color="#222222", strokeWidth=1.3).encode(x, y)
    return altair.layer(cloud, front, *uniform_layers(reports, cost_name, objective, (x, y)),
                        *chosen_layers(reports, cost_name, objective, (x, y))).resolve_scale(
        color="independent", shape="independent").properties(width=WIDTH, height=HEIGHT)


def uniform_layers(reports, cost_name, objective, axes):
    """All points at one width, on the report images."""
    rows = [record(row, report, cost_name, interval(row["result"], objective), text=f"{width} bits")
            for width, row, report in uniform(reports)]
    chart = altair.Chart(values(rows))
    x, y = axes
    return [chart.mark_rule(color=UNIFORM).encode(x, altair.Y("low:Q"), altair.Y2("high:Q")),
            chart.mark_point(shape="square", size=55, color=UNIFORM, opacity=1).encode(x, y),
            chart.mark_text(color=UNIFORM, dy=-10, dx=16, fontWeight="bold").encode(x, y, altair.Text("text:N"))]


def chosen_layers(reports, cost_name, objective, axes):
    """What the searches chose, on the report images; the first rank larger."""
    rows = [record(row, report, cost_name, interval(row["verified"], objective), predictor=method(search),
                   objective=search["objective"], rank=rank)
            for report in reports for search in searches(report) for rank, row in verified(search)]
    names = sorted({row["predictor"] for row in rows})
    has_legend = objective == OBJECTIVES[-1]
    colors = altair.Scale(domain=names, range=CHOSEN[:len(names)])
    color = altair.Color("predictor:N", scale=colors, legend=legend("chosen with, on report images", has_legend))
    shape = altair.Shape("objective:N", legend=legend("and objective", has_legend), scale=altair.Scale(
        domain=list(OBJECTIVES), range=["diamond", "triangle-up"]))
    size = altair.Size("rank:O", scale=altair.Scale(domain=[1, 2, 3], range=[95, 40, 40]), legend=None)
    chart = altair.Chart(values(rows))
    x, y = axes
    return [chart.transform_filter("datum.rank == 1").mark_rule().encode(
                x, altair.Y("low:Q"), altair.Y2("high:Q"),
                altair.Color("predictor:N", scale=colors, legend=None)),
            chart.mark_point(opacity=0.9, stroke="white", strokeWidth=0.6).encode(x, y, color, shape, size)]


def method(search):
    return f"{search['predictor']}, widths {search['widths']}"


def legend(title, is_shown):
    return altair.Legend(title=title) if is_shown else None


def ends(numbers):
    return min(numbers), max(numbers)


def record(row, report, cost_name, loss, **more):
    """One config of a plot: its cost and its loss, with the ends of the interval where they are given."""
    names = ("loss", "low", "high")
    numbers = {"cost": cost_share(row, report, cost_name), **dict(zip(names, loss))}
    return {**{name: round(number, DIGITS) for name, number in numbers.items()}, **more}


def pareto(rows):
    """What nothing measured is better than in both cost and loss, cheapest first."""
    front = []
    for row in sorted(rows, key=lambda row: (row["cost"], row["loss"])):
        if not front or row["loss"] < front[-1]["loss"]:
            front.append({"cost": row["cost"], "loss": row["loss"]})
    return front


def predicted(reports):
    """Predicted against measured loss on selection images, a column for each predictor and a row for each objective."""
    found = {}
    for report in reports:
        for search in searches(report):
            rows = [prediction(row, search) for row in search["top"]
                    if row["predicted"] and row["result"]["state"] == "done"]
            found.setdefault(search["objective"], {}).setdefault(method(search), []).extend(rows)
    rows = [altair.hconcat(*[predicted_panel(found[objective][predictor], objective, predictor)
                             for predictor in sorted(found[objective])])
            for objective in OBJECTIVES if objective in found]
    return altair.vconcat(*rows).configure_view(stroke="#cccccc").configure_point(filled=True)


def prediction(row, search):
    value, low, high = interval(row["result"], search["objective"])
    numbers = {"measured": value, "measured_low": low, "measured_high": high, "predicted": row["predicted"]["value"],
               "predicted_low": row["predicted"]["low"], "predicted_high": row["predicted"]["high"]}
    return {**{name: round(number, DIGITS) for name, number in numbers.items()}, "limit": search["limit"]}


def predicted_panel(rows, objective, predictor):
    unit = TITLES[objective]
    x = altair.X("predicted:Q", title=f"predicted, {predictor}: {unit}", scale=altair.Scale(zero=False))
    y = altair.Y("measured:Q", title=f"measured: {unit}", scale=altair.Scale(zero=False))
    color = altair.Color("limit:N", title="limit", sort=None)
    chart = altair.Chart(values(rows))
    both = ends([row[name] for row in rows for name in ("predicted", "measured")])
    diagonal = altair.Chart(values([{"predicted": end, "measured": end} for end in both])).mark_line(
        color="#888888", strokeDash=[4, 3]).encode(x, y)
    across = chart.mark_rule(opacity=0.35).encode(
        altair.X("predicted_low:Q"), y, altair.X2("predicted_high:Q"), color=color)
    along = chart.mark_rule(opacity=0.35).encode(
        x, altair.Y("measured_low:Q"), altair.Y2("measured_high:Q"), color=color)
    return altair.layer(diagonal, across, along, chart.mark_point(size=28).encode(x, y, color)).properties(
        width=WIDTH, height=HEIGHT - 60)


def values(rows):
    return altair.Data(values=rows)
