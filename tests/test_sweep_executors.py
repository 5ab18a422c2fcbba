"""Sweeps on real executors: the same bits from each, and nothing lost with a worker, nor by Ctrl-C."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import sweep_child
import sweep_experiments
from sweep_executors import KINDS, NEEDS, open_executor
from threadpoolctl import threadpool_limits

import moenoise as mn
from moenoise.sweeps import engine
from moenoise.sweeps.grid import cell_text, generator

HERE = Path(__file__).parent
GRID = mn.Grid(n=[40, 200], noise_variance=[0.5, 2.0])
FIVE = mn.Grid(k=[0, 1, 2, 3, 4])
PROCESSES = [kind for kind in KINDS if kind != "threads"]
BUILT_IN = {"experiment": "risk", "grid": mn.Grid(n=[60, 240], k=4, d=40, noise_variance=[0.5, 2.0]), "replicates": 5}
OWN = {"experiment": sweep_experiments.draws, "grid": GRID, "replicates": 10}


def need(kind):
    """Skip the test where what the executor needs is not there; fail where all of it has to be."""
    missing = [name for name in NEEDS.get(kind, ()) if not (importlib.util.find_spec(name) or shutil.which(name))]
    if missing:
        end = pytest.fail if os.environ.get("MOENOISE_REQUIRE_EXECUTORS") else pytest.skip
        end(f"{missing[0]} is not there")


@pytest.fixture(scope="module")
def opened():
    """kind -> executor, opened where it is first asked for; BLAS would have two threads in its workers."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENBLAS_NUM_THREADS", "2")
        executors = {}

        def get(kind):
            need(kind)
            if kind not in executors:
                if kind == "dask":
                    import dask

                    two = {"distributed.nanny.pre-spawn-environ.OPENBLAS_NUM_THREADS": 2}
                    stack.enter_context(dask.config.set(two))
                executors[kind] = stack.enter_context(open_executor(kind))
            return executors[kind]

        yield get


@pytest.fixture(scope="module")
def expected():
    """Tables of one thread, nothing stored."""
    return {id(case): run(**case, jobs=1) for case in (BUILT_IN, OWN)}


def run(experiment, grid, replicates, **settings):
    return mn.sweep(experiment, grid, replicates, rng=7, progress=False, **settings)


def bits(table):
    """Of the records: two are the same string where their types and all their bits are the same, also those of -0.0."""
    return f"{table.records.dtype} {table.records.tolist()!r}"


def environment(**more):
    """For a process that imports what stands beside this file, and has more threads than tasks may use."""
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "2", **more}


def mpirun(*cases):
    """The command and its environment for a driver and two workers; OpenMPI's settings let root run more than cores."""
    need("mpi")
    specs = [{"experiment": getattr(case["experiment"], "__name__", case["experiment"]),
              "axes": case["grid"].to_json(), "replicates": case["replicates"], "store": str(case["store"])}
             for case in cases]
    settings = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                "OMPI_MCA_rmaps_base_oversubscribe": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
    return {"args": ["mpirun", "-n", "3", sys.executable, "-m", "mpi4py.futures", str(HERE / "sweep_mpi.py"),
                     json.dumps(specs)], "env": environment(**settings)}


def run_by_mpi(*cases):
    return subprocess.run(**mpirun(*cases), capture_output=True, text=True, timeout=100)


# ---- the same bits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", [BUILT_IN, OWN], ids=["risk", "own"])
def test_the_same_bits(kind, case, opened, expected):
    assert bits(run(**case, executor=opened(kind))) == bits(expected[id(case)])


def test_the_same_bits_by_mpi(tmp_path, expected):
    cases = [case | {"store": tmp_path / str(i)} for i, case in enumerate((BUILT_IN, OWN))]
    threads = {"experiment": sweep_experiments.threads, "grid": FIVE, "replicates": 4, "store": tmp_path / "threads"}
    done = run_by_mpi(*cases, threads)
    assert (done.returncode, done.stdout) == (0, "2 workers\n"), done.stderr
    for case, shown in zip((BUILT_IN, OWN), cases):
        assert bits(mn.load_sweep(shown["store"])) == bits(expected[id(case)])
    assert_limited(mn.load_sweep(threads["store"]))


