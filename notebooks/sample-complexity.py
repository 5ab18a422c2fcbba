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
# # Sample complexity: how many rows do experts save?
#
# With rows without end experts are never worse than dense (Theorem 2). With $n$ rows each estimator has an **excess
# risk** over its own limit. The paper (Section 4.5, Figures 2, 3 and 6) leaves theory open, fits curves to simulations,
# finds that both fall like $n^{-2}$, and supposes that the experts' excess is the lower at every $n$. Here theory is
# not open: for Gaussian features the experts' excess risk has an exact law, and dense a sharp approximation. Both fall
# like $1/n$.

# %%
# %matplotlib inline
import matplotlib
import numpy as np

import moenoise as mn
from moenoise import plots

matplotlib.rcParams.update(plots.STYLE)

# %% [markdown]
# ## An expert, exactly
#
# Expert $i$ fits $y$ to its own noisy features $\bar x_i \sim \mathcal N(0, C_i)$, $C_i = \Sigma_i + \sigma^2 I$, on
# $n_i$ rows. Jointly Gaussian variables have a linear conditional mean, so
#
# $$y = w_i^\top \bar x_i + r, \qquad r \sim \mathcal N(0, s_i) \text{ independent of } \bar x_i, \qquad
#   s_i = \sigma^2 \beta_i^\top \Sigma_i (\Sigma_i + \sigma^2 I)^{-1} \beta_i :$$
#
# noise on the *features* looks to an expert just like noise $r$ on the *response*. Least squares errs by $\hat b_i -
# w_i = (\bar X_i^\top \bar X_i)^{-1} \bar X_i^\top r$, and its excess risk is the squared length of that in the metric
# $C_i$. Given the features its mean is $s_i \operatorname{tr}[C_i (\bar X_i^\top \bar X_i)^{-1}]$, and the mean of an
# inverse Wishart matrix makes that
#
# $$E[\text{excess}] = s_i\, \frac{d_i}{n_i - d_i - 1} \quad (n_i > d_i + 1), \qquad
#   \text{excess} \sim s_i\, \frac{d_i}{n_i - d_i + 1}\, F(d_i,\, n_i - d_i + 1) \quad (n_i \ge d_i) ;$$
#
# the law is Hotelling's. There is no covariance in it: the shape of $\Sigma_i$ matters only through $s_i$. The mean is
# infinite at $n_i = d_i - 1$, $d_i$ and $d_i + 1$, the median never is.

# %%
D, K = 120, 4
model = mn.BlockModel.toeplitz(D, K, rng=0)
limits = mn.theory.generalization(model)

size = int(model.block_sizes[0])
counts = np.array([size, size + 2, size + 10, 3 * size])
law = mn.theory.expert_excess_law(model, 0, counts)


def expert_excess(model, counts, draws=400):
    """(draws, len(counts)): excess risks of expert 0's fits, exact for each fit."""
    own, (basis, w) = model.blocks[0], (model.covariances[0], mn.theory.bayes_sparse(model)[0])
    single = mn.BlockModel([basis], [model.coefficients[0]], noise_variance=model.noise_variance)
    metric = basis + model.noise_variance * np.eye(own.stop - own.start)
    excesses = []
    for draw in range(draws):
        rows = single.sample(counts[-1], rng=1, replicate=draw)
        errors = mn.learning_curve(rows.features, rows.response, counts) - w
        excesses.append(np.einsum("ij,jk,ik->i", errors, metric, errors))
    return np.array(excesses)


drawn = expert_excess(model, counts)
figure, ax = plots.new_axes(width=4.8, height=3)
for j, (count, colour) in enumerate(zip(counts, plots.CYCLE)):
    values = np.sort(drawn[:, j])
    ax.step(values, (np.arange(len(values)) + 0.5) / len(values), color=colour, linewidth=3, alpha=0.35)
    grid = np.geomspace(values[0] / 1.5, values[-1] * 1.5, 200)
    distribution = mn.theory.expert_excess_law(model, 0, int(count))
    mean = distribution.mean()
    plots.stated(grid, distribution.cdf(grid), colour=colour, ax=ax,
                 label=f"{count} rows: mean {f'{mean:.2f}' if np.isfinite(mean) else 'infinite'}")
