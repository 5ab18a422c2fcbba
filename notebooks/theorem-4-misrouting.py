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
# # Theorem 4: what does a wrong route cost?
#
# An input of expert $i$ is disturbed by features of block $j$, and the router sends it to expert $j$. What is the risk
# of dense and of the wrong expert? Both formulas that the paper prints (Section 4.3) are wrong; here they are derived
# anew, measured, and carried on to the question that matters: **how many wrong routes can experts afford?**

# %%
# %matplotlib inline
import dataclasses

import matplotlib
import numpy as np

import moenoise as mn
from moenoise import plots

matplotlib.rcParams.update(plots.STYLE)

# %% [markdown]
# ## The derivation
#
# The vector is $x_i$ in block $i$, $\eta x_j$ in block $j$, plus noise of variance $\sigma^2$ on everything; the target
# is $x_i^\top \beta_i$. With the Bayes-optimal coefficients of Theorem 2, $D$ for dense and $w_j$ for expert $j$:
#
# * *Dense* errs by $x_i^\top (\beta_i - D_i) - \eta\, x_j^\top D_j - e^\top D$, three independent terms:
#
# $$R_\text{dense} = (\beta_i - D_i)^\top \Sigma_i (\beta_i - D_i) + \eta^2 D_j^\top \Sigma_j D_j + \sigma^2 \|D\|^2 .$$
#
# * *Expert $j$* errs by $x_i^\top \beta_i - \eta\, x_j^\top w_j - e_j^\top w_j$:
#
# $$R_\text{sparse} = \beta_i^\top \Sigma_i \beta_i + \eta^2 w_j^\top \Sigma_j w_j + \sigma^2 \|w_j\|^2 .$$
#
# The paper prints, with $\Sigma_j w_j + \sigma^2 w_j = \Sigma_j \beta_j$ and the like for $D$ put to use,
#
# $$\text{sparse, printed:}\quad \eta^2 \beta_j^\top \Sigma_j w_j =
#   \eta^2 \big(w_j^\top \Sigma_j w_j + \sigma^2 \|w_j\|^2\big),$$
#
# which **loses the target's own variance** $\beta_i^\top \Sigma_i \beta_i$ and multiplies the noise by $\eta^2$, as if
# it had been disturbed too. For dense it prints
#
# $$\text{dense, printed:}\quad \eta^2 \Big(\beta_j^\top \Sigma_j D_j + \sigma^2 \tfrac{p_j - 1}{p_j} \|D_j\|^2\Big)
#   - \beta_i^\top \Sigma_i D_i + \sigma^2 \sum_{r \ne i, j} \|D_r\|^2 .$$
#
# Put $D_r^\top \Sigma_r D_r = \beta_r^\top \Sigma_r D_r - \sigma^2 \|D_r\|^2 / p_r$ into the corrected risk, for
# $r = i$ and $r = j$, and compare:
#
# $$R_\text{dense} - \text{printed} = \beta_i^\top \Sigma_i \beta_i
#   - \sigma^2 \tfrac{1 - p_i}{p_i} \|D_i\|^2 + (1 - \eta^2)\, \sigma^2 \|D_j\|^2 .$$
#
# The same variance is lost; block $i$'s term is off by $\sigma^2 \frac{1 - p_i}{p_i} \|D_i\|^2$; and in block $j$ the
# noise is multiplied by $\eta^2$, as before. Without $\beta_i^\top \Sigma_i \beta_i$ in front,
# $-\beta_i^\top \Sigma_i D_i$ can make the printed risk negative.
#
# ## Formula and simulation

# %%
TRUE, ROUTED = 0, 1
model = mn.BlockModel.toeplitz(30, 5, scale=2.0, rng=0)


def misrouted_errors(model, eta, n=20_000, repeats=8):
    """(repeats, 2): squared errors of dense and of the wrong expert on inputs of TRUE, sent to ROUTED."""
    dense, experts = np.concatenate(mn.theory.bayes_dense(model)), mn.theory.bayes_sparse(model)
    roots = [np.linalg.cholesky(covariance) for covariance in model.covariances]
    errors = []
    for repeat in range(repeats):
        rng = np.random.default_rng(repeat)
        features = np.sqrt(model.noise_variance) * rng.standard_normal((n, model.d))
        own = rng.standard_normal((n, model.block_sizes[TRUE])) @ roots[TRUE].T
        disturbance = rng.standard_normal((n, model.block_sizes[ROUTED])) @ roots[ROUTED].T
        features[:, model.blocks[TRUE]] += own
        features[:, model.blocks[ROUTED]] += eta * disturbance
        response = own @ model.coefficients[TRUE]
        wrong = features[:, model.blocks[ROUTED]] @ experts[ROUTED]
        errors.append([np.mean((answer - response) ** 2) for answer in (features @ dense, wrong)])
    return np.array(errors)


