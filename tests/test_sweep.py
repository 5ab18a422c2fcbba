"""Sweeps: the same results by whatever way they come about, and nothing lost on any."""

import asyncio
import itertools
import os
import signal
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import moenoise as mn
from moenoise.sweeps import engine, tasks
from moenoise.sweeps import sweep as module
from moenoise.sweeps.store import Store

GRID = mn.Grid(scale=[0.5, 1.0, 2.0], n=[3, 7], name="x")


def experiment(cell, rng):
    draws = rng.normal(scale=cell["scale"], size=cell["n"])
    return {"mean": draws.mean(), "positive": int((draws > 0).sum()), "any": bool((draws > 1).any())}


def run(grid=GRID, replicates=20, **options):
    return mn.sweep(experiment, grid, replicates, progress=False, **options)


@pytest.fixture(scope="module")
def plain():
    return run(jobs=1).records


class TestResults:
    def test_one_line_a_cell_and_replicate(self, plain):
        assert plain.dtype.names == ("scale", "n", "name", "replicate", "mean", "positive", "any")
        assert len(plain) == 120
        assert [plain.dtype[name].kind for name in ("mean", "positive", "any")] == ["f", "i", "b"]
        assert len(set(plain["mean"])) == 120

    def test_cells_are_in_their_own_types(self):
        seen = []
        grid = mn.Grid(a=np.array([1, 2]), b=0.5, c="x", d=None, e=[(1, 2)], f=True)
        mn.sweep(lambda cell, rng: seen.append(cell) or {"x": 1}, grid, 1, progress=False, jobs=1)
        assert seen[0] == {"a": 1, "b": 0.5, "c": "x", "d": None, "e": (1, 2), "f": True}
        assert list(map(type, seen[0].values())) == [int, float, str, type(None), tuple, bool]

    def test_an_experiment_may_do_what_it_likes_with_its_cell(self):
        def spoiling(cell, rng):
            return {"x": cell.pop("a")}

        table = mn.sweep(spoiling, mn.Grid(a=[1, 2]), 3, progress=False)
        assert table.records["x"].tolist() == [1, 1, 1, 2, 2, 2]

    def test_the_seed_decides(self, plain):
        assert (run(rng=0).records == plain).all()
        assert not (run(rng=1).records["mean"] == plain["mean"]).any()

    def test_seeds_of_all_kinds(self):
        kinds = [lambda: 5, lambda: np.int64(5), lambda: np.random.SeedSequence(5), lambda: np.random.default_rng(5)]
        for kind in kinds:
            assert (run(rng=kind()).records == run(rng=kind()).records).all()
        assert (run(rng=5).records == run(rng=np.int64(5)).records).all()
        assert not (run(rng=None).records["mean"] == run(rng=None).records["mean"]).any()

    def test_a_replicate_does_not_depend_on_what_is_beside_it(self, plain):
        part = run(mn.Grid(n=7, name="x", scale=[2.0]), replicates=5).records
        same = plain[(plain["scale"] == 2) & (plain["n"] == 7) & (plain["replicate"] < 5)]
        np.testing.assert_array_equal(part["mean"], same["mean"])

    def test_times_are_measured(self):
        table = mn.sweep(lambda cell, rng: time.sleep(0.01) or {"x": 1}, mn.Grid(a=1), 3, progress=False)
        assert (table.timings["seconds"] >= 0.01).all()

    def test_a_grid_without_axes(self):
        assert mn.sweep(lambda cell, rng: {"x": rng.random()}, mn.Grid(), 4, progress=False).records.dtype.names == (
            "replicate", "x")

    @pytest.mark.parametrize("value", [np.float32(0.1), np.array(2.5), np.longdouble(1) / 3, 1e-320, -0.0, np.inf,
                                       2**63 - 1, np.bool_(True), np.uint8(7)])
    def test_numbers_of_all_kinds_survive_a_store(self, value, tmp_path):
        def constant(cell, rng):
            return {"x": value}

        constant.version = "1"
        tables = [mn.sweep(constant, mn.Grid(a=1), 2, store=store, progress=False) for store in (None, tmp_path)]
        tables.append(mn.load_sweep(tmp_path))
        for table in tables:
            entry = table.records["x"][0]
            assert entry == value or entry == float(value)
            assert np.signbit(float(entry)) == np.signbit(float(value))
            assert table.records.dtype == tables[0].records.dtype

    def test_nan_is_kept_as_what_was_found(self, tmp_path):
        table = mn.sweep(experiment_with_nan, mn.Grid(a=1), 2, store=tmp_path, progress=False)
        assert np.isnan(table.records["x"]).all() and np.isnan(mn.load_sweep(tmp_path).records["x"]).all()