ax.set_xscale("log")
ax.set_xlabel(f"excess risk of an expert of {size} features")
ax.set_ylabel("share of fits below")
ax.legend(title="lines: the exact law; bands: fits", title_fontsize=8, fontsize=7)
figure

# %% [markdown]
# ## Dense, nearly
#
# Dense's rows come from $k$ different Gaussians, and no exact law is known. But with $d$ large its risk settles, and
# has a **deterministic equivalent**: with $C_i$ now the $d \times d$ covariance of all noisy features given expert $i$,
# $\bar C = \sum_i p_i C_i$, and a ridge $r \to 0$, solve for $t_1, \dots, t_k$
#
# $$t_i = \tfrac1n \operatorname{tr}(C_i Q), \qquad Q = \Big(\sum_i q_i C_i + r I + h \bar C\Big)^{-1}, \qquad
# q_i = \frac{p_i}{1 + t_i}, \qquad E[R_\text{dense}(n)] \approx \sum_i \Big(p_i + \frac{dq_i}{dh}\Big|_{h=0}\Big) R_i
# ,$$
#
# $R_i$ being the risk of the mean fit, with blocks $q_a Q_a \Sigma_a \beta_a$, on rows of expert $i$. That is
# `mn.theory.dense_risk(model, n)`. For large $n$ there is an exact first order, $n\,(E[R] - R_\text{dense}) \to
# c_\infty$, `mn.theory.dense_excess_slope(model)`. So dense falls like $1/n$ too.
#
# ## Figure 3, in small
#
# The paper has $d = 900$ and $k = 12$; here they are smaller. Rows are routed in turn (*balanced*): under random
# routing some expert sooner or later gets exactly as many rows as it has features, and the mean is infinite.

# %%
sizes = np.array([20, 40, 60, 80, 100, 112, 120, 128, 140, 160, 200, 280, 400, 600, 900])
REPLICATES = 64


def excess_curves(model, sizes, replicates=REPLICATES):
    """(replicates, 2, sizes): exact excess risks of nested dense and experts' fits."""
    limits, curves = mn.theory.generalization(model), []
    for replicate in range(replicates):
        rows = model.sample(sizes[-1], rng=2, replicate=replicate, routing="balanced")
        dense = mn.learning_curve(rows.features, rows.response, sizes)
        experts = mn.block_learning_curve(rows.features, rows.response, rows.expert, model.block_sizes, sizes)
        curves.append([mn.theory.risk(model, dense) - limits.dense,
                       mn.theory.risk(model, experts, estimator="sparse") - limits.sparse])
    return np.array(curves)


