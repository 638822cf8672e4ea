"""Checks that KEDA's models take every ScaledObject of a file, and know every key of it.

Usage: check_keda.py FILE.yaml      (called by check_files.sh; needs cloudcoil-models-keda)
"""

import sys

import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject

with open(sys.argv[1], encoding="utf-8") as file:
    documents = list(yaml.safe_load_all(file))
scaled = [document for document in documents if document["kind"] == "ScaledObject"]
targets = {(document["kind"], document["metadata"]["name"]) for document in documents}
if not scaled:
    sys.exit("there is no ScaledObject")
for document in scaled:
    name = document["metadata"]["name"]
    # Models leave out keys that they do not know.
    known = ScaledObject.model_validate(document).model_dump(mode="json", by_alias=True, exclude_none=True)
    if known != document:
        sys.exit(f"{name}: KEDA knows only {known}")
    target = document["spec"]["scaleTargetRef"]
    if (target.get("kind", "Deployment"), target["name"]) not in targets:
        sys.exit(f"{name}: there is no {target}")
    print(f"{name}: fine")