def experiment_with_nan(cell, rng):
    return {"x": float("nan")}


class TestPromise:
    """The same bits by any way."""

    @pytest.mark.parametrize("jobs", [1, 2, 5])
    @pytest.mark.parametrize("seconds", [0.0, 1e-3, 10.0])
    def test_any_number_of_workers_and_size_of_batches(self, plain, jobs, seconds, monkeypatch):
        monkeypatch.setattr(engine, "BATCH_SECONDS", max(seconds, 1e-9))
        assert (run(jobs=jobs).records == plain).all()

    def test_with_a_store(self, plain, tmp_path):
        assert (run(store=tmp_path).records == plain).all()
        assert (run(store=tmp_path).records == plain).all()
        assert (mn.load_sweep(tmp_path).records == plain).all()

    @pytest.mark.parametrize("shards", [2, 5, 121])
    def test_any_split_into_shards_in_any_order(self, plain, shards, tmp_path):
        for shard in np.random.default_rng(0).permutation(shards) + 1:
            table = run(store=tmp_path, shard=(int(shard), shards))
        assert (table.records == plain).all()

    def test_shards_are_disjoint_and_of_one_size(self):
        tables = [run(shard=(shard, 7)) for shard in range(1, 8)]
        assert {len(table) for table in tables} == {17, 18}
        assert len({line for table in tables for line in table.records[["scale", "n", "replicate"]].tolist()}) == 120

    def test_segments_of_shards_put_together(self, plain, tmp_path):
        for shard in (1, 2):
            run(store=tmp_path / str(shard), shard=(shard, 2))
        for file in (tmp_path / "2" / "segments").iterdir():
            os.rename(file, tmp_path / "1" / "segments" / f"copy-of-{file.name}")
        assert (mn.load_sweep(tmp_path / "1").records == plain).all()

    def test_any_number_of_interruptions(self, plain, tmp_path):
        calls = []

        def interrupted(cell, rng):
            calls.append(1)
            if len(calls) % 31 == 0:
                signal.raise_signal(signal.SIGINT)
                time.sleep(0.01)
            return experiment(cell, rng)

        interrupted.version = "1"
        for count in range(1, 50):
            try:
                table = mn.sweep(interrupted, GRID, 20, store=tmp_path, progress=False, jobs=2)
                break
            except KeyboardInterrupt:
                pass
        assert count > 2
        assert (table.records == plain).all()

    def test_blas_is_on_one_thread(self):
        from threadpoolctl import threadpool_info, threadpool_limits

        def threads(cell, rng):
            return {"threads": max(each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas")}

        with threadpool_limits(2, user_api="blas"):
            assert set(mn.sweep(threads, mn.Grid(a=1), 4, progress=False).records["threads"]) == {1}
            assert {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"} == {2}


class TestGoingOn:
    def test_only_what_is_missing_is_run(self, tmp_path, plain):
        calls = []

        def counted(cell, rng):
            calls.append(cell)
            return experiment(cell, rng)

        counted.version = "1"

        def call(grid, replicates):
            calls.clear()
            return mn.sweep(counted, grid, replicates, store=tmp_path, progress=False)

        assert len(call(mn.Grid(scale=0.5, n=[3], name="x"), 5)) == 5 == len(calls)
        assert len(call(mn.Grid(scale=0.5, n=[3], name="x"), 8)) == 8 and len(calls) == 3  # more replicates
        assert len(call(mn.Grid(scale=0.5, n=[3, 7], name="x"), 8)) == 16 and len(calls) == 8  # a larger grid
        assert len(call(mn.Grid(scale=0.5, n=7, name="x"), 2)) == 2 and len(calls) == 0  # a part of it
        assert (call(GRID, 20).records == plain).all() and len(calls) == 104
        assert len(mn.load_sweep(tmp_path)) == 120

    def test_a_value_has_one_type_in_a_store(self, tmp_path):
        mn.sweep(experiment, mn.Grid(scale=[1, 2], n=3), 5, store=tmp_path, progress=False)
        with pytest.raises(ValueError, match=r"scale must have 2 as the store .* has it, got 2\.0"):
            mn.sweep(experiment, mn.Grid(scale=[0.5, 2.0], n=3), 5, store=tmp_path, progress=False)

    def test_ctrl_c_says_how_to_go_on(self, tmp_path):
        def interrupted(cell, rng):
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.05)
            return {"x": 1}

        interrupted.version = "1"
        with pytest.raises(KeyboardInterrupt, match=rf"interrupted: \d+ of 40 are finished and in {tmp_path}; the sam"):
            mn.sweep(interrupted, mn.Grid(a=[1, 2]), 20, store=tmp_path, progress=False)
        with pytest.raises(KeyboardInterrupt, match="lost; with store="):
            mn.sweep(interrupted, mn.Grid(a=[1, 2]), 20, progress=False)

    def test_another_sweep_in_the_same_folder_is_refused(self, tmp_path):
        run(store=tmp_path)
        before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*"))
        for options, message in [({"rng": 1}, "seed 0 there, 1 asked for"),
                                 ({"grid": mn.Grid(scale=1.0, n=3)}, "axes")]:
            with pytest.raises(ValueError, match=message):
                run(store=tmp_path, **options)
        with pytest.raises(ValueError, match="experiment 'experiment' there, 'experiment_with_nan' asked for"):
            mn.sweep(experiment_with_nan, GRID, store=tmp_path, progress=False)

        def changed(cell, rng):
            return {}

        changed.__qualname__ = "experiment"
        with pytest.raises(ValueError, match="experiment version 'source .*' there, 'source .*' asked for"):
            mn.sweep(changed, GRID, store=tmp_path, progress=False)
        assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*")) == before

    def test_another_version_of_the_package_is_refused(self, tmp_path, monkeypatch):
        run(store=tmp_path)
        monkeypatch.setattr(module, "__version__", "99.0")
        with pytest.raises(ValueError, match="package version '.*' there, '99.0' asked for"):
            run(store=tmp_path)

    def test_another_kernel_is_warned_of(self, tmp_path, monkeypatch, plain):
        run(store=tmp_path, replicates=10)
        for each in (module, tasks):  # the caller's and the workers'
            monkeypatch.setattr(each, "blas_kernel", lambda: "Abacus, beads")
        with pytest.warns(UserWarning, match="begun with the BLAS kernel .* and this is Abacus, beads"):
            assert (run(store=tmp_path).records == plain).all()

    def test_changes_are_accepted_when_asked(self, tmp_path):
        def version(number, **options):
            def changing(cell, rng):
                if cell["a"] == 2 and number == 1:
                    raise ValueError("not yet")
                return {"x": number}

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return mn.sweep(changing, mn.Grid(a=[1, 2]), 3, store=tmp_path, progress=False, **options)

        assert len(version(1).failures) == 3
        with pytest.raises(ValueError, match="has changed, its source or what it reads.*accept_changes=True"):
            version(2, retry_failed=True)
        table = version(2, retry_failed=True, accept_changes=True)
        assert table.records["x"].tolist() == [1, 1, 1, 2, 2, 2] and not table.failures
        assert (version(2).records == table.records).all()  # from now on it is the store's version
        assert (mn.load_sweep(tmp_path).records == table.records).all()
        with pytest.raises(ValueError, match="has changed"):
            version(1)
        (tmp_path / "manifest.json").unlink()
        with pytest.raises(ValueError, match="has changed"):
            version(2)  # the first version's results are there, and nothing says that they count
        assert (version(2, accept_changes=True).records == table.records).all()
        assert (version(2).records == table.records).all()

    def test_accepting_changes_is_not_accepting_anything(self, tmp_path):
        run(store=tmp_path)
        with pytest.raises(ValueError, match="seed 0 there, 1 asked for"):
            run(store=tmp_path, rng=1, accept_changes=True)
        with pytest.raises(ValueError, match="'experiment' there"):
            mn.sweep(experiment_with_nan, GRID, store=tmp_path, progress=False, accept_changes=True)

    def test_an_experiment_that_cannot_be_recognised_needs_a_version(self, tmp_path):
        unknown = eval("lambda cell, rng: {'x': 1.0}")
        with pytest.raises(ValueError, match=r"give it an attribute, as by f\.version"):
            mn.sweep(unknown, GRID, store=tmp_path / "store", progress=False)
        assert not (tmp_path / "store").exists()
        assert len(mn.sweep(unknown, GRID, 1, progress=False)) == 6

    def test_a_damaged_manifest_is_rebuilt(self, tmp_path, plain):
        run(store=tmp_path)
        (tmp_path / "manifest.json").write_text("{")
        with pytest.warns(UserWarning, match="damaged, and is rebuilt from this call"):
            assert (run(store=tmp_path).records == plain).all()
        with pytest.raises(ValueError, match="seed 0 there, 1 asked for"):
            (tmp_path / "manifest.json").unlink()
            run(store=tmp_path, rng=1)

    def test_a_damaged_record_is_run_again(self, tmp_path, plain):
        run(store=tmp_path)
        segment, = (tmp_path / "segments").iterdir()
        data = bytearray(segment.read_bytes())
        data[len(data) // 2] ^= 1
        segment.write_bytes(data)
        with pytest.warns(UserWarning, match="has a part that cannot be read.* run again: segments/.*bytes"):
            assert (run(store=tmp_path).records == plain).all()


@pytest.mark.filterwarnings("ignore:.* replicates raised")
class TestFailures:
    def test_they_are_warned_of(self):
        with pytest.warns(UserWarning, match=r"4 of 12 replicates raised; the first, replicate 0 of {'a': 2}: Value"
                                             r"Error: no 2\. All are in table\.failures"):
            self.call()

    @staticmethod
    def failing(cell, rng):
        if cell["a"] == 2 and TestFailures.fails:
            raise ValueError(f"no {cell['a']}")
        return {"x": cell["a"]}

    fails = True

    def call(self, **options):
        return mn.sweep(TestFailures.failing, mn.Grid(a=[1, 2, 3]), 4, progress=False, **options)

    @pytest.mark.parametrize("stored", [False, True])
    def test_what_raises_does_not_stop_the_rest(self, stored, tmp_path):
        table = self.call(store=tmp_path if stored else None)
        assert table.records["x"].tolist() == [1] * 4 + [3] * 4
        assert [(each.cell, each.replicate) for each in table.failures] == [({"a": 2}, r) for r in range(4)]
        assert table.failures[0].error == "ValueError: no 2"
        assert "in failing" in table.failures[0].traceback and "run_replicate" not in table.failures[0].traceback

    def test_failures_are_run_again_when_asked(self, tmp_path, monkeypatch):
        self.call(store=tmp_path)
        monkeypatch.setattr(TestFailures, "fails", False)
        assert len(self.call(store=tmp_path).failures) == 4
        table = self.call(store=tmp_path, retry_failed=True)
        assert not table.failures and len(table) == 12
        assert not self.call(store=tmp_path).failures

    def test_what_another_writer_has_mended_is_not_run_again(self, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "REFRESH_SECONDS", 0.0)
        monkeypatch.setattr(engine, "BATCH_SECONDS", 0.0)
        calls, healthy = [], []

        def mended(cell, rng):
            calls.append(1)
            time.sleep(0.002)
            if not healthy:
                raise ValueError
            return {"x": 1}

        mended.version = "1"

        def call(**options):
            return mn.sweep(mended, mn.Grid(a=[1, 2, 3, 4]), 50, store=tmp_path, progress=False, jobs=1, **options)

        call()
        calls.clear()
        healthy.append(True)
        with ThreadPoolExecutor(2) as writers:
            list(writers.map(lambda _: call(retry_failed=True), range(2)))
        assert 200 <= len(calls) < 300

    def test_what_fails_again_is_run_once(self, tmp_path):
        self.call(store=tmp_path)
        assert len(self.call(store=tmp_path, retry_failed=True).failures) == 4

    @pytest.mark.parametrize("result, message", [
        (None, "TypeError: an experiment must return a dict of numbers, got NoneType"),
        ({"x": "1"}, "TypeError: an experiment must return numbers, got x of type str"),
        ({"x": [1.0]}, "TypeError: an experiment must return numbers, got x of type list"),
        ({"x": 1j}, "TypeError: an experiment must return numbers, got x of type complex"),
        ({"x": np.ones(1)}, "TypeError: an experiment must return numbers, got x of type ndarray"),
        ({"x": 10**5000}, "ValueError: an experiment must return whole numbers of 64 bits at most"),
        ({1: 1.0}, "TypeError: an experiment must name its results by strings, got 1"),
        ({"a": 1.0}, "ValueError: an experiment must not name a result like an axis"),
        ({"replicate": 1.0}, "ValueError: an experiment must not name a result like an axis"),
    ])
    def test_what_is_no_result_is_a_failure(self, result, message):
        table = mn.sweep(lambda cell, rng: result, mn.Grid(a=1), 1, progress=False)
        assert table.failures[0].error.startswith(message)

    @pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), GeneratorExit(), MemoryError(),
                                       RecursionError("deep"), UnicodeError("\udc80\n")])
    def test_errors_of_all_kinds(self, error, tmp_path):
        def raising(cell, rng):
            raise error

        raising.version = "1"
        table = mn.sweep(raising, mn.Grid(a=1), 2, store=tmp_path, progress=False)
        assert [each.error for each in table.failures] == [each.error for each in mn.load_sweep(tmp_path).failures]
        assert type(error).__name__ in table.failures[0].error

    def test_they_are_counted_in_the_bar(self, monkeypatch):
        from moenoise import _progress

        original = _progress.progress_bar
        bars = []
        monkeypatch.setattr(module, "progress_bar", lambda *args, **options: bars.append(original(*args, **options))
                            or bars[0])
        mn.sweep(TestFailures.failing, mn.Grid(a=[1, 2, 3]), 4)
        assert bars[0].postfix == "failed=4" and bars[0].n == bars[0].total == 12


