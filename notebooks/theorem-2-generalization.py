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
# # Theorem 2: what do experts gain, with any number of rows to learn from?
#
# One dense linear model and $k$ small ones, the *experts*, have the same number of coefficients, and both can represent
# the truth. Without noise on the features both find it. With noise, and rows without end, which one predicts better,
# and by how much? This is the paper's central statement (Section 4.2), and it holds exactly as printed. The notebook
# derives it, measures it, asks where the gain is largest, and then what it takes for granted.

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
# A row belongs to expert $z$ with probability $p_z$; its clean features $x$ are $\mathcal N(0, \Sigma_z)$ in block $z$
# and zero elsewhere, its response is $y = x_z^\top \beta_z$. We see $y$ and $\bar x = x + e$, with noise $e \sim
# \mathcal N(0, \sigma^2 I)$ on all features.
#
# The best linear predictor from features with second moments $A = E[\bar x \bar x^\top]$ and $a = E[\bar x y]$ is
# $b = A^{-1} a$, and its risk, the mean squared error on new rows, is $E[y^2] - a^\top A^{-1} a$.
#
# *Dense.* Block $i$ holds signal in a share $p_i$ of the rows and noise in all of them:
# $A = \operatorname{blockdiag}(p_i \Sigma_i + \sigma^2 I)$, and block $i$ of $a$ is $p_i \Sigma_i \beta_i$. So
#
# $$D_i = p_i\, (p_i \Sigma_i + \sigma^2 I)^{-1} \Sigma_i \beta_i . \tag{3, dense}$$
#
# *Sparse.* Expert $i$ sees its own rows and its own block, in which there is signal in every row:
#
# $$w_i = (\Sigma_i + \sigma^2 I)^{-1} \Sigma_i \beta_i . \tag{3, sparse}$$
#
# *The risks.* With $\Sigma - p\,\Sigma (p\Sigma + \sigma^2 I)^{-1} \Sigma = \sigma^2\, \Sigma (p \Sigma + \sigma^2
# I)^{-1}$,
#
# $$R_\text{dense} = \sum_i p_i\, \sigma^2\, \beta_i^\top \Sigma_i (p_i \Sigma_i + \sigma^2 I)^{-1} \beta_i, \qquad
#   R_\text{sparse} = \sum_i p_i\, \sigma^2\, \beta_i^\top \Sigma_i (\Sigma_i + \sigma^2 I)^{-1} \beta_i .$$
#
# This is Theorem 2. Since $p_i \le 1$, $R_\text{sparse} \le R_\text{dense}$ always. In words: noise acts like a ridge
# penalty $\sigma^2$ on the second moments of the signal, and the dense model's signal is diluted to $p_i \Sigma_i$.
#
# ## Formula and simulation
#
# `mn.theory.generalization(model)` is the theorem. Against it we put fits to 10,000 rows, measured on 10,000 new ones.

# %%
K, SCALE = 4, 2.0
model = mn.BlockModel.toeplitz(24, K, scale=SCALE, rng=0)
variances = 2.0 ** np.arange(-5.0, 8.0, 2)


def fitted_errors(model, n=10_000, repeats=4):
    """(mean, standard error) of the squared errors of fits: dense, experts, dense less experts."""
    errors = []
    for repeat in range(repeats):
        train, test = model.sample(n, rng=1, replicate=repeat), model.sample(n, rng=2, replicate=repeat)
        dense = mn.lstsq(train.features, train.response).coef
        experts = mn.block_lstsq(train.features, train.response, train.expert, model.block_sizes).coef
        each = np.array([test.features[:, block] @ coef for block, coef in zip(model.blocks, experts)])
        predictions = test.features @ dense, each[test.expert, np.arange(n)]  # routed by the label
        dense_error, experts_error = (np.mean((prediction - test.response) ** 2) for prediction in predictions)
        errors.append([dense_error, experts_error, dense_error - experts_error])
    return np.mean(errors, axis=0), np.std(errors, axis=0, ddof=1) / np.sqrt(repeats)


