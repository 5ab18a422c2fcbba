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
# # Theorem 3: who suffers more when the noise in use is not that of training?
#
# A model is fitted under noise of variance $\sigma^2$ and used under noise of another variance, $\sigma_o^2$. Routing
# is correct all the same. The paper (Section 4.3) states both risks, and a condition under which experts win at *every*
# larger noise: $\lambda_{\min}(\Sigma_i) > 4 \sigma^2$. The risks hold. The condition does not.

# %%
# %matplotlib inline
import dataclasses

import matplotlib
import numpy as np

import moenoise as mn
from moenoise import plots

matplotlib.rcParams.update(plots.STYLE)

# %% [markdown]
# ## The risks: a derivation in one line
#
# Noise of variance $\sigma_o^2$ instead of $\sigma^2$ adds $(\sigma_o^2 - \sigma^2) \|b\|^2$ to the mean squared error
# of coefficients $b$, whatever the features are, since the noise is independent of everything else. Dense coefficients
# $D$ see all the noise, an expert's $w_i$ that of its block in its share $p_i$ of the rows:
#
# $$R_\text{dense}(\sigma_o^2) = R_\text{dense} + (\sigma_o^2 - \sigma^2) \sum_i \|D_i\|^2, \qquad
#   R_\text{sparse}(\sigma_o^2) = R_\text{sparse} + (\sigma_o^2 - \sigma^2) \sum_i p_i \|w_i\|^2 ,$$
#
# and with $D_i = p_i (p_i \Sigma_i + \sigma^2 I)^{-1} \Sigma_i \beta_i$, $w_i = (\Sigma_i + \sigma^2 I)^{-1} \Sigma_i
# \beta_i$ these are the printed formulas. Two straight lines; experts start lower, by Theorem 2. All depends on the
# slopes.
#
# ## When is the experts' slope the smaller?
#
# In a direction of variance $\lambda$, with $p = p_i$, the slopes compare like
#
# $$p\, \frac{\lambda^2}{(\lambda + \sigma^2)^2} \le p^2 \frac{\lambda^2}{(p\lambda + \sigma^2)^2}
#   \iff p\lambda + \sigma^2 \le \sqrt p\, (\lambda + \sigma^2)
#   \iff (1 - \sqrt p)\, \sigma^2 \le \sqrt p\, (1 - \sqrt p)\, \lambda
#   \iff \lambda \ge \frac{\sigma^2}{\sqrt p} .$$
#
# So the **corrected** sufficient condition is $\lambda_{\min}(\Sigma_i) \ge \sigma^2 / \sqrt{p_i}$ for all $i$. The
# **printed** one, $\lambda_{\min}(\Sigma_i) > 4 \sigma^2$, implies it only where $1/\sqrt{p_i} \le 4$, that is
# $p_i \ge 1/16$. With more than 16 equal experts there is a gap between the two.
#
# *Why the same threshold as in Theorem 2's notebook*, where the gap at equal noise was largest at $\sigma^2 = \sqrt p\,
# \lambda$? The coefficients are optimal, so by the envelope theorem the derivative of a Bayes risk by $\sigma^2$ is
# $\|b\|^2$: the slope in the test noise. The gap grows with $\sigma^2$ exactly where dense has the larger slope.
#
# ## The counter-example
#
# A hundred equal experts of one feature, $\Sigma_i = 8$, training noise 1: the printed condition holds, $8 > 4$. The
# corrected one asks for $\lambda \ge 10$. Beside it a model with $\Sigma_i = 12$, for which both hold.

# %%
EXPERTS = 100
STRENGTHS = (8.0, 12.0)
test_variances = np.array([1.0, 10.0, 20.0, 40.0, 60.0])


def errors(model, test_variances, n=5_000, repeats=8):
    """(repeats, variances, 2): squared errors of dense and sparse Bayes coefficients, routed by the label."""
    dense, experts = np.concatenate(mn.theory.bayes_dense(model)), mn.theory.bayes_sparse(model)

    def one(variance, repeat):
        rows = dataclasses.replace(model, noise_variance=variance).sample(n, rng=1, replicate=repeat)
        answers = np.array([rows.features[:, block] @ w for block, w in zip(model.blocks, experts)])
        routed = answers[rows.expert, np.arange(n)]
        return [np.mean((answer - rows.response) ** 2) for answer in (rows.features @ dense, routed)]

    return np.array([[one(variance, repeat) for variance in test_variances] for repeat in range(repeats)])