def stated_excess(model, sizes):
    """(2, sizes): what theory says, rows shared equally."""
    limits = mn.theory.generalization(model)
    experts = mn.theory.expert_risk(model, [[n // model.k] * model.k for n in sizes]) @ model.probabilities
    return mn.theory.dense_risk(model, sizes) - limits.dense, experts - limits.sparse


curves = excess_curves(model, sizes)
line = np.unique(np.concatenate([np.arange(20, 300, 4), np.geomspace(300, 900, 20).astype(int) // 4 * 4]))
figure, ax = plots.new_axes(width=5.4, height=3.5)
for j, (name, marker) in enumerate((("dense", "s"), ("experts", "o"))):
    stated = stated_excess(model, line)[j]
    colour = plots.COLOURS[name]
    plots.stated(line, np.where(np.isfinite(stated), stated, np.nan), label=f"{name}, theory of the mean",
                 colour=colour, ax=ax)
    low, middle, high = np.quantile(curves[:, j], [0.1, 0.5, 0.9], axis=0)
    ax.errorbar(sizes, middle, [middle - low, high - middle], fmt=marker, color=colour, capsize=2, elinewidth=1,
                label=f"{name}: median, 10 to 90 % of the fits")
ax.axvline(D, color=plots.COLOURS["reference"], linestyle=":", linewidth=0.8, label="$n = d$")
ax.set_xscale("log")
ax.set_yscale("log")
ax.set_xticks([20, 50, 120, 300, 900], ["20", "50", "120", "300", "900"])
ax.minorticks_off()
ax.set_xlabel("number of rows $n$")
ax.set_ylabel("excess risk over the estimator's own limit")
ax.legend(fontsize=7)
figure

# %% [markdown]
# Both peak at $n = d$, where a fit just interpolates; beyond, they fall. (Medians are below means where tails are
# heavy, that is near the peak.) "Lower at every $n$" is not so, for two reasons. Far below the peak the dense *excess*
# is the lower one: it is measured from a limit that is higher. And just beyond the peak, up to 130 rows here, dense's
# *mean* is the lower one, excess and risk. The experts' mean is infinite as long as one of them has but one row more
# than features, up to $n = k(d_i + 1) = 124$, and large for some rows more; dense's pole is at $n = d = 120$. (Next to
# it the equivalent says some 10 % too little: the mean risk of 3,000 dense fits to 128 rows is 329. The experts' 345 is
# exact.) The *risk* itself, limit plus excess, is what one pays:

# %%
chosen = (20, 80, 120, 128, 140, 280, 900)
print("        median of the fits    mean by theory")
print("rows      dense   experts    dense   experts")
for n, mean_dense, mean_experts in zip(chosen, *stated_excess(model, chosen)):
    dense, experts = (np.median(curves[:, j, list(sizes).index(n)]) + limits[j] for j in (0, 1))
    print(f"{n:4} {dense:10.2f} {experts:9.2f} {mean_dense + limits.dense:8.2f} {mean_experts + limits.sparse:9.2f}")
print(f"many {limits.dense:10.2f} {limits.sparse:9.2f} {limits.dense:8.2f} {limits.sparse:9.2f}")

# %% [markdown]
# ## Where does $n^{-2}$ come from?
#
# From where one looks. The experts' curve is $s\, k d_i / (n - k (d_i + 1))$ with $n = k n_i$ rows: a pole just above
# $n = d$. On log axes its slope is
#
# $$-\frac{d \log E[\text{excess}]}{d \log n} = \frac{n}{n - k(d_i + 1)} =
#   \begin{cases} 2 & \text{at } n = 2k(d_i + 1),\\ 1 & \text{far out.}\end{cases}$$
#
# Whoever fits a power law to rows around twice the pole finds $n^{-2}$, nearer to it any larger power, and $1/n$ in the
# end.

# %%
line = np.unique(np.geomspace(1.3 * D, 60 * D, 40).astype(int) // K * K)
figure, (ax, scaled) = plots.new_axes(2, width=3.5, height=3)
for j, name in enumerate(("dense", "experts")):
    stated = stated_excess(model, line)[j]
    slope = -np.gradient(np.log(stated), np.log(line))
    plots.stated(line / D, slope, label=name, colour=plots.COLOURS[name], ax=ax)
    plots.stated(line / D, line * stated / D, label=name, colour=plots.COLOURS[name], ax=scaled)
    chosen = sizes >= 1.3 * D
    plots.measured(sizes[chosen] / D, sizes[chosen] * curves[:, j, chosen].mean(axis=0) / D,
                   sizes[chosen] * curves[:, j, chosen].std(axis=0, ddof=1) / np.sqrt(REPLICATES) / D,
                   label=None, colour=plots.COLOURS[name], ax=scaled)
for value in (1, 2):
    ax.axhline(value, color=plots.COLOURS["reference"], linewidth=0.8, linestyle=":")
for value, colour in ((mn.theory.dense_excess_slope(model), plots.COLOURS["dense"]),
                      (limits.sparse * D, plots.COLOURS["experts"])):
    scaled.axhline(value / D, color=colour, linewidth=0.8, linestyle=":")
ax.set_ylim(0.8, 4.2)
ax.set_ylabel("local exponent of $1/n$")
scaled.set_ylabel("$n \\times$ excess risk $/\\,d$  (dotted: limits)")
scaled.set_yscale("log")
scaled.set_yticks([10, 20, 50], ["10", "20", "50"])
for each in (ax, scaled):
    each.set_xscale("log")
    each.set_xticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
    each.minorticks_off()
    each.set_xlabel("rows over features $n / d$")
ax.legend()
figure

# %% [markdown]
# ## Does a ridge close the gap?
#
# Dense suffers most near $n = d$, and nobody has to fit without a penalty. The equivalent holds for a ridge as well,
# and `mn.theory.best_penalty` finds the best one.

# %%
rows = np.unique(np.geomspace(30, 3_000, 26).astype(int) // K * K)
penalties = mn.theory.best_penalty(model, rows)
tuned = mn.theory.dense_risk(model, rows, penalty=penalties)
plain, experts = (excess + limit for excess, limit in zip(stated_excess(model, rows), limits))
fits = (60, 120, 240, 720)
errors = []
for n in fits:
    penalty = mn.theory.best_penalty(model, n)
    samples = [model.sample(n, rng=3, replicate=replicate) for replicate in range(REPLICATES)]
    coefs = [mn.DenseRegressor(penalty=penalty).fit(each.features, each.response).coef_ for each in samples]
    errors.append(mn.theory.risk(model, np.array(coefs)))
errors = np.array(errors)

total = model.probabilities @ model.signal_variances  # the risk of predicting 0
figure, ax = plots.new_axes(width=4.8, height=3.2)
for stated, name, colour in ((plain, "dense, no penalty", "dense"), (tuned, "dense, best ridge", "corrected"),
                             (experts, "experts, no penalty", "experts")):
    plots.stated(rows, np.where(np.isfinite(stated), stated / total, np.nan), label=name, colour=plots.COLOURS[colour],
                 ax=ax)
plots.measured(fits, errors.mean(axis=1) / total, errors.std(axis=1, ddof=1) / np.sqrt(REPLICATES) / total,
               label="dense, best ridge, fitted", colour=plots.COLOURS["corrected"], ax=ax)
for value, name in ((limits.dense, "dense"), (limits.sparse, "experts")):
    ax.axhline(value / total, color=plots.COLOURS[name], linewidth=0.8, linestyle=":")
ax.set_xscale("log")
ax.set_ylim(0, 2)
ax.set_xticks([30, 120, 300, 1_000, 3_000], ["30", "120", "300", "1,000", "3,000"])
ax.minorticks_off()
ax.set_xlabel("number of rows $n$  (dotted: limits)")
ax.set_ylabel("risk / variance of the response")
ax.legend(fontsize=7)
figure

# %% [markdown]
# It removes the peak, and around it, here from some 30 to 250 rows, it beats experts that have no penalty; with still
# fewer rows there is little between the two. It does not move dense's limit: what experts gain with many rows no
# regularisation of dense can give.
#
# ## Exercises
#
# **1. More experts of the same size in all.** Set `K = 12` (and `D = 120`), and compare the risks in units of the
# variance of the response, as in the last figure. Which curve moves?
#
# <details><summary>Answer</summary>
#
# Dense moves up: its limit is the higher, and its excess with it. The experts' limit stays nearly the same, but their
# pole moves out, to $n = k(d_i + 1) = d + k$: each expert pays its own $+1$.
# </details>
#
# **2. A fit of $n^{-2}$.** Fit a straight line to the logarithms of the experts' theory between $n = 1.6\,d$ and
# $3\,d$, then between $20\,d$ and $60\,d$, with `np.polyfit`. Which exponents come out?
#
# <details><summary>Answer</summary>
#
# About 2 in the first range, with small residuals, and nearly 1 in the second. A good fit over a narrow range says
# nothing about the rate.
# </details>
#
# **3. Less noise.** Make the model with `noise_variance=0.01`. What becomes of the peaks?
#
# <details><summary>Answer</summary>
#
# They stay where they are and get lower. From $n_i = d_i$ on, all excess risk of an expert is proportional to $s_i$,
# which vanishes with the noise: at $n = 140$ the experts' mean excess falls from 83 to 2. With fewer rows than features
# most of it is bias, which stays: at $n = 60$ it falls from 17 to 10 only. Without any noise, rows determine the
# coefficients exactly from $n_i = d_i$ on.
# </details>
