"""Makes the table and the curves of searches from what measure.py wrote."""

import argparse
import csv
import json
import pathlib

import altair

PNG_SCALE = 1.5
WIDTH, HEIGHT = 400, 300


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=pathlib.Path, help="NAME.json beside NAME.curve.csv")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."))
    arguments = parser.parse_args()
    chart = altair.hconcat(panel(arguments.results, "trials", "settled trials"),
                           panel(arguments.results, "seconds", "seconds")).configure_view(stroke="#cccccc")
    chart.save(arguments.out / "curves.png", scale_factor=PNG_SCALE)
    (arguments.out / "curves.vl.json").write_text(json.dumps(chart.to_dict(), indent=1) + "\n")
    (arguments.out / "table.md").write_text(table(arguments.results))


def panel(results, column, title):
    rows = [{"search": path.stem, column: row[column], "score": row["score"]} for path in results for row in curve(path)]
    return altair.Chart(altair.Data(values=rows)).mark_line(interpolate="step-after").encode(
        altair.X(f"{column}:Q", title=title),
        altair.Y("score:Q", title="best score so far; of blocks, of the block at hand", scale=altair.Scale(zero=False)),
        altair.Color("search:N", legend=altair.Legend(title=None))).properties(width=WIDTH, height=HEIGHT)


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
    for path in results:
        search = json.loads(path.read_text())["trained"][0]
        rows = [row for block in search["blocks"] for row in block["trials"]]
        epochs = sum(row["trained"]["epochs"] for row in rows if row["trained"])
        last = search["blocks"][-1]
        best, found = last["trials"][last["best"]], search["found"]
        size = found["size"]
        lines.append(f"| {path.stem} | {len(rows)} | {epochs} | {best['score']:.4f} | {size['reference'] / size['trial']:.2f} "
                     f"| {drop(search['float'], found['selection']):.2f} | {drop(search['float_on_report'], found['report']):.2f} "
                     f"| {curve(path)[-1]['seconds']:.0f} |")
    return "\n".join(lines) + "\n"


def drop(float_network, found):
    share = [looked["correct"] / looked["n"] for looked in (float_network, found)]
    return 100 * (share[0] - share[1])


if __name__ == "__main__":
    main()
