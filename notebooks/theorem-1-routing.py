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
for x, y, expert in ((8, -4.6, 1), (-8.1, 3.8, 1), (5, 9, 2), (-5, -9, 2)):
    plane.text(x, y, f"corrected: {expert}\nprinted: {3 - expert}", ha="center", va="center", fontsize=7)
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
# The printed bound: with probability $1 - \delta$ the error rate is within $\varepsilon$ of the best router's, if
#
# $$n \ge C\, \frac{M^2}{\varepsilon^2} \sum_i \max\{d_i, \log(k/\delta)\}, \qquad M = \max_i \|C_i\|_2 ,$$
#
# with a constant $C$ that is not given. So the excess error $\varepsilon$ would fall like $n^{-1/2}$;
# `mn.theory.router_excess_bound(model, n)` is $\varepsilon$ for $C = 1$. We measure it, without drawing a single label
# for the test: where the best router gives the experts probabilities $q_i(x)$, one that picks $j$ errs more often than
# the best by exactly $\max_i q_i(x) - q_j(x)$.
#
# At the same scale, larger blocks are easier to tell apart. That would mix two effects, so we take for each size the
# scale at which the best router errs on a fifth of the rows.

# %%
COUNTS = np.array([250, 500, 1_000, 2_000, 4_000, 8_000])
SCALES = {4: 3.69, 8: 1.83, 12: 1.28}  # by features an expert
FITS, DELTA = 24, 0.1


def five_experts(size, scale):
    return mn.BlockModel.toeplitz(5 * size, 5, scale=scale, rng=0)


def excess_errors(model, fits=FITS):
    """(fits, len(COUNTS)): how much more often a fitted router errs than the best one, on 20,000 rows of each fit."""
    best, excesses = mn.QDARouter.from_model(model), []
    for fit in range(fits):
        test = model.sample(20_000, rng=1, replicate=fit).features
        train = model.sample(COUNTS[-1], rng=2, replicate=fit, routing="balanced")
        posterior = best.predict_proba(test)
        routers = [mn.QDARouter(model.block_sizes).fit(train.features[:n], train.expert[:n]) for n in COUNTS]
        chosen = np.stack([router.predict(test) for router in routers], axis=1)
        lost = posterior.max(axis=1, keepdims=True) - np.take_along_axis(posterior, chosen, axis=1)
        excesses.append(lost.mean(axis=0))
    return np.array(excesses)


def late_slope(excess):
    """Slope of the mean on log axes from n = 1,000 on, and its standard error by the jackknife over fits."""
    means = [np.delete(excess, fit, axis=0).mean(axis=0) for fit in range(len(excess))]
    slopes = np.polyfit(np.log(COUNTS[2:]), np.log(np.transpose([excess.mean(axis=0), *means])[2:]), 1)[0]
    return slopes[0], np.std(slopes[1:]) * np.sqrt(len(means) - 1)


models = {size: five_experts(size, scale) for size, scale in SCALES.items()}
excesses = {size: excess_errors(model) for size, model in models.items()}
first = models[4]
constant = excesses[4][:, 0].mean() / mn.theory.router_excess_bound(first, COUNTS[0], failure_probability=DELTA)

figure, ax = plots.new_axes(width=5.6, height=3.8)
for (size, excess), colour, marker in zip(excesses.items(), plots.CYCLE, plots.MARKERS):
    mean, error = excess.mean(axis=0), excess.std(axis=0, ddof=1) / np.sqrt(FITS)
    slope, slope_error = late_slope(excess)
    plots.measured(COUNTS, mean, error, colour=colour, marker=marker, ax=ax,
                   label=f"{size} features: slope {slope:.2f} $\\pm$ {2 * slope_error:.2f}")
    plots.stated(COUNTS, mean[-1] * COUNTS[-1] / COUNTS, label=None, colour=colour, ax=ax)
    bound = mn.theory.router_excess_bound(models[size], COUNTS, failure_probability=DELTA, constant=constant)
    plots.stated(COUNTS, bound, label=None, colour=colour, form="printed", ax=ax)
ax.plot([], [], "-", color=plots.COLOURS["reference"], label="$1/n$ through the last point")
ax.plot([], [], "--", color=plots.COLOURS["reference"], label="printed bound, $C$ fitted at the first circle")
ax.set_xscale("log")
ax.set_yscale("log")
ax.set_xticks(COUNTS, [f"{n:,}" for n in COUNTS], fontsize=8)
ax.minorticks_off()
ax.set_xlabel("labelled rows $n$ of 5 experts")
ax.set_ylabel("excess routing error")
plots.legend_below(figure, ax, columns=2)
figure

# %% [markdown]
# (Slopes are of the points from $n = 1{,}000$ on; bars and $\pm$: two standard errors.) With many rows a feature the
# points fall like $1/n$: near the best rule the error is flat, so that estimates off by a multiple of $n^{-1/2}$ cost
# about the square of that. The bound's $n^{-1/2}$ is loose in the end.
#
# In the number of features its constant would have to grow. It is fitted at one point, 4 features and 250 rows, where
# the bound cannot fail; with 12 features, no harder to tell apart, the excess is above the line wherever we looked. A
# covariance has $d_i (d_i + 1)/2$ entries to estimate, and with 8,000 rows three times the features cost about 15 times
# the excess. The bound even falls, with $M$.
#
# So larger experts need more rows. What they buy, if each feature is as strong as before, is a better best:

# %%
for size in SCALES:
    for known in (models[size], five_experts(size, SCALE)):
        wrong = 1 - known.probabilities @ mn.theory.routed_risk(known).confusion.diagonal()  # exact
        scale = known.covariances[0][0, 0]
        print(f"{size:3} features an expert, scale {scale:.2f}: the best router errs on {wrong:.1%} of the rows")

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