def test_bits_tell(expected):
    """A last bit's difference is one."""
    table = run(**OWN, jobs=1)
    assert bits(table) == bits(expected[id(OWN)])
    table.records["smallest"][3] = np.nextafter(table.records["smallest"][3], 0)
    assert bits(table) != bits(expected[id(OWN)])


# ---- one BLAS thread -------------------------------------------------------------------------------------------------


def assert_limited(table):
    assert set(table.records["at_first"]) == {2}
    assert set(table.records["now"]) == {1}


@pytest.mark.parametrize("kind", PROCESSES)
def test_blas_has_one_thread_in_processes(kind, opened):
    assert_limited(run(sweep_experiments.threads, FIVE, 4, executor=opened(kind)))


@pytest.mark.parametrize("given", [False, True])
def test_blas_has_one_thread_in_threads(given, opened):
    with threadpool_limits(2, user_api="blas"):
        table = run(sweep_experiments.threads, FIVE, 4, executor=opened("threads") if given else None)
        assert sweep_experiments.blas_threads() == 2
    assert set(table.records["now"]) == {1}


# ---- what raises -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_raises_stops_nothing_else(kind, opened):
    table = run(sweep_experiments.raises, FIVE, 3, executor=opened(kind))
    alone = run(sweep_experiments.raises, FIVE, 3, jobs=1)
    assert bits(table) == bits(alone)
    assert [(failure.cell, failure.replicate, failure.error) for failure in table.failures] \
        == [(failure.cell, failure.replicate, failure.error) for failure in alone.failures]
    assert {(failure.cell["k"], failure.replicate) for failure in table.failures} \
        == {(k, replicate) for k in (1, 3) for replicate in range(3)}
    for failure in table.failures:
        assert failure.error.startswith("ValueError: no k = 1, after ") if failure.cell["k"] == 1 \
            else failure.error.endswith("Unpicklable: the second argument")
        assert "in raises" in failure.traceback
    assert set(table.records["k"]) == {0, 2, 4} and len(table.records) == 9


@pytest.mark.parametrize("kind", PROCESSES)
def test_an_experiment_that_workers_cannot_import_is_an_error(kind, opened, monkeypatch):
    """And breaks nothing: neither a pool nor dask's workers, which would have the call wait for ever."""
    module = types.ModuleType("not_there")
    exec("def experiment(cell, rng):\n    return {'value': 1.0}", module.__dict__)
    module.experiment.version = "1"
    monkeypatch.setitem(sys.modules, "not_there", module)
    executor = opened(kind)
    with pytest.raises(ModuleNotFoundError, match="not_there"):
        run(module.experiment, FIVE, 2, executor=executor)
    assert executor.submit(abs, -3).result(timeout=20) == 3


# ---- workers that die ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PROCESSES)
def test_workers_that_die(kind, tmp_path, monkeypatch):
    need(kind)
    with ExitStack() as stack:
        if kind == "dask":
            import dask

            # Dask itself would run four times what a worker dies of.
            stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": 0}))
        executor = stack.enter_context(open_executor(kind))
        once(executor, tmp_path)
        monkeypatch.setattr(engine, "MOST_ITEMS", 1)  # no batch that has to be divided, with a death each time
        if kind != "processes":  # more deaths for one of them will do
            monkeypatch.setattr(engine, "MOST_DEATHS", 2)
        always(executor, tmp_path)


def once(executor, tmp_path):
    """Nothing is lost with a worker, and nothing is done twice but what it had under way."""
    grid = mn.Grid(k=[1, 2, 3, 4], marker=str(tmp_path / "died"))
    store = tmp_path / "once"
    table = run(sweep_experiments.dies_once, grid, 5, executor=executor, store=store)
    assert (tmp_path / "died").exists()
    assert table.failures == []
    assert bits(table) == bits(run(sweep_experiments.dies_once, grid, 5, jobs=1))
    assert count_records(store) == 20


