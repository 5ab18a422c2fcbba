"""The engine: every item once, in batches of a set time, whatever workers do."""

import collections
import concurrent.futures
import os
import signal
import threading
import time
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor

import pytest

from moenoise.sweeps import engine, pools
from moenoise.sweeps.tasks import run_batch


def collect(function, count, **options):
    """dict: index -> value of all that was received; an index that comes twice fails."""
    received = {}

    def receive(indices, batch):
        assert len(indices) == len(batch.values) > 0
        for index, value in zip(indices, batch.values):
            assert index not in received
            received[index] = value

    engine.run(function, lambda index: index, engine.Queue(range(count)), receive, **options)
    return received


class Counting(ThreadPoolExecutor):
    """Threads that count batches and the items in them."""

    def __init__(self, workers):
        super().__init__(workers)
        self.sizes = []

    def submit(self, function, *arguments):
        self.sizes.append(len(arguments[1]))
        return super().submit(function, *arguments)


@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_every_item_is_run_once(jobs):
    calls = collections.Counter()
    assert collect(lambda item: calls.update([item]) or 2 * item, 1000, jobs=jobs) == {i: 2 * i for i in range(1000)}
    assert set(calls.values()) == {1}


def test_nothing_to_do_is_done():
    assert collect(lambda item: item, 0, jobs=2) == {}


def test_cheap_items_travel_together(monkeypatch):
    monkeypatch.setattr(engine, "BATCH_SECONDS", 0.05)
    with Counting(2) as executor:
        collect(lambda item: time.sleep(0.0005), 2000, executor=executor)
    # 1 s of work on two workers, 0.05 s a batch: 20 batches, and shrinking ones at the end.
    assert 15 <= len(executor.sizes) <= 80
    assert executor.sizes[0] == 1 and max(executor.sizes) > 20


def test_a_batch_ends_with_its_budget_and_the_rest_is_run_elsewhere(monkeypatch):
    monkeypatch.setattr(engine, "BATCH_SECONDS", 0.05)
    with Counting(1) as executor:
        # Speed as of the cheap items promises hundreds of the dear ones a batch.
        received = collect(lambda item: time.sleep(0.02 if item > 50 else 0), 60, executor=executor)
    assert len(received) == 60
    assert sum(executor.sizes) > 60  # some were sent twice


def test_a_worker_stops_at_its_budget_after_the_first_item_at_least():
    assert len(run_batch(time.sleep, [0.02] * 50, 0.05, 1).values) in (2, 3)
    assert len(run_batch(time.sleep, [0.02] * 50, 0, 1).values) == 1


def test_workers_share_the_last_items():
    with Counting(2) as executor:
        collect(lambda item: time.sleep(0.01), 100, executor=executor)
    assert executor.sizes[-1] == 1


def test_what_the_function_raises_is_raised_and_the_rest_is_not_run():
    calls = []

    def function(item):
        calls.append(item)
        time.sleep(0.001)
        return 1 // (item - 20)

    with pytest.raises(ZeroDivisionError):
        collect(function, 10_000, jobs=2)
    assert len(calls) < 5000


def test_what_is_no_longer_wanted_is_left_out():
    waiting = engine.Queue(range(10), wanted=lambda index: index % 3)
    assert waiting.take(4) == [1, 2, 4, 5]
    waiting.put_back([4, 5])
    assert len(waiting) == 6 and waiting.take(10) == [4, 5, 7, 8] and waiting.take(1) == []


def test_an_executor_that_is_given_stays_open():
    with ThreadPoolExecutor(2) as executor:
        for _ in range(2):
            assert collect(lambda item: item, 5, executor=executor) == {i: i for i in range(5)}


class Fragile:
    """Threads that break as a pool of processes does, when one of them meets a deadly item."""

    renewals = 0

    def __init__(self, deadly):
        self.threads, self.deadly, self.under_way, self.broken = ThreadPoolExecutor(2), deadly, [], False

    def submit(self, function, call, items, budget, number):
        if self.broken:
            raise BrokenExecutor("broken")
        future = Future()
        self.under_way.append(future)
        self.threads.submit(self._run, future, function, call, items, budget, number)
        return future

    def _run(self, future, function, call, items, budget, number):
        if any(self.deadly(item) for item in items):
            self.broken = True
            for each in self.under_way:
                if not each.done():
                    each.set_exception(BrokenExecutor("a worker died"))
        elif not self.broken:
            time.sleep(0.001)
            batch = function(call, items, budget, number)
            try:
                future.set_result(batch)
            except concurrent.futures.InvalidStateError:
                pass  # it was lost with another


