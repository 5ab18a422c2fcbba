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
# # When do experts beat a dense model?
#
# A tour. Features come in blocks, one for each of $k$ experts; a row is at home in one block and shows only noise in
# the others. *Dense* is one least-squares fit on all features, *experts* are one fit a block, behind a router. The
# paper says that experts win because they filter the noise. This notebook goes through what decides: how strong signals
# are, who routes, how many rows there are, whether the noise stays; and ends on real images, where the answer is
# another.
#
# Each section names the notebook that goes deeper.

# %%
# %matplotlib inline
import matplotlib
import numpy as np
from sklearn.cluster import SpectralClustering
from sklearn.datasets import load_digits

import moenoise as mn
from moenoise import plots

matplotlib.rcParams.update(plots.STYLE)

# %% [markdown]
# ## The idea, in one example
#
# Dense sees a block's signal in a share $p_i$ of the rows and its noise in all of them; an expert sees both in its own
# rows only. With rows without end that gives the two risks of Theorem 2,
#
# $$R_\text{dense} = \sum_i p_i\, \sigma^2\, \beta_i^\top \Sigma_i (p_i \Sigma_i + \sigma^2 I)^{-1} \beta_i \;\ge\;
#   R_\text{sparse} = \sum_i p_i\, \sigma^2\, \beta_i^\top \Sigma_i (\Sigma_i + \sigma^2 I)^{-1} \beta_i .$$

# %%
model = mn.BlockModel.toeplitz(60, 12, scale=2.0, rng=0)
train, test = model.sample(6_000, rng=1), model.sample(20_000, rng=2)

dense = mn.DenseRegressor().fit(train.features, train.response)
hard = mn.ExpertsRegressor(model.block_sizes).fit(train.features, train.response, expert=train.expert)
soft = mn.ExpertsRegressor(model.block_sizes, routing="soft").fit(train.features, train.response, expert=train.expert)
answers = {
    "dense": dense.predict(test.features),
    "experts, routed by the label": hard.predict(test.features, expert=test.expert),
    "experts, hard routing": hard.predict(test.features),
    "experts, soft routing": soft.predict(test.features),
}
for name, answer in answers.items():
    print(f"{name:30} {np.mean((answer - test.response) ** 2) / np.var(test.response):.2f}")

# %% [markdown]
# (Shares of the response's variance that are left: 0 is perfect, 1 is predicting zero.) Experts win; most of all if
# somebody tells them whose row it is, which in use nobody does.
#
# ## Who routes decides: a map
#
# With the model known and the best possible router, who has the least risk? Left: hard routing (each row to its
# likeliest expert) against dense. Right: soft routing (all experts answer, weighted by their probabilities) against
# dense. Soft routing is $E[y \mid x]$, so that no predictor of any kind does better.

# %%
COUNTS, RATIOS, SIZE = (2, 4, 8, 16, 32), 2.0 ** np.arange(-3, 6), 5
risks = {}
for k in COUNTS:
    for ratio in RATIOS:
        each = mn.BlockModel.toeplitz(SIZE * k, k, scale=ratio, coefficients=[1.0] * (SIZE * k))
        risks[k, ratio] = mn.theory.soft_risk(each, n_samples=4_000, rng=0)


def saved(name):
    """(ratios, counts): by how much the risk is below the dense one, as a share of the latter."""
    return np.array([[1 - getattr(risks[k, ratio], name).value / risks[k, ratio].dense.value
                      for k in COUNTS] for ratio in RATIOS])


figure, axes = plots.new_axes(3, width=2.7, height=3.3, sharey=True)
kinds = (("oracle", "routed by the label"), ("hard", "hard routing"), ("soft", "soft routing"))
for ax, (name, title) in zip(axes, kinds):
    values = saved(name)
    image = ax.imshow(values, origin="lower", aspect="auto", cmap="PuOr_r", vmin=-1, vmax=1)
    for (row, column), value in np.ndenumerate(values):
        ax.text(column, row, f"{100 * value:+.0f}", ha="center", va="center", fontsize=7,
                color="white" if abs(value) > 0.7 else "black")
    ax.set_title(title)
    ax.set_xticks(range(len(COUNTS)), COUNTS)
    ax.set_yticks(range(len(RATIOS)), [f"{ratio:g}" for ratio in RATIOS])
    ax.set_xlabel(f"experts of {SIZE} features")
axes[0].set_ylabel("signal-to-noise ratio of a feature")
figure.colorbar(image, ax=axes, label="risk saved against dense", format=lambda share, place: f"{share:.0%}")
figure

# %% [markdown]
# Orange: experts win; purple: dense wins. The paper's picture is the left one. In the middle one a large corner belongs
# to dense: weak signals, many experts. In the right one none does. *More:* the notebooks on Theorems 1, 2 and 4.
#
# ## How many rows?
#
# Without a penalty either model peaks where it has as many rows as features: 60 in all for dense, 5 for each expert.

# %%
k, features = model.k, int(model.block_sizes[0])  # of each expert
total = model.probabilities @ model.signal_variances
rows_tried = np.array([1, 2, 3, 10, 15, 25, 50, 100, 200]) * k


