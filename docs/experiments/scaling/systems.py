"""One of the other systems: starts it with so many slots, gives it both workloads, prints what they took as JSON.

  systems.py dask|ray|hyperqueue SLOTS EMPTY SLEEPING SECONDS

EMPTY tasks do nothing, SLEEPING tasks sleep for SECONDS each. Time is from handing the tasks over to knowing that all are
done; processor time is user's and system's of this process and everything below it meanwhile. compare.py calls this.
"""

import importlib.metadata
import json
import os
import sys
import tempfile
import time

import psutil

# Dask's workers are processes with threads; so many processes share the slots.
DASK_PROCESSES = 2
# The least that Ray takes.
RAY_STORE_BYTES = 100 * 2**20
# Tasks that wait so long, so often, have all its processes started before anything is timed.
RAY_START_SECONDS = 5.0
RAY_ATTEMPTS = 20


def main():
    system, (slots, empty, sleeping), seconds = sys.argv[1], map(int, sys.argv[2:5]), float(sys.argv[5])
    with SYSTEMS[system](slots) as perform:
        # Whatever is started by need is there afterwards.
        perform(2 * slots, seconds)
        figures = {"empty": timed(perform, empty, 0.0), "sleeping": timed(perform, sleeping, seconds)}
    print(json.dumps({"version": importlib.metadata.version(PACKAGES[system]), **figures}))


def timed(perform, tasks, seconds):
    processor, wall = processor_seconds(), time.perf_counter()
    perform(tasks, seconds)
    wall, processor = time.perf_counter() - wall, processor_seconds() - processor
    return {"tasks": tasks, "wall_s": wall, "cpu_s": processor}


def processor_seconds():
    """Of this process, all below it, and those of them that have ended and were waited for."""
    this = psutil.Process()
    total = 0.0
    for process in [this, *this.children(recursive=True)]:
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            pass
    return total


class Dask:
    def __init__(self, slots):
        self.slots = slots

    def __enter__(self):
        import dask
        import distributed

        dask.config.set({"distributed.admin.log-length": 0})
        self.wait = distributed.wait
        threads = self.slots // DASK_PROCESSES
        self.cluster = distributed.LocalCluster(n_workers=DASK_PROCESSES, threads_per_worker=threads,
                                                dashboard_address=None, silence_logs=50)
        self.client = distributed.Client(self.cluster)
        return self.perform

    def perform(self, tasks, seconds):
        # Without `pure=False` equal calls are one.
        futures = self.client.map(task, [seconds] * tasks, pure=False)
        self.wait(futures)

    def __exit__(self, *_):
        self.client.close()
        self.cluster.close()


class Ray:
    def __init__(self, slots):
        self.slots = slots

    def __enter__(self):
        import ray

        self.ray = ray
        ray.init(num_cpus=self.slots, object_store_memory=RAY_STORE_BYTES, include_dashboard=False,
                 log_to_driver=False, logging_level="error")
        self.task = ray.remote(num_cpus=1)(task)
        self.start_processes()
        return self.perform

    def start_processes(self):
        """Ray has a process for each slot and starts them by need, a few at a time."""
        for _ in range(RAY_ATTEMPTS):
            processes = self.ray.get([self.task.remote(RAY_START_SECONDS) for _ in range(self.slots)])
            if len(set(processes)) == self.slots:
                return
        raise SystemExit(f"ray started {len(set(processes))} processes for {self.slots} slots")

    def perform(self, tasks, seconds):
        self.ray.get([self.task.remote(seconds) for _ in range(tasks)])

    def __exit__(self, *_):
        self.ray.shutdown()


class HyperQueue:
    def __init__(self, slots):
        self.slots = slots

    def __enter__(self):
        from hyperqueue import Job, LocalCluster
        from hyperqueue.cluster import WorkerConfig

        self.tasks_of_one = Job
        self.folder = tempfile.TemporaryDirectory()
        self.cluster = LocalCluster(worker_config=WorkerConfig(cores=self.slots))
        self.client = self.cluster.client()
        return self.perform

    def perform(self, tasks, seconds):
        program = ["sleep", str(seconds)] if seconds else ["true"]
        all_of_them = self.tasks_of_one(default_workdir=self.folder.name)
        for _ in range(tasks):
            all_of_them.program(program, stdout=None, stderr=None)
        self.client.wait_for_jobs([self.client.submit(all_of_them)])

    def __exit__(self, *_):
        self.cluster.stop()
        self.folder.cleanup()


def task(seconds):
    if seconds:
        time.sleep(seconds)
    return os.getpid()


SYSTEMS = {"dask": Dask, "ray": Ray, "hyperqueue": HyperQueue}
PACKAGES = {"dask": "distributed", "ray": "ray", "hyperqueue": "hyperqueue"}

if __name__ == "__main__":
    main()