@pytest.fixture
def renewing(monkeypatch):
    def renewed(executor):
        Fragile.renewals += 1
        return Fragile(executor.deadly)

    monkeypatch.setattr(Fragile, "renewals", 0)
    monkeypatch.setattr(Fragile, "shutdown", lambda self, **options: self.threads.shutdown(wait=False), raising=False)
    monkeypatch.setattr(pools, "renewed", renewed)


@pytest.mark.parametrize("killers", [{0}, {57}, {99}, {3, 4, 70}])
def test_items_that_kill_their_worker_are_told_from_those_beside_them(renewing, killers):
    dead = []
    received = collect(lambda item: item, 100, executor=Fragile(killers.__contains__), jobs=2,
                       on_death=lambda index, error: dead.append(index))
    assert sorted(dead) == sorted(killers)
    assert received.keys() == set(range(100)) - killers
    assert Fragile.renewals >= engine.MOST_DEATHS


def test_a_worker_that_dies_by_chance_costs_nothing_but_time(renewing):
    chances = iter([False] * 40 + [True])
    received = collect(lambda item: item, 300, executor=Fragile(lambda item: next(chances, False)), jobs=2)
    assert received.keys() == set(range(300)) and Fragile.renewals == 1


def test_without_anyone_to_tell_a_deadly_item_is_an_error(renewing):
    with pytest.raises(engine.WorkerDied, match="item 7"):
        collect(lambda item: item, 20, executor=Fragile({7}.__contains__), jobs=2)


def test_workers_that_never_finish_anything_are_an_error(renewing):
    with pytest.raises(RuntimeError, match="can processes import the experiment"):
        collect(lambda item: item, 100, executor=Fragile(lambda item: True), jobs=2, on_death=lambda *_: None)


class Refusing:
    """An executor that cannot run anything."""

    def submit(self, *arguments):
        future = Future()
        future.set_exception(OSError("no route to host"))
        return future


def test_an_executors_own_errors_are_raised():
    with pytest.raises(OSError, match="no route"):
        collect(lambda item: item, 10, executor=Refusing(), jobs=2)


def test_ctrl_c_keeps_what_ends_within_the_grace_and_drops_the_rest():
    received, calls = [], []

    def function(item):
        calls.append(item)
        time.sleep(0.01)
        return item

    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        engine.run(function, lambda index: index, engine.Queue(range(10_000)),
                   lambda indices, batch: received.extend(batch.values), jobs=2)
    count = len(calls)
    assert 0 < count < 1000
    assert sorted(received) == sorted(calls)  # nothing that was run is lost
    time.sleep(0.1)
    assert len(calls) == count  # no thread goes on


def test_ctrl_c_does_not_wait_for_what_takes_long():
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    start, release = time.monotonic(), threading.Event()
    with pytest.raises(KeyboardInterrupt):
        collect(lambda item: release.wait(30), 4, jobs=2, grace=0.1)
    release.set()
    assert time.monotonic() - start < 5


def test_a_worker_that_is_interrupted_ends_the_run():
    def function(item):
        if item == 20:
            raise KeyboardInterrupt
        return item

    received = []
    with pytest.raises(KeyboardInterrupt):
        engine.run(function, lambda index: index, engine.Queue(range(1000)),
                   lambda indices, batch: received.extend(batch.values), jobs=1)
    assert set(range(20)) <= set(received) and len(received) < 1000


def test_receiving_is_not_interrupted():
    begun, ended = [], []

    def receive(indices, batch):
        begun.extend(indices)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)  # Python would raise here
        ended.extend(indices)

    with pytest.raises(KeyboardInterrupt):
        engine.run(lambda item: item, lambda index: index, engine.Queue(range(100)), receive, jobs=1)
    assert begun == ended != []


class TestPools:
    def test_number_of_workers(self):
        with ThreadPoolExecutor(3) as executor:
            assert pools.workers(executor) == 3
        assert pools.workers(Refusing()) is None

    def test_no_executor_is_refused(self):
        with pytest.raises(TypeError, match="executor must have the protocol"):
            pools.workers(3)

    def test_a_pool_that_cannot_be_made_anew_says_what_to_do(self):
        with pytest.raises(RuntimeError, match="make another and call again"):
            pools.renewed(ThreadPoolExecutor(1))