def test_a_worker_on_another_kernel_is_told_of(monkeypatch):
    monkeypatch.setattr(tasks, "blas_kernel", lambda: "Abacus, beads")
    with pytest.warns(UserWarning, match="a worker computes with the BLAS kernel Abacus, beads, and others with"):
        run()


def test_an_experiment_of_ones_own_with_a_built_ins_name_has_no_theory(tmp_path):
    def risk(cell, rng):
        return {"lead": 1.0}

    grid = mn.Grid(n=20, d=4, k=2)
    risk.__qualname__ = "risk"
    own = mn.sweep(risk, grid, 2, store=tmp_path / "own", progress=False)
    built_in = mn.sweep("risk", grid, 2, store=tmp_path / "built-in", progress=False)
    for table, count in ((own, 0), (mn.load_sweep(tmp_path / "own"), 0), (built_in, 1),
                         (mn.load_sweep(tmp_path / "built-in"), 1)):
        assert table.experiment == "risk" and len(table.theory()) == count


class TestWriters:
    def test_two_at_a_time_share_the_work(self, tmp_path, plain, monkeypatch):
        monkeypatch.setattr(module, "REFRESH_SECONDS", 0.01)
        monkeypatch.setattr(engine, "BATCH_SECONDS", 0.01)
        calls = []

        def slow(cell, rng):
            calls.append(1)
            time.sleep(0.005)
            return experiment(cell, rng)

        slow.version = "1"
        with ThreadPoolExecutor(3) as writers:
            tables = list(writers.map(lambda _: mn.sweep(slow, GRID, 20, store=tmp_path, progress=False, jobs=1),
                                      range(3)))
        for table in tables:
            assert (table.records == plain).all()
        assert 120 <= len(calls) < 240  # three times 120 without a look at the others
        assert len(list((tmp_path / "segments").iterdir())) == 3

    def test_a_full_disk_is_an_error_and_nothing_is_lost(self, tmp_path, plain, monkeypatch):
        append, count = Store.append, itertools.count()

        def failing(self, records):
            if next(count) == 3:
                raise OSError(28, "No space left on device")
            return append(self, records)

        monkeypatch.setattr(Store, "append", failing)
        monkeypatch.setattr(engine, "BATCH_SECONDS", 1e-4)
        with pytest.raises(OSError, match="No space left") as caught:
            run(store=tmp_path)
        assert f"what is finished is in {tmp_path}" in caught.value.__notes__[0]
        assert 0 < len(mn.load_sweep(tmp_path)) < 120
        assert (run(store=tmp_path).records == plain).all()


