"""Runs experiments that train one after another on a cluster of this machine, and samples their best score as they go.

Each experiment gets an empty data directory, a coordinator and workers of its own, so that none knows another's trials.
Writes NAME.json (the results) and NAME.curve.csv (seconds, settled trials, best score of the block at hand, block).
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import time

SAMPLE_SECONDS = 3


def main():
    arguments = parsed()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for experiment in arguments.experiments:
        measure(experiment, arguments)


def parsed():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiments", nargs="+", type=pathlib.Path)
    parser.add_argument("--bitloop", default="bitloop")
    parser.add_argument("--dataset-dir", required=True)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("measured"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--port", type=int, default=7741)
    return parser.parse_args()


def measure(experiment, arguments):
    name, url = experiment.stem, f"http://127.0.0.1:{arguments.port}"
    data = arguments.out / f"{name}.data"
    shutil.rmtree(data, ignore_errors=True)

    def bitloop(*words):
        return [arguments.bitloop, *words]

    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    coordinator = bitloop("coordinator", "--listen", f"127.0.0.1:{arguments.port}", "--data-dir", data)
    worker = bitloop("worker", "--coordinator", url, "--threads", "1")
    servers = [subprocess.Popen(command, **quiet) for command in [coordinator, *[worker] * arguments.workers]]
    try:
        submit = bitloop("submit", experiment, "--coordinator", url, "--dataset-dir", arguments.dataset_dir, "--output", "json")
        identity = json.loads(subprocess.run(submit, check=True, capture_output=True, text=True).stdout)["id"]
        started, curve = time.monotonic(), []
        while True:
            ask = bitloop("results", identity, "--coordinator", url, "--output", "json")
            results = json.loads(subprocess.run(ask, check=True, capture_output=True, text=True).stdout)
            curve.append([f"{time.monotonic() - started:.1f}", *standing(results["trained"][0])])
            if results["status"] != "active":
                break
            time.sleep(SAMPLE_SECONDS)
    finally:
        for server in reversed(servers):
            server.terminate()
            server.wait()
    (arguments.out / f"{name}.json").write_text(json.dumps(results) + "\n")
    lines = [",".join(map(str, row)) for row in [["seconds", "trials", "score", "block"], *curve]]
    (arguments.out / f"{name}.curve.csv").write_text("\n".join(lines) + "\n")
    shutil.rmtree(data)
    print(f"{name}: {results['status']} after {curve[-1][0]} s")


def standing(search):
    """Settled trials of all blocks, and the best score of the last block that has one."""
    settled = sum(row["trained"] is not None or row["failed"] is not None
                  for block in search["blocks"] for row in block["trials"])
    best = [(index, block["trials"][block["best"]]["score"]) for index, block in enumerate(search["blocks"])
            if block["best"] is not None]
    block, score = best[-1] if best else ("", "")
    return settled, score, block


if __name__ == "__main__":
    main()