models = {strength: mn.BlockModel.isotropic(EXPERTS, EXPERTS, variance=strength, coefficients=[1.0] * EXPERTS)
          for strength in STRENGTHS}
figure, axes = plots.new_axes(2, width=3.6, height=3.1)
line = np.linspace(0, 64, 50)
for strength, ax in zip(STRENGTHS, axes):
    model = models[strength]
    total = model.probabilities @ model.signal_variances
    measured = errors(model, test_variances)
    stated = mn.theory.robustness(model, line)
    for j, (name, marker) in enumerate((("dense", "s"), ("experts", "o"))):
        colour = plots.COLOURS[name]
        plots.stated(line, stated[j] / total, label=f"{name}, Theorem 3", colour=colour, ax=ax)
        plots.measured(test_variances, measured[:, :, j].mean(axis=0) / total,
                       measured[:, :, j].std(axis=0, ddof=1) / np.sqrt(len(measured)) / total,
                       label=f"{name}, simulated", colour=colour, marker=marker, ax=ax)
    holds = {form: mn.theory.robustness_condition(model, form=form).all() for form in ("printed", "corrected")}
    meet = mn.theory.crossover_noise(model)
    print(f"Sigma = {strength:g}: printed condition {'holds' if holds['printed'] else 'fails'}, "
          f"corrected {'holds' if holds['corrected'] else 'fails'}; dense wins "
          f"{f'from test noise {meet:.4g} on' if np.isfinite(meet) else 'never'}")
    if np.isfinite(meet):
        ax.axvline(meet, color=plots.COLOURS["reference"], linestyle=":", linewidth=0.8, label="crossover")
    ax.set_title(f"{EXPERTS} experts, $\\Sigma_i$ = {strength:g}")
    ax.set_xlabel("test noise variance $\\sigma_o^2$ (training: 1)")
axes[0].set_ylabel("risk / variance of the response")
axes[0].legend()
figure

# %% [markdown]
# On the left the lines cross at $\sigma_o^2 = 28$, though the printed condition holds. As both risks are straight
# lines, the crossover is one division, `mn.theory.crossover_noise`:
#
# $$\sigma_o^2 = \sigma^2 + \frac{R_\text{dense} - R_\text{sparse}}{\sum_i p_i \|w_i\|^2 - \sum_i \|D_i\|^2} .$$
#
# *A lesser evil.* Mind the scale: who predicts zero has a relative risk of 1, and at the crossover both have more. That
# is no accident. With equal experts and one $\lambda$ throughout, solving "risk $=$ variance of the response" for the
# noise shows that dense is worse than nothing from $p \lambda + 2 \sigma^2$ on and experts from $\lambda + 2 \sigma^2$
# on: experts are ahead for as long as either is of any use. (With signals of many strengths this need not be so.)
#
# ## The whole plane

# %%
counts = np.unique(np.geomspace(2, 400, 14).astype(int))
ratios = np.geomspace(0.25, 64, 25)
crossing = np.array([[mn.theory.crossover_noise(mn.BlockModel.isotropic(k, k, variance=ratio, coefficients=[1.0] * k))
                      for k in counts] for ratio in ratios])