models = [dataclasses.replace(model, noise_variance=variance) for variance in variances]
measured = np.array([fitted_errors(each) for each in models])  # (variances, mean or error, 3)
line = np.geomspace(variances[0], variances[-1], 100)
stated = np.array([mn.theory.generalization(dataclasses.replace(model, noise_variance=variance)) for variance in line])
response_variance = model.probabilities @ model.signal_variances

figure, (ax, gap) = plots.new_axes(2, width=3.5, height=3)
for j, (name, marker) in enumerate((("dense", "s"), ("experts", "o"))):
    colour = plots.COLOURS[name]
    plots.stated(line, stated[:, j] / response_variance, label=f"{name}, Theorem 2", colour=colour, ax=ax)
    plots.measured(variances, measured[:, 0, j] / response_variance, measured[:, 1, j] / response_variance,
                   label=f"{name}, fitted", colour=colour, marker=marker, ax=ax)
ax.set_ylabel("risk / variance of the response")
ax.legend()
plots.stated(line, (stated[:, 0] - stated[:, 1]) / response_variance, label="Theorem 2", ax=gap,
             colour=plots.COLOURS["corrected"])
plots.measured(variances, measured[:, 0, 2] / response_variance, measured[:, 1, 2] / response_variance, label="fitted",
               colour=plots.COLOURS["corrected"], ax=gap)
gap.set_ylabel("gap / variance of the response")
gap.legend()
for each in (ax, gap):
    each.set_xscale("log", base=2)
    each.set_xlabel("noise variance $\\sigma^2$ (signal: 2 a feature)")
figure

# %% [markdown]
# Without noise nothing is gained, since both find the truth. With noise without end nothing is gained either, since
# both can but predict zero. Where is the most gained?
#
# ## Direction by direction
#
# In the eigenvectors of $\Sigma_i$ everything is a sum over directions of variance $\lambda$ with a coefficient $b$:
#
# $$\frac{R_\text{dense}}{R_\text{sparse}} = \frac{\lambda + \sigma^2}{p \lambda + \sigma^2} \in [1, 1/p], \qquad
#   R_\text{dense} - R_\text{sparse}
#   = p(1-p)\,\lambda^2 b^2 \, \frac{\sigma^2}{(p\lambda + \sigma^2)(\lambda + \sigma^2)} .$$
#
# The *ratio* is largest, $1/p = k$ for equal experts, where there is hardly any noise. The *gap* is largest where
# $s / ((p\lambda + s)(\lambda + s))$ is, and that is at $s = \sigma^2 = \sqrt p\, \lambda$ (the geometric mean of
# $p\lambda$ and $\lambda$), where it is
#
# $$\lambda b^2\, p\, \frac{1 - \sqrt p}{1 + \sqrt p} .$$
#
# So of the variance of a response that is all in that direction, experts save at most $(1 - \sqrt p)/(1 + \sqrt p)$.

# %%
print("experts   best noise, in units of lambda   share of the variance saved there   by the formula")
for k in (2, 4, 16, 64):
    equal = mn.BlockModel.isotropic(k, k, variance=1.0, coefficients=[1.0] * k)
    tried = np.geomspace(0.01, 10, 301)
    risks = [mn.theory.generalization(dataclasses.replace(equal, noise_variance=v)) for v in tried]
    gaps = np.array([risk.dense - risk.sparse for risk in risks])
    root = k**-0.5
    print(f"{k:7} {tried[gaps.argmax()]:18.3f} (sqrt p = {root:.3f}) {gaps.max():22.3f} "
          f"{(1 - root) / (1 + root):26.3f}")

# %% [markdown]
# More experts gain more, with no limit but the whole variance of the response. That is the paper's "noise filter": the
# dense model sums the noise of all $d$ features into every prediction, an expert that of its own.
#
# ## What the theorem takes for granted
#
# **Somebody routes.** The sparse risk is that of an *oracle* that knows a row's expert. `mn.theory.soft_risk` compares
# it with the best that can be done without the label: *hard* sends a row to its likeliest expert, *soft* weighs all
# experts' answers by their probabilities, which under this model is the best predictor there is.

