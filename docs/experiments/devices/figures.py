"""Makes the tables of README.md from results of `bitloop results NAME --format json`: of a first run, and of a later one in other stores.

usage: figures.py FIRST_FOLDER LATER_FOLDER, with files NAME.json. What is not in the second folder was not measured again.
"""

import json
import sys
from pathlib import Path


def cell(row):
    """What a network takes, and how surely."""
    time = row["latency_ns"]
    reach = max(time["high"] - time["median"], time["median"] - time["low"]) / time["median"]
    return [f"{time['median'] / 1e6:.4f}", f"{100 * reach:.1f} %" + (" (unsteady)" if row["unsteady"] else "")]


def name(row):
    return json.dumps(row["changes"], sort_keys=True) + row["kind"]


def device_rows(first, later):
    again = {name(row): row for row in later["networks"]} if later else {}
    baseline = next(row for row in first["networks"] if row["kind"] == "baseline")["latency_ns"]["median"]
    for row in first["networks"]:
        beside = f"{row['latency_ns']['median'] / baseline:.3f}"
        yield [row["name"], *cell(row), beside, *(again_cells(row, again[name(row)]) if later else [])]


def again_cells(row, other):
    inside = row["latency_ns"]["low"] <= other["latency_ns"]["median"] <= row["latency_ns"]["high"]
    unsteady = bool(row["unsteady"]) or bool(other["unsteady"])
    return [*cell(other), "yes" if inside else "unsteady" if unsteady else "no"]


def additivity(found):
    return (
        f"Sums of layers beside {found['configs']} mixed networks: off by {100 * found['mean_error']:.2f} % on average, "
        f"{100 * found['max_error']:.2f} % at most; corrected {100 * found['corrected_mean_error']:.2f} and "
        f"{100 * found['corrected_max_error']:.2f} %."
    )


def main(first_folder, later_folder):
    header = ["network", "ms", "half width", "beside W8A8"]
    header_again = ["later, ms", "half width", "within"]
    for file in sorted(Path(first_folder).glob("*.json")):
        first = json.loads(file.read_text())
        again = Path(later_folder) / file.name
        later = json.loads(again.read_text())["devices"] if again.exists() else [None] * len(first["devices"])
        for device, other in zip(first["devices"], later):
            columns = header + (header_again if other else [])
            print(f"\n### {file.stem}, {device['target']['probe']}\n")
            print(additivity(device["additivity"]) + "\n")
            print("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns))
            for row in device_rows(device, other):
                print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main(*sys.argv[1:])
