"""Checks that Grafana's own models know every key of a dashboard, and that its panels do not overlap.

Usage: check_grafana.py FILE.json      (called by check_files.sh; needs grafana-foundation-sdk)
"""

import json
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


def unknown(written, known, path):
    """Yields the places of what models have dropped or changed; they may add defaults."""
    if isinstance(written, dict) and isinstance(known, dict):
        for key, value in written.items():
            if key in known:
                yield from unknown(value, known[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(written, list) and isinstance(known, list) and len(written) == len(known):
        for number, pair in enumerate(zip(written, known)):
            yield from unknown(*pair, f"{path}[{number}]")
    elif written != known:
        yield path


register_default_plugins()
with open(sys.argv[1], encoding="utf-8") as file:
    dashboard = json.load(file)
places = list(unknown(dashboard, json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard))), "dashboard"))
if places:
    sys.exit(f"Grafana does not know {', '.join(places)}")
taken = set()
for panel in dashboard["panels"]:
    at = panel["gridPos"]
    cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
    if taken & cells or at["x"] + at["w"] > 24:
        sys.exit(f"panel `{panel['title']}` is not in a place of its own")
    taken |= cells
print(f"{dashboard['title']}: {len(dashboard['panels'])} panels, fine")