# %%
scales = 2.0 ** np.arange(-2, 7)
names = ("dense", "hard", "soft", "oracle")
colours = dict(zip(names, (plots.COLOURS["dense"], plots.COLOURS["experts"], plots.COLOURS["corrected"],
                           plots.COLOURS["reference"])))
figure, axes = plots.new_axes(2, width=3.5, height=3.1, sharey=True)
for ax, (d, k) in zip(axes, ((32, 4), (60, 12))):
    routed = [mn.BlockModel.toeplitz(d, k, scale=scale, rng=0) for scale in scales]
    risks = [mn.theory.soft_risk(each, n_samples=10_000, rng=1) for each in routed]
    total = np.array([each.probabilities @ each.signal_variances for each in routed])
    for name in names:
        estimates = [getattr(risk, name) for risk in risks]
        share = np.array([estimate.value for estimate in estimates]) / total
        if name in ("soft", "hard"):  # drawn; the others are exact
            error = np.array([estimate.standard_error for estimate in estimates]) / total
            plots.measured(scales, share, error, label=name, colour=colours[name], ax=ax)
            ax.plot(scales, share, ":", color=colours[name], linewidth=0.8)
        else:
            plots.stated(scales, share, label=f"{name}: Theorem 2", colour=colours[name], ax=ax)
    ax.set_xscale("log", base=2)
    ax.set_xlabel("signal-to-noise ratio of a feature")
    ax.set_title(f"{k} experts of {d // k} features")
axes[0].set_ylabel("risk / variance of the response")
axes[1].legend()
figure

# %% [markdown]
# Much of the gap between the two lines is the oracle's, not the experts': where signals are weak, hard routing by the
# *best possible* router loses to dense. Soft routing never does. The notebooks on Theorems 1 and 4 have more on this.
#
# **There are rows without end.** With finitely many there is an excess risk on top; see the notebook on sample
# complexity. **And new rows are as noisy as the old ones**: if not, see Theorem 3.
#
# ## Exercises
#
# **1. Unequal loads.** Give 2 of the 4 experts nearly all rows: `mn.BlockModel(model.covariances, model.coefficients,
# [0.48, 0.48, 0.02, 0.02])`. Whom does dense fail, and does the sum show it?
#
# <details><summary>Answer</summary>
#
# It fails the rare experts: with $p = 0.02$ it nearly ignores their signal. The sum does not show it. Its $i$-th term
# is not dense's risk on rows of expert $i$, as the noise that dense takes from the other blocks falls on every row.
# That risk is
#
# $$E[(y - D^\top \bar x)^2 \mid z = i] = (\beta_i - D_i)^\top \Sigma_i (\beta_i - D_i) + \sigma^2 \|D\|^2 ,$$
#
# 14.2 and 11.9 for the two rare experts, where the terms, without $p_i$, are 12.2 and 9.7. Their responses have the
# variances 13.2 and 10.3: on these rows dense is worse than predicting zero. (Their own experts have the risks 3.1 and
# 2.9.) The overall gap shrinks all the same, from 3.6 to 2.3, as they are rare. Risks of rare kinds of rows have to be
# looked at one by one; averages hide them.
# </details>
#
# **2. More experts of the same features.** Keep $d = 24$ and go through `K = 1, 2, 4, 8, 24` at noise variance 1. What
# becomes of the two risks?
#
# <details><summary>Answer</summary>
#
# With one expert both are the same. As $k$ grows, dense gets worse and worse relative to the variance of the response,
# since every row's signal is in fewer features beside the same noise. The experts' relative risk stays about the same:
# theirs depends on $\lambda/\sigma^2$ alone.
# </details>
#
# **3. Does the gap need equal strength?** Make a model with one strong and one weak expert,
# `mn.BlockModel([16 * np.eye(6), 0.25 * np.eye(6)], ...)`, and find the noise of the largest gap.
#
# <details><summary>Answer</summary>
#
# The gap is a sum of bumps, each largest at $\sqrt p\, \lambda$ of its own direction, with a height proportional to
# $\lambda b^2$: the strong expert's bump, at $16 \sqrt{1/2} \approx 11$, decides.
# </details>
