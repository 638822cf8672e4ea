"""Makes the tables of README.md from results of `bitloop results NAME --format json`, of two runs at different times.

usage: figures.py FIRST_FOLDER LATER_FOLDER, with files NAME.json in both
"""

import json
import sys
from pathlib import Path


def widths(row):
    """What a network is called: the widths of its weights and activations, or how many points are lowered."""
    if row["kind"] == "float":
        return "float"
    kinds = {"W": set(), "A": set()}
    for point, bits in row["changes"].items():
        kinds["W" if point.endswith(".weight") else "A"].add(bits)
    if row["kind"] == "mixed":
        return f"mixed, {len(row['changes'])} points at 4 bits"
    return "".join(kind + str(next(iter(found), 8)) for kind, found in kinds.items())


def cell(estimate):
    reach = max(estimate["high"] - estimate["median"], estimate["median"] - estimate["low"]) / estimate["median"]
    return f"{estimate['median'] / 1e6:.4f}", f"{100 * reach:.1f} %"


def device_rows(first, later):
    again = {json.dumps(row["changes"], sort_keys=True) + row["kind"]: row for row in later["networks"]}
    baseline = next(row for row in first["networks"] if row["kind"] == "baseline")["latency_ns"]["median"]
    for row in first["networks"]:
        time, reach = cell(row["latency_ns"])
        second = again.get(json.dumps(row["changes"], sort_keys=True) + row["kind"])
        text, verdict = "", ""
        if second and second["latency_ns"]:
            text = f"{second['latency_ns']['median'] / 1e6:.4f}"
            inside = row["latency_ns"]["low"] <= second["latency_ns"]["median"] <= row["latency_ns"]["high"]
            unsteady = bool(row["unsteady"]) or bool(second["unsteady"])
            verdict = "yes" if inside else "unsteady" if unsteady else "no"
        mark = " (unsteady)" if row["unsteady"] else ""
        yield [widths(row), time, reach + mark, f"{row['latency_ns']['median'] / baseline:.3f}", text, verdict]


def main(first_folder, later_folder):
    header = ["network", "ms", "half width", "beside W8A8", "later, ms", "within"]
    for file in sorted(Path(first_folder).glob("*.json")):
        first = json.loads(file.read_text())
        later = json.loads((Path(later_folder) / file.name).read_text())
        for device, other in zip(first["devices"], later["devices"]):
            found = other["additivity"]
            print(f"\n### {file.stem}, {device['target']['probe']}\n")
            print(
                f"Sums of layers beside {found['configs']} mixed networks, in the later run: off by {100 * found['mean_error']:.2f} % on average, "
                f"{100 * found['max_error']:.2f} % at most; corrected {100 * found['corrected_mean_error']:.2f} and "
                f"{100 * found['corrected_max_error']:.2f} %.\n"
            )
            print("| " + " | ".join(header) + " |\n|" + " --- |" * len(header))
            for row in device_rows(device, other):
                print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main(*sys.argv[1:])