def measured_risks(n):
    """(3, 2): means and standard errors of the risks of dense, its best ridge and experts, fitted to n rows."""
    penalty, coefs = mn.theory.best_penalty(model, n), []
    for repeat in range(max(12, 12_000 // n)):
        draw = model.sample(n, rng=3, replicate=repeat, routing="balanced")
        experts = np.concatenate(mn.block_lstsq(*draw, model.block_sizes).coef)
        ridge = mn.DenseRegressor(penalty=penalty).fit(draw.features, draw.response).coef_
        coefs.append([mn.lstsq(draw.features, draw.response).coef, ridge, experts])
    estimators = zip(np.swapaxes(coefs, 0, 1), ("dense", "dense", "sparse"))
    risks = np.array([mn.theory.risk(model, each, estimator=name) / total for each, name in estimators])
    return np.transpose([risks.mean(axis=1), risks.std(axis=1, ddof=1) / np.sqrt(len(coefs))])


fits = np.array([measured_risks(n) for n in rows_tried])
sizes = np.unique(np.geomspace(k, 3_000, 60).astype(int))
many = sizes[sizes >= k * (features + 2)] // k * k
lines = (
    (sizes, mn.theory.dense_risk(model, sizes)),
    (sizes, mn.theory.dense_risk(model, sizes, penalty=mn.theory.best_penalty(model, sizes))),
    (many, mn.theory.expert_risk(model, [[n // k] * k for n in many]) @ model.probabilities),
)
kinds = (("dense", "dense", "s"), ("dense, best ridge", "corrected", "^"),
         ("experts, routed by the label", "experts", "o"))
figure, ax = plots.new_axes(width=5.2, height=3.6)
for j, ((name, colour, marker), (x, risk)) in enumerate(zip(kinds, lines)):
    plots.stated(x, np.where(np.isfinite(risk), risk / total, np.nan), label=f"{name}: theory",
                 colour=plots.COLOURS[colour], ax=ax)
    plots.measured(rows_tried, *fits[:, j].T, label=f"{name}: fits", colour=plots.COLOURS[colour], marker=marker,
                   ax=ax)
ax.plot(rows_tried[:3], fits[:3, 2, 0], ":", color=plots.COLOURS["experts"], linewidth=1)
ax.axvspan(k * (features - 1), k * (features + 1), color=plots.COLOURS["experts"], alpha=0.1, linewidth=0,
           label="experts' mean is infinite")
ax.set_xscale("log")
ax.set_ylim(0, 3)
ax.set_xticks([12, 30, 60, 120, 300, 1_000, 3_000], ["12", "30", "60", "120", "300", "1,000", "3,000"])
ax.minorticks_off()
ax.set_xlabel(f"training rows ({model.d} features, {k} experts)")
ax.set_ylabel("risk / variance of the response")
plots.legend_below(figure, ax, columns=2)
figure

# %% [markdown]
# Around the peak a dense ridge is the better choice; with one row an expert the experts are, by little, and from about
# 100 rows on, soon by much. (Points are means of fits, their bars two standard errors. Experts of 5 features with 4 to
# 6 rows have an infinite mean. With fewer rows their theory is an approximation for large blocks, which these are not,
# so that only fits are shown; with 2 and 3 rows the mean is finite but not the variance, and the bars are rough.)

# %% [markdown]
# *More:* the notebook on sample complexity.
#
# ## If the noise changes
#
# Experts trust their features more than dense does, and so they have more to lose where the noise grows: even with
# correct routing dense wins from some noise on if there are many experts of weak signals, `mn.theory.crossover_noise`.
# But the new noise can be estimated from unlabelled rows, and gate and experts be adapted to it: `noise="adapt"`.
# *More:* the notebooks on Theorem 3, and "Which predictor should I use?".
#
# ## Real images
#
# All this was for data that obey the model. scikit-learn's 1,797 images of handwritten digits do not. We give them
# their best chance: pixels are grouped into four *modules* that vary together, and an image belongs to the module where
# it deviates most from the mean image, relative to what is usual there. Then we turn a dial: pixels outside of an
# image's own module are scaled by $\alpha$ about their mean. At $\alpha = 0$ images obey the model's first rule, zero
# outside the block; at $\alpha = 1$ they are the real images. We predict the digit, as ten indicators, from pixels with
# added noise of variance 16 (they go from 0 to 16), by dense, and by experts routed by the label or softly.

# %%
data = load_digits()
pixels = np.flatnonzero(np.ptp(data.data, axis=0) > 0)  # those that vary at all
similarity = np.maximum(np.corrcoef(data.data[:, pixels].T), 0)
clustering = SpectralClustering(4, affinity="precomputed", assign_labels="cluster_qr", random_state=0)
module = clustering.fit_predict(similarity)
pixels, module = pixels[np.argsort(module, kind="stable")], np.sort(module)  # a module's pixels side by side
images = data.data[:, pixels] - data.data[:, pixels].mean(axis=0)
block_sizes = np.bincount(module)
energy = np.add.reduceat(images**2, np.cumsum(block_sizes) - block_sizes, axis=1)
expert = (energy / energy.mean(axis=0)).argmax(axis=1)
own = module == expert[:, None]  # (images, pixels)
digit = np.eye(10)[data.target]
digit -= digit.mean(axis=0)
print(f"{len(pixels)} pixels in modules of {', '.join(map(str, block_sizes))}; images: {np.bincount(expert)}")
print(f"mean square of a pixel in the image's own module {np.mean(images[own] ** 2):.1f}, "
      f"outside {np.mean(images[~own] ** 2):.1f}")

# %%
DIALS, NOISE, SPLITS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0), 16.0, 6


def image_scores(alpha, split):
    """Brier scores of dense, experts routed by the label, and soft experts on held-out images."""
    rng = np.random.default_rng(split)
    test, train = np.split(rng.permutation(len(images)), [450])
    seen = np.where(own, images, alpha * images) + np.sqrt(NOISE) * rng.standard_normal(images.shape)
    dense = mn.DenseRegressor().fit(seen[train], digit[train])
    experts = mn.ExpertsRegressor(block_sizes, routing="soft").fit(seen[train], digit[train], expert=expert[train])
    answers = (dense.predict(seen[test]), experts.predict(seen[test], expert=expert[test]), experts.predict(seen[test]))
    return [np.mean(np.sum((answer - digit[test]) ** 2, axis=1)) for answer in answers]


scores = np.array([[image_scores(alpha, split) for split in range(SPLITS)] for alpha in DIALS])
nothing = np.mean(np.sum(digit**2, axis=1))

figure, (picture, ax) = plots.new_axes(2, width=3.5, height=3.2)
shown = np.full(64, np.nan)
shown[pixels] = module
picture.imshow(shown.reshape(8, 8), cmap=matplotlib.colors.ListedColormap(plots.CYCLE[:4]))
picture.set_title("four modules of pixels (white: never vary)")
picture.set_axis_off()
kinds = (("dense", "dense", "s"), ("experts, routed by the label", "reference", "^"), ("soft experts", "experts", "o"))
for j, (name, colour, marker) in enumerate(kinds):
    mean, spread = scores[:, :, j].mean(axis=1), scores[:, :, j].std(axis=1, ddof=1) / np.sqrt(SPLITS)
    plots.measured(DIALS, mean, spread, label=name, colour=plots.COLOURS[colour], marker=marker, ax=ax)
    ax.plot(DIALS, mean, ":", color=plots.COLOURS[colour], linewidth=0.8)
ax.axhline(nothing, color=plots.COLOURS["reference"], linewidth=0.8, label="class frequencies alone")
ax.set_ylim(0.3, 1)
ax.set_xlabel("$\\alpha$: 0 pruned, 1 the real images")
ax.set_ylabel("Brier score of ten classes")
ax.legend(fontsize=7)
figure

# %%
print("alpha   dense less experts routed by the label   dense less soft experts   (above 0: experts win)")
for alpha, each in zip(DIALS, scores):
    gaps = each[:, :1] - each[:, 1:]
    mean, error = gaps.mean(axis=0), gaps.std(axis=0, ddof=1) / np.sqrt(SPLITS)
    print(f"{alpha:5g} {mean[0]:+29.3f} ({error[0]:.3f}) {mean[1]:+20.3f} ({error[1]:.3f})")

# %% [markdown]
# (In brackets: standard errors over random splits of the same images, which is somewhat too small.)
#
# **On the real images dense wins**, even against experts that are told the module, which is found from the clean image.
# Pixels outside an image's own module vary more than half as much as those inside, and they tell of the digit too:
# experts do not look at them. Pruned images are another matter, but it takes the clean image to prune them. In between
# the experts' scores stay about where they are while dense gets ever better from what the dial lets through.
#
# So the answer of this tour: experts win where **signals really are confined to blocks**, noise is considerable, rows
# are many, and routing is soft or easy. Whether yours are data of this kind is a question for a held-out set, not for a
# theorem.
#
# ## Exercises
#
# **1. Larger blocks.** Set `SIZE = 20` in the map. Where does hard routing lose to dense now?
#
# <details><summary>Answer</summary>
#
# In a smaller corner: more features an expert make routing easier, at the same strength of each. The oracle's map
# hardly changes, as Theorem 2 is about one direction at a time.
# </details>
#
# **2. More noise on the images.** Set `NOISE = 256.0`, then `1.0`. Do experts win on the real images at either?
#
# <details><summary>Answer</summary>
#
# No. More noise narrows the gap, as everybody comes near to the class frequencies, and less noise widens it. The
# paper's mechanism works, but against signals outside the modules it does not get far.
# </details>
#
# **3. Other modules.** Use 2 modules in place of 4, or modules at random (`np.random.default_rng(0).integers(4,
# size=len(pixels))`). What is a good choice of modules worth?
#
# <details><summary>Answer</summary>
#
# Two modules leave experts more pixels, and bring them nearer to dense, which is the case of one module; dense stays
# ahead on the real images. Random modules do no worse than the clustered ones, rather better: scattered pixels tell
# more of an image than neighbours do. The clusters found in these images are not what helps experts.
# </details>