etas = np.linspace(0, 3, 7)
measured = np.array([misrouted_errors(model, eta) for eta in etas])
line = np.linspace(0, 3, 60)
figure, axes = plots.new_axes(2, width=3.5, height=3.1)
for j, (ax, name, marker) in enumerate(zip(axes, ("dense", "experts"), ("s", "o"))):
    for form in ("corrected", "printed"):
        risks = [mn.theory.misrouting(model, TRUE, ROUTED, eta, form=form)[j] for eta in line]
        plots.stated(line, risks, label=f"{form} formula", colour=plots.COLOURS[form], form=form, ax=ax)
    plots.measured(etas, measured[:, :, j].mean(axis=1),
                   measured[:, :, j].std(axis=1, ddof=1) / np.sqrt(measured.shape[1]),
                   label="simulated", colour=plots.COLOURS[name], marker=marker, ax=ax)
    ax.axhline(0, color=plots.COLOURS["reference"], linewidth=0.6)
    ax.set_title("dense" if name == "dense" else "the wrong expert")
    ax.set_xlabel("size of the disturbance $\\eta$")
    ax.legend()
axes[0].set_ylabel("risk of the misrouted input")
figure

# %%
ETA = 1.5
dense = mn.theory.bayes_dense(model)
lost = model.signal_variances[TRUE]
own = -model.noise_variance * (1 / model.probabilities[TRUE] - 1) * dense[TRUE] @ dense[TRUE]
other = (1 - ETA**2) * model.noise_variance * dense[ROUTED] @ dense[ROUTED]
stated = {form: mn.theory.misrouting(model, TRUE, ROUTED, ETA, form=form).dense for form in ("corrected", "printed")}
print(f"dense, eta = {ETA}: corrected less printed {stated['corrected'] - stated['printed']:.6f}")
print(f"the three terms {lost:.6f} {own:+.6f} {other:+.6f} = {lost + own + other:.6f}")

# %% [markdown]
# At $\eta = 0$ the corrected risks are what a plainly misrouted input costs. Expert $j$ is then worse than predicting
# zero: it knows nothing of the target and adds its noise.
#
# ## How many wrong routes can experts afford?
#
# Let a share $\epsilon$ of the inputs go to a wrong expert, any of the $k - 1$, whatever their features. Write $R_{ij}$
# for the risk of an input of expert $i$ that goes to $j$: $R_{ii} = \sigma^2 \beta_i^\top w_i$, the expert's own Bayes
# risk, and $R_{ij} = \beta_i^\top \Sigma_i \beta_i + \sigma^2 \|w_j\|^2$ for another. Then the experts' risk is a
# straight line in $\epsilon$, and it meets the dense one at
#
# $$\epsilon^\star = \frac{R_\text{dense} - R_\text{sparse}}{R_\text{wrong} - R_\text{sparse}}, \qquad
#   R_\text{wrong} = \sum_i p_i \sum_{j \ne i} \frac{R_{ij}}{k - 1} .$$
#
# `mn.theory.misrouting_crossover(model)` is that, `mn.theory.misrouted_risk(model, confusion)` the risk for any table
# of error rates $Q_{ij}$.

# %%
def experts_errors(model, rows, routed):
    """Squared error of each row, answered by the Bayes-optimal expert that it is routed to."""
    answers = np.array([rows.features[:, block] @ w for block, w in zip(model.blocks, mn.theory.bayes_sparse(model))])
    return (answers[routed, np.arange(len(routed))] - rows.response) ** 2


def random_routes(rows, k, share, rng):
    """The true expert, but for a share of the rows another one at random."""
    shift = rng.integers(1, k, len(rows.expert))
    return np.where(rng.random(len(rows.expert)) < share, (rows.expert + shift) % k, rows.expert)


