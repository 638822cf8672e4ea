#!/usr/bin/env python3
"""A probe for bitloop: times networks on a board that commands reach, or on this machine.

It needs Python 3.9 and nothing else; on this machine also the packages onnxruntime and numpy. A worker starts it and speaks to it
over standard input and output, a line of JSON each; docs/probes.md describes the protocol. What is particular to a board is in
the class `Board`: change it, or give it other commands.

    example.py here
    example.py board --class "Raspberry Pi 5" --device pi5 --shell "ssh pi5" --copy "scp {file} pi5:{name}" \
        --command "./benchmark {name} {batch} {threads} {inferences}"

The command computes so many inferences of a network on the board, one after another, and prints how many nanoseconds they took
together by the board's own clock, as the last line.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import threading
import time

PROTOCOL = 1

# Rounds of a warm-up that never ended: so few that the worker does not rely on them.
COLD_ROUNDS = 5


class Failed(Exception):
    """The network cannot be measured on any device of this kind."""


class Unable(Exception):
    """The device cannot be used now."""


class Board:
    """A device that is reached by commands."""

    # Calling a command takes a while, in which nothing is measured: it is to be the smaller part.
    turn_ns = 0.2e9

    def __init__(self, options):
        self.options = options
        # Whoever starts a worker wants to know at once whether the board is there.
        self.call(shlex.split(options.shell) + ["true"])

    def hello(self):
        return {"class": self.options.device_class, "device": self.options.device, "runtime": self.options.runtime}

    def load(self, network, setting, side):
        """Returns a function that computes so many inferences and returns their nanoseconds."""
        # One name for each side, so that the board does not fill up.
        name = f"bitloop-{side}.onnx"
        self.call([word.format(file=network["onnx"], name=name) for word in shlex.split(self.options.copy)])

        def inferences(count):
            words = self.options.command.format(name=name, inferences=count, **setting)
            said = self.call(shlex.split(self.options.shell) + [words]).split()
            try:
                return float(said[-1])
            except (IndexError, ValueError):
                raise Unable(f"`{words}` says no number of nanoseconds") from None

        return inferences

    @staticmethod
    def call(words):
        """Calls a command; what it says to standard error is in the worker's log."""
        try:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
        except OSError as error:
            raise Unable(f"{words[0]}: {error.strerror}") from None
        if done.returncode != 0:
            raise Unable(f"`{shlex.join(words)}` ended with {done.returncode}")
        return done.stdout.decode(errors="replace")

    def environment(self):
        return {}


