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
# # Theorem 1: can a router find a noisy row's expert?
#
# Experts help only if somebody finds the right one. The paper (Section 4.1, Appendix A.7) lets a quadratic discriminant
# analysis (QDA) do it, one small covariance matrix an expert, and states that its routing is nearly perfect once there
# are enough rows. Two questions: is the printed score the right one? And how good can *any* router be?
#
# **The model.** A row belongs to expert $z$ with probability $p_z$. Its clean features are $\mathcal N(0, \Sigma_z)$ in
# block $z$ and zero elsewhere. We see them with noise of variance $\sigma^2$ on *all* features, and the router sees
# nothing else.

# %%
# %matplotlib inline
import warnings

import matplotlib
import numpy as np
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis

import moenoise as mn
from moenoise import plots

matplotlib.rcParams.update(plots.STYLE)

# %% [markdown]
# ## The score, derived
#
# Write $x_i$ for the part of the noisy row $x$ in block $i$, with $d_i$ features, and $C_i = \Sigma_i + \sigma^2 I$.
# Given expert $i$ the blocks are independent: block $i$ is $\mathcal N(0, C_i)$ and every other block is pure noise,
# $\mathcal N(0, \sigma^2 I)$. So, leaving out multiples of $\log 2\pi$, the log-likelihood of the **whole** row is
#
# $$\log p(x \mid i) = -\tfrac12 \log|C_i| - \tfrac12 x_i^\top C_i^{-1} x_i
#   - \sum_{j \ne i} \Big( \tfrac{d_j}{2} \log \sigma^2 + \frac{\|x_j\|^2}{2 \sigma^2} \Big).$$
#
# The sum leaves out block $i$. Add what it leaves out, and take away $\frac d2 \log\sigma^2 + \|x\|^2/(2\sigma^2)$,
# which is the same for all $i$. With the log of the prior that is the **corrected** score:
#
# $$g_i(x) = \log p_i - \tfrac12 \log|C_i| - \tfrac12 x_i^\top C_i^{-1} x_i
#   + \tfrac{d_i}{2} \log \sigma^2 + \frac{\|x_i\|^2}{2\sigma^2}.$$
#
# The **printed** score stops after two terms,
#
# $$\hat g_i(x) = -\tfrac12 \log|C_i| - \tfrac12 x_i^\top C_i^{-1} x_i .$$
#
# These are log-densities of *different coordinates* for different $i$. They cannot be compared: measure block $i$ in
# millimetres instead of metres, and $\hat g_i$ alone changes, by $d_i \log 1000$. Worse, $\hat g_i$ is largest where
# $x_i = 0$. It says "this block looks like expert $i$'s" most loudly when the block is silent.
#
# ## The smallest case
#
# Two experts of one feature each, equally likely, $\Sigma_1 = \Sigma_2 = s$. Then the corrected rule is "the larger of
# $|x_1|$, $|x_2|$", and the printed rule is "the smaller": wrong exactly where the other is right. A row of expert 1
# has $x_1 \sim \mathcal N(0, s + \sigma^2)$ and $x_2 \sim \mathcal N(0, \sigma^2)$, and an angle in the plane gives
#
# $$\text{accuracy} = P(|x_1| > |x_2|) = \frac2\pi \arctan \sqrt{1 + s/\sigma^2} .$$

# %%
ratios = 2.0 ** np.arange(-3, 11)  # s / sigma^2
accuracy = {"corrected": [], "printed": []}
for ratio in ratios:
    model = mn.BlockModel.isotropic(2, 2, variance=ratio, rng=0)
    rows = model.sample(20_000, rng=1)
    for form, values in accuracy.items():
        values.append(mn.QDARouter.from_model(model, form=form).score(rows.features, rows.expert))

figure, (plane, curve) = plots.new_axes(2, width=3.6, height=3.2)
shown = mn.BlockModel.isotropic(2, 2, variance=8.0, rng=0).sample(400, rng=2)
for expert, colour, marker in zip(range(2), plots.CYCLE, plots.MARKERS):
    own = shown.features[shown.expert == expert]
    plane.plot(*own.T, marker, markersize=3, color=colour, label=f"expert {expert + 1}")
for slope in (1, -1):
    plane.axline((0, 0), slope=slope, color=plots.COLOURS["reference"], linewidth=0.8)