def always(executor, tmp_path):
    """What no worker survives is a failure, and the rest is finished."""
    fatal = [replicate for replicate in range(4)
             if sweep_experiments.is_fatal({"k": 3}, generator(7, cell_text({"k": 3}), replicate))]
    assert len(fatal) == 1  # by the seed
    store = tmp_path / "always"
    table = run(sweep_experiments.dies_always, FIVE, 4, executor=executor, store=store)
    assert [(failure.cell, failure.replicate) for failure in table.failures] == [({"k": 3}, fatal[0])]
    assert "died" in table.failures[0].error
    assert len(table.records) == 19
    assert bits(mn.load_sweep(store)) == bits(table)
    alone = run(sweep_experiments.dies_always, mn.Grid(k=[0, 1, 2, 4]), 4, jobs=1)
    assert [line for line in table.records.tolist() if line[0] != 3] == alone.records.tolist()


def count_records(store):
    """Lines in all segments, but for their headers."""
    lines = [line for path in (Path(store) / "segments").iterdir() for line in path.read_bytes().splitlines() if line]
    return sum(b'"replicate"' in line for line in lines)


def test_a_worker_of_mpi_that_dies_takes_all_with_it_but_what_is_stored(tmp_path):
    grid, store = mn.Grid(k=[1, 2, 3, 4], marker=str(tmp_path / "died")), tmp_path / "store"
    case = {"experiment": sweep_experiments.dies_once, "grid": grid, "replicates": 5, "store": store}
    died = run_by_mpi(case)
    assert died.returncode != 0 and (tmp_path / "died").exists()
    before = mn.load_sweep(store)
    assert 0 < len(before.records) < 20
    again = run(sweep_experiments.dies_once, grid, 5, store=store)
    assert bits(again) == bits(run(sweep_experiments.dies_once, grid, 5, jobs=1))
    assert count_records(store) == 20


# ---- Ctrl-C ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slow_table():
    return run(sweep_experiments.slow, sweep_child.GRID, sweep_child.REPLICATES, jobs=20)


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c(kind, tmp_path, slow_table):
    need(kind)
    store = tmp_path / "store"
    code, message = interrupted(store, args=[sys.executable, str(HERE / "sweep_child.py"), kind, str(store)],
                                env=environment())
    assert code != 0
    done = resumed(store, slow_table)
    last, = [line for line in message.splitlines() if line.startswith("KeyboardInterrupt: ")]
    assert f"{done} of 60 are finished" in last and str(store) in last and "the same call goes on" in last


def test_ctrl_c_at_mpirun(tmp_path, slow_table):
    """It sends processes other signals, and soon kills them."""
    case = {"experiment": sweep_experiments.slow, "grid": sweep_child.GRID, "replicates": sweep_child.REPLICATES}
    store = tmp_path / "store"
    code, _ = interrupted(store, **mpirun(case | {"store": store}))
    assert code != 0
    resumed(store, slow_table)


def interrupted(store, **process):
    """(exit code, stderr) of a process that gets SIGINT, with all in its group as at a terminal, when a part is stored.
    """
    with subprocess.Popen(**process, stderr=subprocess.PIPE, text=True, start_new_session=True) as child:
        try:
            deadline = time.monotonic() + 30
            while stored(store) < 3:
                assert child.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)
            os.killpg(child.pid, signal.SIGINT)
            _, message = child.communicate(timeout=30)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
    return child.returncode, message


def stored(store):
    return count_records(store) if (store / "segments").is_dir() else 0


def resumed(store, expected):
    """How many were stored before the sweep is gone on with, and is as if never interrupted."""
    done = len(mn.load_sweep(store).records)
    assert 3 <= done < 60
    table = run(sweep_experiments.slow, sweep_child.GRID, sweep_child.REPLICATES, jobs=20, store=store)
    assert bits(table) == bits(expected)
    assert count_records(store) == 60
    return done