class Here:
    """This machine, with ONNX Runtime."""

    turn_ns = 0

    def __init__(self, options):
        try:
            import numpy
            import onnxruntime
        except ImportError as error:
            raise Unable(f"{error}; `pip install onnxruntime numpy` installs it") from None
        self.numpy, self.onnxruntime = numpy, onnxruntime

    def hello(self):
        return {"class": processor(), "runtime": f"onnxruntime {self.onnxruntime.__version__} CPUExecutionProvider"}

    def load(self, network, setting, _side):
        settings = self.onnxruntime.SessionOptions()
        settings.intra_op_num_threads = setting["threads"]
        settings.inter_op_num_threads = 1
        try:
            session = self.onnxruntime.InferenceSession(network["onnx"], settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # Of classes that the package does not name.
            raise Failed(str(error)) from None
        (what,) = session.get_inputs()
        shape = [setting["batch"]] + what.shape[1:]
        images = {what.name: self.numpy.random.default_rng(1).normal(size=shape).astype(self.numpy.float32)}

        def inferences(count):
            started = time.perf_counter_ns()
            for _ in range(count):
                session.run(None, images)
            return float(time.perf_counter_ns() - started)

        return inferences

    def environment(self):
        return {"affinity": sorted(os.sched_getaffinity(0)), "load": [os.getloadavg()[0]] * 2}


def processor():
    """The model of this machine's processor."""
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else os.uname().machine


class Turn:
    """One of two networks that are timed in turns."""

    def __init__(self, inferences, turn_ns):
        self.inferences, self.turn_ns, self.count = inferences, turn_ns, 1

    def take(self, is_warm):
        """Nanoseconds of an inference, and of the whole turn."""
        taken = max(self.inferences(self.count), 1.0)
        one = taken / self.count
        if not is_warm:
            # So many that what is between two turns costs nothing.
            self.count = max(1, min(10**6, -int(-self.turn_ns // one)))
        return one, taken


def measure(turns, patience):
    """Times networks in turns, in an order that alternates, until it is warm, and then until the interval is narrow enough."""
    rounds, spent, is_warm = [], 0.0, False
    # What is between turns has an end, too: the worker waits for twice as long as it asks to measure, and two minutes.
    end_ns = time.monotonic_ns() + 2 * patience["at_most_ns"]
    while not rounds or (spent < patience["at_most_ns"] and time.monotonic_ns() < end_ns):
        order = list(range(len(turns)))
        if len(rounds) % 2:
            order.reverse()
        times = [0.0] * len(turns)
        for index in order:
            times[index], taken = turns[index].take(is_warm)
            spent += taken
        rounds.append(times)
        if not is_warm and spent >= patience["warm_up_ns"] and len(rounds) > 2:
            is_warm, rounds = True, []
        elif is_warm and len(rounds) >= patience["rounds_min"] and len(rounds) % 20 == 0:
            if half_width([times[0] for times in rounds]) <= patience["half_width"]:
                break
    return rounds if is_warm else rounds[-COLD_ROUNDS:]


def half_width(times):
    """How far the 95 % interval of the median reaches, as a part of it: between the order statistics next to the middle."""
    times, middle = sorted(times), statistics.median(times)
    reach = 0.98 * len(times) ** 0.5
    low = times[max(0, int(len(times) / 2 - reach))]
    high = times[min(len(times) - 1, int(len(times) / 2 + reach))]
    return max(high - middle, middle - low) / middle


def answer(device, ask):
    """What is said to a request."""
    ((what, asked),) = ask.items()
    if what != "time":
        raise Failed(f"this probe is not able to do `{what}`")
    patience, before = asked["patience"], device.environment()
    turn_ns = max(patience["turn_ns"], device.turn_ns)
    turns = [Turn(device.load(asked[side], asked["setting"], side), turn_ns) for side in ("config", "baseline")]
    rounds = measure(turns, patience)
    after = device.environment()
    if "load" in before:
        before["load"] = [before["load"][0], after["load"][1]]
    return {"timed": {"rounds": rounds, "environment": before}}


def serve(device, requests, say):
    """Says what the device is, and then answers one request after another."""
    # Few runtimes have kernels for codes of fewer than 8 bits.
    say({"protocol": PROTOCOL, "onnx": True, "codes": "int8", "abilities": [], **device.hello()})
    for line in requests:
        request = json.loads(line)
        try:
            reply = answer(device, request["ask"])
        except Failed as error:
            reply = {"failed": {"reason": str(error)}}
        except Unable as error:
            reply = {"unable": {"reason": str(error)}}
        say({"id": request["id"], "reply": reply})


def lines_until_the_end():
    """The lines of standard input; its end ends this program, whatever it is doing: nobody wants the answer any more."""
    arrived, lines = threading.Semaphore(0), []

    def read():
        for line in sys.stdin:
            lines.append(line)
            arrived.release()
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        arrived.acquire()
        yield lines.pop(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("here").set_defaults(device_type=Here)
    board = kinds.add_parser("board")
    board.set_defaults(device_type=Board)
    board.add_argument("--class", dest="device_class", required=True, help="times of one class are compared")
    board.add_argument("--device", required=True, help="name of this board; no two probes use it at a time")
    board.add_argument("--runtime", default="benchmark", help="what executes networks, with its version")
    board.add_argument("--shell", required=True, help="what calls a command on the board, such as `adb shell`")
    board.add_argument("--copy", required=True, help="copies {file} to the board as {name}")
    board.add_argument("--command", required=True, help="with {name}, {batch}, {threads}, {inferences}")
    options = parser.parse_args()
    # What libraries print is not for the worker.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(line):
        answers.write(json.dumps(line) + "\n")
        answers.flush()

    try:
        device = options.device_type(options)
    except Unable as error:
        sys.exit(str(error))
    serve(device, lines_until_the_end(), say)


if __name__ == "__main__":
    main()