for x, y, expert in ((7.3, 0, 1), (-7.3, 0, 1), (0, 8.3, 2), (0, -8.3, 2)):
    plane.text(x, y, f"corrected: {expert}\nprinted: {3 - expert}", ha="center", va="center", fontsize=7,
               bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1})
plane.set(xlim=(-11, 11), ylim=(-11, 11), aspect="equal", xlabel="noisy feature 1", ylabel="noisy feature 2",
          title="who is it? ($s = 8$, $\\sigma^2 = 1$)")
plane.legend(loc="upper left", fontsize=7, handletextpad=0.1, borderaxespad=0, labelspacing=0.2)
exact = 2 / np.pi * np.arctan(np.sqrt(1 + ratios))
for form, line in (("corrected", exact), ("printed", 1 - exact)):
    colour = plots.COLOURS[form]
    plots.stated(ratios, line, label=f"{form} score, exact", colour=colour, form=form, ax=curve)
    error = np.sqrt(exact * (1 - exact) / 20_000)
    plots.measured(ratios, accuracy[form], error, label=f"{form} score, simulated", colour=colour, ax=curve)
curve.axhline(0.5, color=plots.COLOURS["reference"], linewidth=0.8, linestyle=":")
curve.set_xscale("log", base=2)
curve.set(ylim=(0, 1), xlabel="signal-to-noise ratio $s / \\sigma^2$", ylabel="routing accuracy",
          title="two experts of one feature")
curve.legend(loc="center right", fontsize=7)
figure

# %% [markdown]
# The corrected score is the likelihood, so *no* router does better here (the dotted line is a coin). Note how slowly it
# gets good: with one feature an expert the error falls like $\sigma / \sqrt s$ only. "Nearly perfect" needs more
# features, not just more rows of data.
#
# ## More experts, and rows to learn from
#
# Five experts of 8 features with Toeplitz covariances. The routers are fitted to 4,000 rows with labels, and so is
# scikit-learn's QDA, which estimates all $40 \times 40$ entries of each expert's covariance instead of $8 \times 8$.

# %%
SCALE, NOISE = 4.0, 1.0
model = mn.BlockModel.toeplitz(40, 5, scale=SCALE, noise_variance=NOISE, rng=0)
train, test = model.sample(4_000, rng=1), model.sample(20_000, rng=2)


def accuracies(model, train, test):
    """Share of test rows that each router sends to the right expert."""
    routers = {"the best there is: corrected score, model known": mn.QDARouter.from_model(model)}
    for form in ("corrected", "printed"):
        routers[f"{form} score, fitted"] = mn.QDARouter(model.block_sizes, form=form).fit(train.features, train.expert)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where an expert has fewer rows than features
        full = QuadraticDiscriminantAnalysis(store_covariance=False, reg_param=1e-6)
        routers["scikit-learn's QDA, fitted"] = full.fit(train.features, train.expert)
    return {name: router.score(test.features, test.expert) for name, router in routers.items()}


for name, value in accuracies(model, train, test).items():
    print(f"{name:50} {value:.3f}")

# %% [markdown]
# With equal blocks the printed score is far worse than guessing (0.2). The corrected one is within a few tenths of a
# per cent of the best there is, and ahead of scikit-learn's, which has to learn that the other blocks hold nothing.
#
# ## How many rows does the router need?
#
# The printed bound asks for $n \ge C \frac{M^2}{\varepsilon^2} \sum_i \max\{d_i, \log(k/\delta)\}$ rows for an accuracy
# within $\varepsilon$ of the best, with a constant $C$ that is not given: the excess error $\varepsilon$ would fall
# like $\sqrt{d/n}$. We measure it, without drawing a single label for the test: where the best router gives the experts
# probabilities $q_i(x)$, one that picks $j$ errs more often than the best by exactly $\max_i q_i(x) - q_j(x)$.

# %%
COUNTS = np.array([250, 500, 1_000, 2_000, 4_000, 8_000])
BLOCKS = (4, 8, 12)  # features an expert
FITS = 8