class TestArguments:
    @pytest.mark.parametrize("options, error, message", [
        ({"grid": {"a": [1]}}, TypeError, "grid must be a moenoise.Grid, got dict"),
        ({"replicates": 0}, ValueError, "replicates must be at least 1"),
        ({"replicates": 2.0}, TypeError, "replicates must be an integer"),
        ({"rng": -1}, ValueError, "rng must be at least 0"),
        ({"rng": "0"}, TypeError, "rng must be"),
        ({"jobs": 0}, ValueError, "jobs must be at least 1"),
        ({"executor": 3}, TypeError, "executor must have the protocol"),
        ({"shard": (0, 3)}, ValueError, "shard's first number must be at least 1"),
        ({"shard": (4, 3)}, ValueError, "shard's first number must be at most 3"),
        ({"shard": (1, 2, 3)}, ValueError, "shard must be a pair"),
        ({"shard": 3}, TypeError, "shard must be a sequence"),
        ({"retry_failed": 1}, TypeError, "retry_failed must be True or False"),
        ({"accept_changes": 1}, TypeError, "accept_changes must be True or False"),
        ({"store": 3.5}, TypeError, "store must be the path of a folder"),
        ({"store": ""}, ValueError, "store must be the path of a folder"),
    ])
    def test_faults_are_named_before_any_work(self, options, error, message):
        calls = []

        def counted(cell, rng):
            calls.append(1)
            return {}

        with pytest.raises(error, match=message):
            mn.sweep(counted, **({"grid": GRID, "progress": False} | options))
        assert not calls

    @pytest.mark.parametrize("axes, error", [({"noise_variance": ["a", 1.0]}, TypeError),
                                             ({"noise_variance": -1.0}, ValueError), ({"n": [20, 50.5]}, TypeError)])
    def test_a_built_ins_values_are_looked_at_first(self, axes, error):
        with pytest.raises(error, match=next(iter(axes))):
            mn.sweep("risk", mn.Grid(**{"n": 20, "d": 4, "k": 2} | axes), progress=False)

    def test_a_built_in_is_told_its_axes(self):
        with pytest.raises(ValueError, match="noise_variance"):
            mn.sweep("risk", mn.Grid(n=10, d=4, k=2, noise_varianse=1.0), progress=False)
        with pytest.raises(ValueError, match="must include n"):
            mn.sweep("risk", mn.Grid(d=4, k=2), progress=False)

    def test_processes_need_a_function_that_can_be_sent(self):
        from concurrent.futures import ProcessPoolExecutor

        with pytest.raises(TypeError, match="experiment must be a function at the top of a module"):
            mn.sweep(lambda cell, rng: {}, GRID, executor=ProcessPoolExecutor(1), progress=False)

    def test_there_is_nothing_to_load_where_there_is_no_store(self, tmp_path):
        with pytest.raises(OSError):
            mn.load_sweep(tmp_path / "none")
        with pytest.raises(ValueError):
            mn.load_sweep(tmp_path)


def test_twelve_sweeps_at_once(plain):
    with ThreadPoolExecutor(12) as pool:
        for records in pool.map(lambda _: run().records, range(12)):
            assert (records == plain).all()


def test_ctrl_c_from_another_process_in_the_middle(tmp_path, plain):
    def slow(cell, rng):
        time.sleep(0.005)
        return experiment(cell, rng)

    slow.version = "1"
    threading.Timer(0.15, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        mn.sweep(slow, GRID, 20, store=tmp_path, progress=False, jobs=2)
    stored = len(mn.load_sweep(tmp_path))
    assert 0 < stored < 120
    assert (mn.sweep(slow, GRID, 20, store=tmp_path, progress=False).records == plain).all()