figure, ax = plots.new_axes(width=4.8, height=3.4)
levels = np.array([0, 1, 2, 3, 4, 5, 6, 12])  # powers of two; the last is for "later, or never"
powers = np.log2(np.minimum(crossing, 2.0 ** levels[-1]))
regions = ax.contourf(counts, ratios, powers, levels, colors=matplotlib.colormaps["Blues_r"](np.linspace(0.15, 1, 7)))
ax.plot(counts, np.sqrt(counts), color=plots.COLOURS["corrected"], label="corrected: $\\Sigma = \\sigma^2 / \\sqrt{p}$")
ax.axhline(4, color=plots.COLOURS["printed"], linestyle="--", label="printed: $\\Sigma = 4 \\sigma^2$")
ax.plot(100, 8, "*", color=plots.COLOURS["experts"], markersize=10, label="the counter-example")
ax.set_xscale("log")
ax.set_yscale("log", base=2)
ax.set_xlabel("number of equal experts $k = 1/p$")
ax.set_ylabel("$\\Sigma / \\sigma^2$")
ax.text(3, 40, "experts win at every larger noise", fontsize=8)
ax.legend(loc="lower right", fontsize=7, frameon=True, framealpha=0.9, edgecolor="none")
bar = figure.colorbar(regions, ax=ax, ticks=levels[:-1], spacing="uniform")
bar.set_ticklabels([f"{2**level}" for level in levels[:-1]])
bar.set_label("test noise from which dense wins, over $\\sigma^2$")
figure

# %% [markdown]
# Above the solid line experts win at every larger noise, below it dense wins in the end (from about twice the training
# noise on where signals are weak). Between the lines, to the right, the printed condition promises too much; to the
# left it asks for more than is needed.
#
# ## In practice: routing does not stay correct, and nobody has to stay unadapted
#
# The theorem's router is never wrong, and its coefficients stay those of training. Neither is how one would do it. More
# noise also misleads a router made for less of it; and the noise of a batch of inputs can be estimated without labels,
# after which gate and coefficients can be those of the new noise.

# %%
model = mn.BlockModel.toeplitz(60, 12, scale=2.0, rng=0)
train = model.sample(10_000, rng=1)
in_use = {}
for noise in ("fit", "adapt"):
    how = "" if noise == "fit" else ", adapted"
    in_use["dense" + how] = mn.DenseRegressor(noise=noise).fit(train.features, train.response)
    in_use["soft experts" + how] = mn.ExpertsRegressor(model.block_sizes, routing="soft", noise=noise).fit(
        train.features, train.response, expert=train.expert)

noises = (1.0, 2.0, 3.0, 5.0)
print("test noise variance" + "".join(f"{noise:10g}" for noise in noises))
for name, regressor in in_use.items():
    scores = []
    for noise in noises:
        test = dataclasses.replace(model, noise_variance=noise).sample(10_000, rng=2)
        scores.append(np.mean((regressor.predict(test.features) - test.response) ** 2) / np.var(test.response))
    print(f"{name:25}" + "".join(f"{score:10.2f}" for score in scores)[6:])

# %% [markdown]
# (Shares of the response's variance that are left.) Unadapted experts lose their lead soon, as the gate's errors come
# on top of what the theorem counts. Adapted, they are the best at every noise.
#
# ## Exercises
#
# **1. Sixteen experts.** Set `EXPERTS = 16` and `STRENGTHS = (3.5, 4.5)`. Where are the two conditions now, and what
# becomes of the crossover?
#
# <details><summary>Answer</summary>
#
# They agree: $1/\sqrt{1/16} = 4$. At 3.5 neither holds, and dense wins from a test noise of 24.4 on; at 4.5 both hold,
# and it never does. Just below 4 the slopes are nearly equal and the crossover is very far out.
# </details>
#
# **2. Sufficient, not necessary.** Find a model in which the corrected condition fails for some expert and experts win
# at every noise all the same.
#
# <details><summary>Answer</summary>
#
# Only the *sums* of the slopes matter. Give the expert that breaks the condition little of the coefficients: with two
# blocks, covariances `[[8.0]]` and `[[0.1]]` and coefficients `[1.0]` and `[0.1]`, the weak direction adds next to
# nothing to either slope, and `crossover_noise` is infinite.
# </details>
#
# **3. Less noise in use.** Go on with the lines to $\sigma_o^2 < \sigma^2$, down to 0. Can dense win there?
#
# <details><summary>Answer</summary>
#
# No. At $\sigma_o^2 = 0$ a direction's errors are $p \lambda (b - D)^2$ and $p \lambda (b - w)^2$, with $b$ the true
# coefficient, and $D$ is shrunk more than $w$: experts win there, and at $\sigma_o^2 = \sigma^2$ by Theorem 2, and so
# on the straight line between. Less noise in use is never dense's advantage.
# </details>
