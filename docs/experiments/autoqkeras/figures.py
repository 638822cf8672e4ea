"""Makes the table and the curves of searches from what measure.py wrote: NAME-SEED.json and NAME-SEED.curve.csv."""

import argparse
import csv
import json
import pathlib
import statistics

import altair

PNG_SCALE = 1.5
WIDTH, HEIGHT = 400, 300


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=pathlib.Path, help="NAME-SEED.json beside NAME-SEED.curve.csv")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."))
    arguments = parser.parse_args()
    chart = altair.hconcat(panel(arguments.results, "trials", "settled trials"),
                           panel(arguments.results, "seconds", "seconds")).configure_view(stroke="#cccccc")
    chart.save(arguments.out / "curves.png", scale_factor=PNG_SCALE)
    (arguments.out / "curves.vl.json").write_text(json.dumps(chart.to_dict(), indent=1) + "\n")
    (arguments.out / "table.md").write_text(table(arguments.results))


def search_of(path):
    return path.stem.rpartition("-")[0]


def panel(results, column, title):
    rows = [{"search": search_of(path), "seed": path.stem, column: row[column], "score": row["score"]}
            for path in results for row in curve(path)]
    return altair.Chart(altair.Data(values=rows)).mark_line(interpolate="step-after", opacity=0.8).encode(
        altair.X(f"{column}:Q", title=title),
        altair.Y("score:Q", title="best score so far; of blocks, of the block at hand", scale=altair.Scale(zero=False)),
        altair.Color("search:N", legend=altair.Legend(title=None)),
        altair.Detail("seed:N")).properties(width=WIDTH, height=HEIGHT)


def curve(path):
    """One row for every change of the best score, and the last one."""
    kept = []
    with path.with_suffix(".curve.csv").open() as file:
        for row in csv.DictReader(file):
            if row["score"]:
                row = {"seconds": float(row["seconds"]), "trials": int(row["trials"]), "score": float(row["score"])}
                if not kept or row["score"] != kept[-1]["score"] or row["trials"] != kept[-1]["trials"]:
                    kept.append(row)
    return kept


def table(results):
    lines = ["| search | trials | epochs | score | times smaller | top-1 below float: selection | report | seconds |",
             "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for search in dict.fromkeys(map(search_of, results)):
        cells = [figures(path) for path in results if search_of(path) == search]
        lines.append(f"| {search} | " + " | ".join(spread(column) for column in zip(*cells)) + " |")
    return "\n".join(lines) + "\n"


def figures(path):
    """Numbers with their decimals."""
    search = json.loads(path.read_text())["trained"][0]
    rows = [row for block in search["blocks"] for row in block["trials"]]
    epochs = sum(row["trained"]["epochs"] for row in rows if row["trained"])
    last = search["blocks"][-1]
    best, found = last["trials"][last["best"]], search["found"]
    size = found["size"]
    return [(len(rows), 0), (epochs, 0), (best["score"], 4), (size["reference"] / size["trial"], 2),
            (drop(search["float"], found["selection"]), 2), (drop(search["float_on_report"], found["report"]), 2),
            (curve(path)[-1]["seconds"], 0)]


def spread(cells):
    """The median, and the least and the most where they differ."""
    values, decimals = [value for value, _ in cells], cells[0][1]
    low, middle, high = (f"{value:.{decimals}f}" for value in (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def drop(float_network, found):
    share = [looked["correct"] / looked["n"] for looked in (float_network, found)]
    return 100 * (share[0] - share[1])


if __name__ == "__main__":
    main()
