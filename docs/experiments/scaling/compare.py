"""Compares what a task costs in bitloop and in Dask, Ray and HyperQueue: tasks that do nothing, and tasks that sleep.

  compare.py --bitloop target/release/bitloop [--rounds 5] [--out figures.json]

Makes an environment for each of the others in a temporary folder (about 400 MB, from PyPI), and leaves out what cannot be
installed. A round gives each system a turn in processes of its own, so all see the same machine; the table has medians over
rounds. README.md beside this file says what is compared and how the systems differ.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
OTHERS = ("dask", "ray", "hyperqueue")
BITLOOP = "bitloop"
# Tasks that do nothing, for each as many as take it some seconds.
EMPTY = {BITLOOP: 50_000, "dask": 10_000, "ray": 10_000, "hyperqueue": 5_000}
# How long a system may take for its turn.
TURN_SECONDS = 900


def main():
    settings = arguments()
    with tempfile.TemporaryDirectory(prefix="bitloop-compare-") as folder:
        pythons = {system: python for system in settings.systems if (python := installed(system, Path(folder)))}
        rounds = [turns(settings, pythons, number) for number in range(settings.rounds)]
    if settings.out:
        settings.out.write_text(json.dumps(rounds, indent=1) + "\n")
    print(table(rounds, settings))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bitloop", required=True, metavar="PROGRAM")
    parser.add_argument("--systems", nargs="*", choices=OTHERS, default=list(OTHERS), help="by default all of them")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each; medians are over them")
    parser.add_argument("--slots", type=int, default=64, help="tasks at a time, which are bitloop's workers")
    parser.add_argument("--sleeping", type=int, default=12_800, help="tasks that sleep")
    parser.add_argument("--ms", type=int, default=100, help="how long they sleep")
    parser.add_argument("--out", type=Path, metavar="FILE", help="every round's figures as JSON")
    return parser.parse_args()


def installed(system, folder):
    """The interpreter of an environment with the system; none if it cannot be installed here."""
    lines = (HERE / "requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if line.startswith((system, "psutil"))]
    environment = folder / system
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    done = subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted],
                          stderr=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"{system} is left out, as it cannot be installed: {done.stderr.strip()}", file=sys.stderr)
        return None
    return python


def turns(settings, pythons, number):
    """A turn of every system; each round begins with another one."""
    order = [BITLOOP, *pythons]
    first = number % len(order)
    figures = {}
    for system in order[first:] + order[:first]:
        try:
            figures[system] = of_bitloop(settings) if system == BITLOOP else of_other(settings, pythons[system], system)
            print(f"round {number + 1}: {system}: {json.dumps(figures[system])}", file=sys.stderr, flush=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failure:
            print(f"round {number + 1}: {system} failed: {failure}", file=sys.stderr, flush=True)
    return figures


def of_other(settings, python, system):
    arguments = [settings.slots, EMPTY[system], settings.sleeping, settings.ms / 1e3]
    said = said_by([python, HERE / "systems.py", system, *arguments])
    # Ray speaks on standard output too.
    return json.loads(said.splitlines()[-1])


def of_bitloop(settings):
    version = said_by([settings.bitloop, "--version"]).split()[-1]
    return {"version": version, "empty": bench(settings, EMPTY[BITLOOP], 0),
            "sleeping": bench(settings, settings.sleeping, settings.ms)}


def bench(settings, trials, ms):
    figures = json.loads(said_by([settings.bitloop, "bench", "workers", "--output", "json", "--workers", settings.slots,
                                  "--trials", trials, "--trial-time", f"{ms}ms"]))
    micros = figures["coordinator_cpu_us_per_trial"] + figures["workers_cpu_us_per_trial"]
    return {"tasks": figures["trials"], "wall_s": figures["wall_seconds"], "cpu_s": micros * figures["trials"] / 1e6,
            "coordinator_cpu_s": figures["coordinator_cpu_us_per_trial"] * figures["trials"] / 1e6}


def said_by(command):
    """Its standard output. What it says beside that, such as HyperQueue's progress bars, is shown if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=TURN_SECONDS)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    done.check_returncode()
    return done.stdout


def table(rounds, settings):
    ideal_us = settings.ms * 1e3 / settings.slots
    lines = [
        f"| system | empty: processor time | empty: wall | {settings.ms} ms: processor time | {settings.ms} ms: wall | busy |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for system in (BITLOOP, *OTHERS):
        turns_of = [figures[system] for figures in rounds if system in figures]
        if not turns_of:
            continue

        def middle(workload, what):
            return statistics.median(turn[workload][what] / turn[workload]["tasks"] * 1e6 for turn in turns_of)

        wall = middle("sleeping", "wall_s")
        cells = [f"{system} {turns_of[0]['version']}", *(f"{middle(*which):,.0f} us".replace(",", " ") for which in (
            ("empty", "cpu_s"), ("empty", "wall_s"), ("sleeping", "cpu_s"), ("sleeping", "wall_s"))),
            f"{ideal_us / wall:.1%}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