def excess_errors(size, k=5, scale=SCALE):
    """(FITS, len(COUNTS)): how much more often a fitted router errs than the best one, on 10,000 rows."""
    model = mn.BlockModel.toeplitz(k * size, k, scale=scale, rng=0)
    test = model.sample(10_000, rng=1).features
    posterior = mn.QDARouter.from_model(model).predict_proba(test)

    def excess(n, replicate):
        train = model.sample(n, rng=2, replicate=replicate, routing="balanced")
        routed = mn.QDARouter(model.block_sizes).fit(train.features, train.expert).predict(test)
        return np.mean(posterior.max(axis=1) - np.take_along_axis(posterior, routed[:, None], axis=1)[:, 0])

    return np.array([[excess(n, replicate) for n in COUNTS] for replicate in range(FITS)])


figure, ax = plots.new_axes(width=4.6, height=3.2)
for size, colour, marker in zip(BLOCKS, plots.CYCLE, plots.MARKERS):
    excess = excess_errors(size)
    mean, error = excess.mean(axis=0), excess.std(axis=0, ddof=1) / np.sqrt(FITS)
    slope = np.polyfit(np.log(COUNTS[2:]), np.log(mean[2:]), 1)[0]
    plots.measured(COUNTS, mean, error, label=f"{size} features an expert: slope {slope:.2f} from n = 1,000 on",
                   colour=colour, marker=marker, ax=ax)
    middle = np.exp(np.mean(np.log((mean * COUNTS)[2:])))
    plots.stated(COUNTS, middle / COUNTS, label=None, colour=colour, ax=ax)
bound = excess_errors(BLOCKS[1])[:, 0].mean() * np.sqrt(COUNTS[0] / COUNTS)
plots.stated(COUNTS, bound, label="the bound's $n^{-1/2}$, its constant fitted", colour=plots.COLOURS["printed"],
             form="printed", ax=ax)
ax.set_xscale("log")
ax.set_yscale("log")
ax.set_xticks(COUNTS, [f"{n:,}" for n in COUNTS], fontsize=8)
ax.minorticks_off()
ax.set_xlabel("labelled rows $n$ of 5 experts")
ax.set_ylabel("excess routing error")
ax.legend(loc="lower left", fontsize=7)
figure

# %% [markdown]
# The lines fall like $1/n$, and so do the points as soon as every expert has many rows a feature: near the best rule
# the error is flat, so that an estimate off by $\delta \sim n^{-1/2}$ costs about $\delta^2$. The bound's $n^{-1/2}$ is
# loose. More features an expert cost more rows, but they buy a better best:

# %%
for size in BLOCKS:
    known = mn.BlockModel.toeplitz(5 * size, 5, scale=SCALE, rng=0)
    rows = known.sample(20_000, rng=1)
    print(f"{size:3} features an expert: the best router errs on "
          f"{1 - mn.QDARouter.from_model(known).score(rows.features, rows.expert):.1%} of the rows")

# %% [markdown]
# ## Exercises
#
# **1. A weak signal.** Set `SCALE = 0.5` in the cell with the five experts and run it again. Which of the routers gets
# *better*? Does a million rows help the others?
#
# <details><summary>Answer</summary>
#
# The printed score, since quiet blocks and the right block now differ less; it stays below guessing. The accuracy of
# the best router falls below a half, and no number of rows lifts a fitted one above it: this is a limit of the
# information in a row, not of the training set. "Nearly perfect" holds for strong signals only.
# </details>
#
# **2. Unequal loads.** Make the model with `mn.BlockModel(model.covariances, model.coefficients, [0.8, 0.05, 0.05,
# 0.05, 0.05])`. Compare `mn.QDARouter(sizes)`, which takes the priors from the training rows, with `mn.QDARouter(sizes,
# priors=[0.2] * 5)`.
#
# <details><summary>Answer</summary>
#
# The priors help: the log of a load is a handicap that a rare expert has to overcome. The weaker the signal the more
# they matter, and without any signal all that is left is to name the most frequent expert. The printed score has no
# priors at all.
# </details>
#
# **3. The wrong noise.** With `SCALE = 1.0` fit `mn.QDARouter(model.block_sizes, noise_variance=2.0)`, twice the true
# noise, and compare. Is it worse to state too much noise or too little?
#
# <details><summary>Answer</summary>
#
# Too much is far worse. A large $\|x_i\|^2$ speaks for expert $i$ because $1/\sigma^2$ exceeds $C_i^{-1}$, and by no
# more than the signal there is. Twice the noise halves the first: the difference vanishes or changes its sign, and the
# rule falls back towards the printed one. With half the noise it only grows, and the order of the scores changes
# little. Estimating the noise, which is the default, is safe: nearly all entries are pure noise.
# </details>