shares = np.array([0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5])
figure, ax = plots.new_axes(width=4.8, height=3.6)
for scale, colour, marker in zip((0.5, 2.0, 8.0, 64.0), plots.CYCLE, plots.MARKERS):
    each = mn.BlockModel.toeplitz(30, 5, scale=scale, rng=0)
    rows, total = each.sample(100_000, rng=1), each.probabilities @ each.signal_variances
    limits, meet = mn.theory.generalization(each), mn.theory.misrouting_crossover(each)
    best = 1 - each.probabilities @ mn.theory.routed_risk(each).confusion.diagonal()
    print(f"scale {scale:4g}: experts can afford {meet:5.1%} wrong routes; the best router errs on {best:6.2%}")
    errors = [experts_errors(each, rows, random_routes(rows, each.k, share, np.random.default_rng(2)))
              for share in shares]
    wrong = [np.eye(each.k) * (1 - share) + (1 - np.eye(each.k)) * share / (each.k - 1) for share in shares]
    stated = [mn.theory.misrouted_risk(each, confusion) / total for confusion in wrong]
    plots.stated(shares, stated, label=f"experts, scale {scale:g}", colour=colour, ax=ax)
    plots.measured(shares, np.mean(errors, axis=1) / total, np.std(errors, axis=1) / np.sqrt(len(rows.expert)) / total,
                   label=None, colour=colour, marker=marker, ax=ax)
    ax.axhline(limits.dense / total, color=colour, linestyle="--", linewidth=1)
    ax.plot(meet, limits.dense / total, "o", color=colour, markersize=9, fillstyle="none")
ax.plot([], [], "--", color=plots.COLOURS["reference"], label="dense (circle: they meet)")
ax.set_ylim(0, 1.05)
ax.set_xlabel("share of inputs sent to a wrong expert $\\epsilon$")
ax.set_ylabel("risk / variance of the response")
plots.legend_below(figure, ax)
figure

# %% [markdown]
# The stronger the signal, the fewer wrong routes experts can afford, down to none: the risks of dense and of the right
# expert settle, while a wrong route costs the whole signal. But a good router then errs less, too, and its errors fall
# the faster: here experts behind it lose to dense for the weakest signal only.
#
# ## A router's errors are not independent of the features
#
# That was for errors that fall on all inputs alike. A router errs on *certain* inputs: those with little signal in
# their own block, and much noise in another. The first makes an error cheap, because a small $x_i$ also means a small
# target. The second makes it dear, because the wrong expert answers to a noise that was chosen for being large. We let
# the best router, which knows the model, route, and put its error rates into `misrouted_risk`.
#
# What that leaves out can be had exactly. A route depends on sums of squares only, one a block: the sign of a block
# does not change it. So the target $m_i = E[y \mid x_i, i]$ and the wrong answer stay uncorrelated, and an input of
# expert $i$ that goes to $j$ costs, above its own residual variance, the two mean squares *given the route*,
#
# $$E\big[m_i^2;\, i \to j\big] + E\big[(w_j^\top x_j)^2;\, i \to j\big] .$$
#
# Both are integrals over laws of sums of squared normals, and `mn.theory.routed_risk(model)` computes them.

# %%
def confusion_of(rows, routed, k):
    counts = np.zeros((k, k))
    np.add.at(counts, (rows.expert, routed), 1)
    return counts / counts.sum(axis=1, keepdims=True)


print("              wrong   own errors:    same rates,  risk   target's variance   square of wrong answer")
print("k   d_i scale routes measured  exact independent  dense   wrong rows   all   measured  by sigma^2 |w|^2")
for d, k, scale in ((30, 5, 8.0), (30, 5, 2.0), (30, 5, 0.5), (60, 12, 1.0), (60, 12, 0.5)):
    each = mn.BlockModel.toeplitz(d, k, scale=scale, rng=0)
    rows = each.sample(100_000, rng=3)
    routed = mn.QDARouter.from_model(each).predict(rows.features)
    wrong = routed != rows.expert
    independent = mn.theory.misrouted_risk(each, confusion_of(rows, routed, k))
    experts = mn.theory.bayes_sparse(each)
    answers = np.array([rows.features[:, block] @ w for block, w in zip(each.blocks, experts)])
    answer = np.mean(answers[routed, np.arange(len(routed))][wrong] ** 2)
    by_formula = np.mean([w @ w for w in experts]) * each.noise_variance
    print(f"{k:<3} {d // k:3} {scale:5} {wrong.mean():6.1%} {np.mean(experts_errors(each, rows, routed)):8.2f} "
          f"{mn.theory.routed_risk(each).risk:6.2f} {independent:11.2f} {mn.theory.generalization(each).dense:6.2f} "
          f"{np.mean(rows.response[wrong] ** 2):12.2f} {np.mean(rows.response**2):5.2f} {answer:10.2f} "
          f"{by_formula:17.2f}")

