# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Where do experts win, and where does dense? A phase diagram
#
# One simulation answers for one setting. The interesting answer is a map: over noise, samples, number of experts,
# routing errors. That is thousands of settings, each simulated many times: a **sweep**. This notebook runs a small one,
# stops it, goes on, makes it larger, draws the boundary between the two phases with theory's line through it, does the
# same with an experiment of our own, and says how the same call runs on a cluster.
#
# The vocabulary: a **grid** has named **axes**; a combination of their values is a **cell**; an **experiment** is run
# on each cell many times over, each time a **replicate** with random numbers of its own.

# %%
# %matplotlib inline
import signal
import tempfile
import threading
import time

import matplotlib
import numpy as np

import moenoise as mn
from moenoise import plots

matplotlib.rcParams.update(plots.STYLE)

# %% [markdown]
# ## The grid
#
# The built-in experiment `"risk"` draws n rows of a block model with k experts and fits dense least squares to all of
# them, and each expert to its own rows and features; routing is known. `penalty="best"` gives dense the ridge penalty
# that is best for its n and its noise: the strongest rival that experts have here. Results are risks as shares of the
# response's variance, and the `lead`, dense's risk less the experts'. Above 0 experts win.

# %%
NOISES = [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
grid = mn.Grid(n=[60, 80, 120], noise_variance=NOISES, d=40, k=4, penalty="best")
grid

# %%
grid.cell(8)

# %% [markdown]
# A cell is known by its values, not by its place, and its random numbers depend on the seed, these values and the
# number of the replicate only. So it does not matter who computes it, when, in what order, or how often the work was
# interrupted: on CPUs of one kind the numbers are the same to the last bit.
#
# ## Stop
#
# With `store=`, a folder, what is finished is on disk and stays there. Let us press Ctrl-C in the middle (in Jupyter:
# the stop button; here an alarm does it, before the second is over).

# %%
temporary = tempfile.TemporaryDirectory()
folder = temporary.name
settings = {"replicates": 400, "store": folder, "progress": False}

threading.Timer(0.8, signal.raise_signal, [signal.SIGINT]).start()
try:
    mn.sweep("risk", grid, **settings)
    time.sleep(1)  # a fast machine is finished by now, and waits for the alarm
except KeyboardInterrupt as stop:
    print(str(stop).replace(folder, "the folder") or "finished before the alarm")

# %% [markdown]
# `moenoise status FOLDER`, in a shell, tells the same and more: what failed, who is writing, how long it will take. In
# Python the folder can be loaded at any time, from another process as well:

# %%
table = mn.load_sweep(folder)
print(f"{len(table)} of {len(grid) * settings['replicates']} replicates finished, {len(table.failures)} failed")

# %% [markdown]
# ## Go on
#
# The same call runs what is missing, and nothing else. Once all is there it takes no time.

# %%
for call in ("going on", "once more"):
    start = time.perf_counter()
    table = mn.sweep("risk", grid, **settings)
    print(f"{call}: {len(table)} replicates, {time.perf_counter() - start:.1f} s")

# %% [markdown]
# ## More of it
#
# A larger grid, or more replicates, extends what the store has: only the new columns are run.

# %%
larger = mn.Grid(n=[60, 80, 120, 160, 240, 320], noise_variance=NOISES, d=40, k=4, penalty="best")
before = len(table)
table = mn.sweep("risk", larger, **settings)
print(f"{len(table)} replicates, of which {len(table) - before} are new; {len(table.failures)} failed")

# %% [markdown]
# What differs is refused, not mixed: another seed, another experiment, or another version of either in the same folder
# is an error that says what the folder holds.

# %%
try:
    mn.sweep("risk", larger, rng=1, **settings)
except ValueError as error:
    print(str(error).replace(folder, "the folder"))

# %% [markdown]
# ## Look at it
#
# `table.records` is a structured array, `to_pandas()` a data frame, and `summary()` has means, standard errors and
# counts, a line a cell.

# %%
table.where(n=240).summary()

# %%
figure, ax = plots.new_axes(width=5.4, height=3.5)
table.where(n=[60, 80, 120, 240]).plot("noise_variance", "lead", hue="n", ax=ax)
ax.axhline(0, color=plots.COLOURS["reference"], linewidth=0.8)
ax.set_ylabel("dense's risk less the experts'")
figure

# %% [markdown]
# Markers are means, with bars of two standard errors; lines are theory's expectations: exact for the experts, for dense
# those of large matrices. Each line falls through 0 somewhere, and the more rows there are, the later. Drawn as a map:

# %%
ax = plots.phase(table, x="n", y="noise_variance", value="lead", limit=0.5,
                 label="dense's risk less the experts',\nas a share of the response's variance")
ax.set_xlabel("training rows (40 features, 4 experts)")
figure = ax.figure
figure

# %% [markdown]
# **Orange: experts win; purple: dense wins.** Markers are the measured boundary, theory's line runs through them; cells
# with a ring are not decided. So it is not true that experts win wherever features are noisy: four experts, perfectly
# routed, need more than two rows a feature at noise variance 1, and more than four at 3, before they overtake a
# well-tuned dense model. Theirs is the lower limit (Theorem 2), but to get there each of them has a fourth of the rows,
# and no penalty.
#
# The numbers of the boundary, measured and theory's, both interpolated between the same cells:

# %%
measured, stated = (table.boundary("n", "noise_variance", "lead", stated=stated) for stated in (False, True))
for found, expected in zip(*([point for point in points if point.along == "noise_variance"]
                             for points in (measured, stated))):
    print(f"n = {found.x:3.0f}: experts win up to noise variance {found.y:5.2f} +- {found.standard_error:.2f}; "
          f"theory: {expected.y:5.2f}")

# %% [markdown]
# ## An experiment of your own
#
# Any function `f(cell, rng)` that returns a dict of numbers. Ours asks what it is about experts that wins: is it that
# each has its own rows, or that each knows its block of features? *Wide* experts have their own rows, but nobody tells
# them their block: each is a least-squares fit on all features.
#
# Their expected risk is known. Within the rows of expert $i$ the features are Gaussian and the response is a linear
# function of them with a residual of variance $s_i$, so that with $n_i$ rows and $d$ features it is $s_i\,\bigl(1 +
# d / (n_i - d - 1)\bigr)$; the mean of $s_i$ is the experts' risk in Theorem 2.

# %%
FEATURES, EXPERTS = 16, 4


def model_of(cell):
    return mn.BlockModel.isotropic(FEATURES, EXPERTS, noise_variance=cell["noise_variance"], rng=0)


def wide_experts(cell, rng):
    """By how much the risk of wide experts is below dense's, as a share of the response's variance."""
    model = model_of(cell)
    rows = model.sample(cell["n"], rng=rng, routing="balanced")
    dense = mn.lstsq(rows.features, rows.response).coef
    risks = []
    for i, block in enumerate(model.blocks):
        own = rows.expert == i
        coef = mn.lstsq(np.ascontiguousarray(rows.features[own]), rows.response[own]).coef
        missed = coef[block] - model.coefficients[i]  # clean features have variance 1
        risks.append(missed @ missed + model.noise_variance * coef @ coef)
    total = model.probabilities @ model.signal_variances
    return {"lead": (mn.theory.risk(model, dense) - np.mean(risks)) / total}


def expected(cell):
    model, spare = model_of(cell), cell["n"] / EXPERTS - FEATURES - 1
    wide = mn.theory.generalization(model).sparse * (1 + FEATURES / spare)
    return {"lead": (mn.theory.dense_risk(model, cell["n"]) - wide) / (model.probabilities @ model.signal_variances)}


wide_grid = mn.Grid(n=[96, 128, 192, 320, 640, 1280], noise_variance=[0.0625, *NOISES])
wide = mn.sweep(wide_experts, wide_grid, replicates=60, progress=False).with_theory(expected)

ax = plots.phase(wide, x="n", y="noise_variance", value="lead", limit=0.5,
                 label="dense's risk less the wide experts',\nas a share of the response's variance")
ax.set_xlabel("training rows (16 features, 4 experts)")
figure = ax.figure
figure

# %% [markdown]
# Here dense has no penalty, and still wins over a good part of the map. Wide experts keep what Theorem 2 promises, with
# many rows: noise that is not worth a coefficient of its own gets a small one, from their own rows. But each has all
# $d$ coefficients to estimate from a fourth of the rows, and where the noise leaves little to gain that is not worth
# it.
#
# An experiment that raises does not stop a sweep. What it raised is in `table.failures`, with the cell and the
# traceback, and `retry_failed=True` runs it again.
#
# ## From here to a cluster
#
# The call stays the same; only where it runs changes. Any executor with the protocol of `concurrent.futures` will do.
# An experiment of your own has to be in a module then, which the workers import:
#
#     from concurrent.futures import ProcessPoolExecutor
#     with ProcessPoolExecutor(8) as executor:                     # for experiments that are Python, not NumPy
#         table = mn.sweep(experiment, grid, 200, executor=executor, store="phase")
#
#     client = dask.distributed.Client("scheduler:8786")           # any cluster that dask knows
#     table = mn.sweep(experiment, grid, 200, executor=client.get_executor(), store="phase")
#
#     with mpi4py.futures.MPIPoolExecutor() as executor:           # mpirun -n 64 python -m mpi4py.futures script.py
#         table = mn.sweep(experiment, grid, 200, executor=executor, store="phase")
#
# Or no executor at all: a job array whose jobs share nothing but the folder. The sweep is written down in a file,
#
#     # phase.toml
#     experiment = "risk"
#     replicates = 200
#     [grid]
#     n = [60, 80, 120, 160, 240, 320]
#     noise_variance = {from = 0.125, to = 8, count = 25, spacing = "log"}
#     d = 40
#     k = [2, 4, 8]
#     penalty = "best"
#
# and in the shell:
#
#     sbatch --array=1-100 --wrap 'moenoise sweep phase.toml --shard $SLURM_ARRAY_TASK_ID/100'
#     moenoise status phase                 # how far, from anywhere
#     moenoise sweep phase.toml             # whatever a killed job has left
#     moenoise export phase --to csv        # or parquet
#
# ## Exercises
#
# **1. The paper's dense.** Leave the penalty out: `mn.Grid(n=[...], noise_variance=NOISES, d=40, k=4)`, with `n` from
# 60 to 320. Where does dense win now? (Use another folder, or none: why is the old one refused?)
#
# <details><summary>Answer</summary>
#
# Nowhere but in a corner: at n = 60, where each expert has 15 rows for 10 features, dense is level at noise 4 or so,
# and ahead at 8. Without a penalty both peak at n = 40, dense there and each expert where it has 10 rows; beyond it
# they come down together, and Theorem 2's gap decides. The paper's picture is that of the paper's dense model. The old
# folder is refused since its cells have an axis more, `penalty`: they answer another question.
# </details>
#
# **2. More experts.** Sweep `k=[2, 4, 8]` at `n=160`, all noises, with `penalty="best"`, and call
# `plot("noise_variance", "lead", hue="k")`. Is it better to have more experts?
#
# <details><summary>Answer</summary>
#
# Where the noise is weak, yes: at 0.25 the lead is 0.16 with two experts, 0.36 with four and 0.52 with eight. At noise
# 4 all three are behind by 0.1. The experts' own risk is nearly the same for each k: rows and features are divided
# alike. What grows with k is dense's, which has a signal in a smaller share of the rows and the noise in all.
# </details>
#
# **3. Boundaries of something else.** In which share of the *replicates* are wide experts ahead? Let an experiment
# return `{"ahead": wide_experts(cell, rng)["lead"] > 0}`, sweep `wide_grid`, and draw `plots.phase(table, x="n",
# y="noise_variance", value="ahead", level=0.5)`.
#
# <details><summary>Answer</summary>
#
# Results may be `bool`; their mean is the share. Its boundary of one half is that of the mean where rows are many, and
# a little higher where they are few: at n = 96 near noise 0.24 instead of 0.18, since the wide experts' risk has a long
# tail. They are ahead in most draws there, and far behind in some. It also shows how sharp the boundary is: at n = 320
# a step from noise 2 to 8 takes the share from all to none.
# </details>
