"""Who evaluates points: this process, a pool of processes, or a cluster of Ray."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import socket
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Protocol

from hwgen.errors import ConfigError, ToolError
from hwgen.explore.evaluate import Evaluator, Task
from hwgen.explore.space import Point

RETRIES = 5  # of a point whose worker died
REACH = 5.0  # seconds for a cluster to answer
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Done = list[tuple[Point, dict]]


class Workers(Protocol):
    """Takes points, and gives their records in whatever order they are done."""

    @property
    def slots(self) -> int:
        """Points to have at work."""

    def submit(self, point: Point) -> None:
        """Begin a point."""

    def wait(self) -> Done:
        """Points that are done since, at least one."""


@contextmanager
def workers(evaluator: Evaluator, jobs: int, address: str | None) -> Iterator[Workers]:
    """A cluster at an address of Ray, or else `jobs` processes; one is this process itself."""
    if address is not None:
        with _ray(evaluator.task, address) as made:
            yield made
    elif jobs == 1:
        yield Here(evaluator)
    else:
        with _pool(evaluator.task, jobs) as pool:
            yield pool


class Here:
    """This process."""

    slots = 1

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluate, self._left = evaluator, list[Point]()

    def submit(self, point: Point) -> None:
        """Begin a point."""
        self._left.append(point)

    def wait(self) -> Done:
        """All that were submitted."""
        points, self._left = self._left, []
        return [(point, self._evaluate(point)) for point in points]


_here: Evaluator | None = None  # of a process of a pool


def _begin(task: Task) -> None:
    global _here  # noqa: PLW0603
    _here = Evaluator(task)


def _evaluate(point: Point) -> dict:
    return _here(point)


class Pool:
    """Processes of this machine; points of a process that died go to new ones."""

    def __init__(self, task: Task, jobs: int) -> None:
        self._task, self.slots = task, jobs
        self._running: dict[futures.Future, tuple[Point, int]] = {}
        self._executor = self._started()

    def _started(self) -> futures.ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")
        return futures.ProcessPoolExecutor(self.slots, spawn, _begin, (self._task,))

    def submit(self, point: Point) -> None:
        """Begin a point."""
        self._submit(point, 0)

    def _submit(self, point: Point, tries: int) -> None:
        try:
            future = self._executor.submit(_evaluate, point)
        except BrokenProcessPool:  # noticed before any point was waited for
            future = futures.Future()
            future.set_exception(BrokenProcessPool())
        self._running[future] = point, tries

    def wait(self) -> Done:
        """Points that are done since."""
        found: Done = []
        while not found:
            done, _ = futures.wait(self._running, return_when=futures.FIRST_COMPLETED)
            lost = []
            for future in done:
                point, tries = self._running.pop(future)
                try:
                    found.append((point, future.result()))
                except BrokenProcessPool:
                    lost.append((point, tries + 1))
            if lost:
                lost += [(point, tries + 1) for point, tries in self._running.values()]
                self._again(lost)
        return found

    def _again(self, lost: list[tuple[Point, int]]) -> None:
        """New processes, for the points that were at work."""
        self._running.clear()
        self._executor.shutdown(cancel_futures=True)
        for point, tries in lost:
            if tries > RETRIES:
                raise _died(point)
        self._executor = self._started()
        for point, tries in lost:
            self._submit(point, tries)

    def close(self) -> None:
        """Leave what was not begun."""
        self._executor.shutdown(cancel_futures=True)


@contextmanager
def _pool(task: Task, jobs: int) -> Iterator[Pool]:
    """A pool whose processes multiply matrices in one thread each."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        pool = Pool(task, jobs)
        try:
            yield pool
        finally:
            pool.close()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Cluster:
    """A cluster of Ray, one CPU for each point. Ray begins points anew whose worker died."""

    def __init__(self, ray: Any, task: Task) -> None:
        self._ray = ray
        content = pickle.dumps(task)
        self._task = ray.put(content)
        self._digest = sha256(content).hexdigest()
        self._remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_on_cluster)
        self._running: dict[Any, Point] = {}

    @property
    def slots(self) -> int:
        """The CPUs that the cluster has now, and one more point, so that none waits."""
        return int(self._ray.cluster_resources().get("CPU", 0)) + 1

    def submit(self, point: Point) -> None:
        """Begin a point."""
        self._running[self._remote.remote(self._task, self._digest, point)] = point

    def wait(self) -> Done:
        """Points that are done since."""
        done, _ = self._ray.wait(list(self._running), num_returns=1)
        found: Done = []
        for reference in done:
            point = self._running.pop(reference)
            try:
                found.append((point, self._ray.get(reference)))
            except self._ray.exceptions.RayTaskError:
                raise  # the task's own error
            except self._ray.exceptions.RayError as error:
                raise _died(point) from error
        return found


_kept: dict[str, Evaluator] = {}  # of a worker of a cluster: the evaluator of its task


def _on_cluster(content: bytes, digest: str, point: Point) -> dict:
    if digest not in _kept:
        _kept.clear()
        _kept[digest] = Evaluator(pickle.loads(content))
    return _kept[digest](point)


@contextmanager
def _ray(task: Task, address: str) -> Iterator[Cluster]:
    try:
        import ray
    except ImportError as error:
        raise ToolError("--ray needs Ray: pip install 'hwgen[cluster]'") from error
    ours = not ray.is_initialized()
    if ours:
        try:
            _reach(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"no Ray cluster answers at {address}: {error}; `ray start --head` begins one"
            ) from error
    try:
        yield Cluster(ray, task)
    finally:
        if ours:
            ray.shutdown()


def _reach(address: str) -> None:
    """Raise `OSError` where nothing listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), REACH).close()


def _died(point: Point) -> ToolError:
    where = ", ".join(f"{name} = {value}" for name, value in point.items())
    return ToolError(
        f"the process of a point died {RETRIES + 1} times ({where}): it may need more memory than "
        "there is; try fewer --jobs, or fewer inputs with --limit"
    )