# %% [markdown]
# Both effects are there, and large. Which one wins depends on the signal: where it is strong, errors fall on rows of
# small targets, and the independent formula says *too much*; with many experts and weak signals nearly every row has a
# rival block of large noise, and it says *too little*. There is no sign to rely on, but there is the
# exact risk.
#
# ## Under growing noise
#
# A router made for noise of variance 1 meets more of it. Its own errors grow with the noise, and so does the risk.
# `routed_risk` takes the model that the rows come from, and what router and experts were made from, as `believed`.

# %%
noises = np.array([0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0])
router = mn.QDARouter.from_model(model)
total = model.probabilities @ model.signal_variances
curves = []
for noise in noises:
    rows = dataclasses.replace(model, noise_variance=noise).sample(50_000, rng=4)
    routed = router.predict(rows.features)
    errors = experts_errors(model, rows, routed)
    curves.append([np.mean(errors), np.std(errors) / np.sqrt(len(errors)), np.mean(routed != rows.expert)])
risk, error, wrong = np.transpose(curves)
exact = mn.theory.robustness(model, noises)
own = [mn.theory.routed_risk(dataclasses.replace(model, noise_variance=noise), believed=model) for noise in noises]
own_wrong = [1 - model.probabilities @ each.confusion.diagonal() for each in own]

figure, (ax, rates) = plots.new_axes(2, width=3.5, height=3)
plots.stated(noises, exact.dense / total, label="dense", colour=plots.COLOURS["dense"], ax=ax)
plots.stated(noises, exact.sparse / total, label="experts, routed by label", colour=plots.COLOURS["reference"], ax=ax)
plots.stated(noises, [each.risk / total for each in own], label="experts, routed by QDA",
             colour=plots.COLOURS["experts"], ax=ax)
plots.measured(noises, risk / total, error / total, label="the same, simulated", colour=plots.COLOURS["experts"], ax=ax)
ax.set_ylabel("risk / variance of the response")
ax.legend(fontsize=7)
plots.stated(noises, own_wrong, label=None, colour=plots.COLOURS["experts"], ax=rates)
plots.measured(noises, wrong, np.sqrt(wrong * (1 - wrong) / 50_000), label=None, colour=plots.COLOURS["experts"],
               ax=rates)
rates.set_ylabel("share of wrong routes")
rates.set_ylim(0, None)
for each in (ax, rates):
    each.set_xlabel("test noise variance (router's: 1)")
figure

# %% [markdown]
# Theorem 3's lines, with routing by the label, say that experts keep their lead. With a router of flesh they lose it.
#
# ## Exercises
#
# **1. Less noise, and more.** In the first figure make the model with `noise_variance=0.1`, then `4.0`. Who
# suffers more from a large $\eta$, dense or the wrong expert?
#
# <details><summary>Answer</summary>
#
# The wrong expert, always: $w_j^\top \Sigma_j w_j \ge D_j^\top \Sigma_j D_j$, as dense coefficients are shrunk more.
# The less noise the nearer are these two terms, and without noise they are the same: both believe the disturbance
# fully. The wrong expert still has the target's variance to pay, which dense then predicts.
# </details>
#
# **2. Two experts instead of many.** Go through `toeplitz(24, k, scale=2.0, rng=0)` with `k = 2, 4, 8, 24`, and print
# `mn.theory.misrouting_crossover`. Who can afford more errors?
#
# <details><summary>Answer</summary>
#
# Many experts: dense gets worse as $k$ grows, towards predicting zero, while an error costs about the same. With 24
# experts dense wins only where more than half of the routes are wrong. But more experts also mean more errors.
# </details>
#
# **3. Hedge.** Compare `mn.ExpertsRegressor(sizes, routing="soft")` with `routing="hard"` for the models of the table.
# What becomes of the cost of errors?
#
# <details><summary>Answer</summary>
#
# Soft routing weighs all answers by their probabilities. Of what errors cost, the hard risk less the oracle's, it saves
# a quarter to somewhat more than a half, the more the weaker the signal; and with the model known it never loses to
# dense at the noise of training. `mn.theory.soft_risk(model)` gives all of these risks.
# </details>
