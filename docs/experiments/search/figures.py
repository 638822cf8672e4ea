"""Makes tables and plots of what searches found, from the results of bitloop experiments.

Every RESULTS file is what `bitloop run EXPERIMENT.yaml --output json` or `bitloop results ID --format json` printed, all
of the same network. Experiments with the same report images are compared with each other; where there are several splits
of the images, plots show the first file's and a second table has the means over splits.

It writes into the output folder
  NAME.md               tables
  NAME-cost.*           loss against cost: everything measured, the Pareto front, uniform widths, what was chosen
  NAME-predicted.*      predicted against measured loss of the searches' configs
each plot as PNG and as Vega-Lite (.vl.json), which holds its data.
"""

import argparse
import json
from pathlib import Path

import plots
import tables


def main():
    settings = arguments()
    reports = [json.loads(path.read_text()) for path in settings.results]
    splits = by_split(reports)
    for path in settings.uniform:
        report = json.loads(path.read_text())
        # What was searched for there is of no interest.
        splits.setdefault(report["report_data"], []).append({**report, "rows": [], "configs": [], "searches": []})
    first = next(iter(splits.values()))
    settings.out.mkdir(parents=True, exist_ok=True)
    (settings.out / f"{settings.name}.md").write_text(tables.all_tables(splits, settings.cost))
    for kind, chart in [("cost", plots.cost(first, settings.cost)), ("predicted", plots.predicted(first))]:
        stem = settings.out / f"{settings.name}-{kind}"
        stem.with_suffix(".vl.json").write_text(chart.to_json(indent=None) + "\n")
        chart.save(str(stem.with_suffix(".png")), scale_factor=plots.PNG_SCALE)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULTS", help="JSON reports")
    parser.add_argument("--name", required=True, help="of the network: the start of the files' names")
    parser.add_argument("--uniform", type=Path, nargs="*", default=[], metavar="RESULTS",
                        help="JSON reports of which only the uniform widths count")
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and plots")
    parser.add_argument("--cost", choices=["bops", "size"], default="bops", help="cost of the horizontal axis")
    return parser.parse_args()


def by_split(reports):
    """The reports by the images they were verified on, in the order given."""
    splits = {}
    for report in reports:
        if report["status"] != "finished" or not report.get("verified"):
            raise SystemExit(f"{report['experiment']} is not finished, or has no verify stage")
        splits.setdefault(report["report_data"], []).append(report)
    return splits


if __name__ == "__main__":
    main()
