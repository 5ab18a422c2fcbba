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
# # Which predictor should I use?
#
# You want to predict a number from features that were **measured with noise**, and the features come in **groups**:
# each row is at home in one group, and in the others it shows little but noise. Think of a plant with several machines,
# whose sensors are all recorded while one machine runs at a time.
#
# You can fit one linear model to everything (*dense*), or one linear model a group with something in front that decides
# whose row it is (*experts* behind a *gate*). Which one? It depends on what you know. This notebook goes through the
# cases on made-up data, where the truth is known, measures each answer, puts all into one table, and ends on real
# images.
#
# You need no theory to follow it. Each number below comes from the cell above it; all of it runs in under a minute.

# %%
# %matplotlib inline
import dataclasses
import warnings

import matplotlib
import numpy as np
from IPython.display import Markdown
from sklearn.cluster import SpectralClustering
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge

import moenoise as mn
from moenoise import plots

matplotlib.rcParams.update(plots.STYLE)

# %% [markdown]
# ## 1. What noise on the features does
#
# Let the truth be a line of slope 2, exactly: `y = 2 x`. We fit least squares, but to features with noise of a growing
# variance.

# %%
rng = np.random.default_rng(0)
x = rng.standard_normal(500)
y = 2 * x

figure, axes = plots.new_axes(3, width=2.6, height=2.6, sharex=True, sharey=True)
for ax, noise_variance in zip(axes, (0.0, 0.5, 2.0)):
    seen = x + np.sqrt(noise_variance) * rng.standard_normal(500)
    line = mn.DenseRegressor().fit(seen[:, None], y)
    ax.plot(seen, y, ".", markersize=3, color=plots.COLOURS["other"])
    ax.axline((0, 0), slope=line.coef_[0], color=plots.COLOURS["dense"])
    ax.set_title(f"noise variance {noise_variance:g}: slope {line.coef_[0]:.2f}")
    ax.set_xlabel("feature as measured")
axes[0].set_ylabel("response")
figure

# %% [markdown]
# The more noise, the flatter the line. That is no defect: a part of what we measure is noise, and for predicting from
# *equally noisy* features the flat line is the best one. The same line is what a **ridge** regression finds on clean
# features, if its penalty is the number of rows times the noise variance. So noise is a ridge, and it has consequences:
#
# * the fitted coefficients are right for *one* amount of noise only, that of the training rows;
# * the ridge is the heavier the smaller the signal is beside the noise. A dense model sees each group's signal in few
#   of its rows and noise in all of them. An expert, which sees its own rows alone, has the lighter ridge.

# %%
for noise_variance in (0.5, 2.0):
    seen = x + np.sqrt(noise_variance) * rng.standard_normal(500)
    noisy = mn.DenseRegressor().fit(seen[:, None], y).coef_[0]
    ridge = Ridge(alpha=500 * noise_variance, fit_intercept=False).fit(x[:, None], y).coef_[0]
    print(f"noise variance {noise_variance:g}: slope {noisy:.2f} on noisy features, {ridge:.2f} by ridge on clean ones")

# %% [markdown]
# ## 2. The data of this notebook
#
# 32 features in 4 groups of 8. A row belongs to one group at random, its features there have variance 2, and the noise
# on *all* features has variance 1. We judge predictors by the share of the response's variance that they leave
# unexplained: 0 is perfect, 1 is what the mean alone achieves.

# %%
truth = mn.BlockModel.toeplitz(32, 4, scale=2.0, noise_variance=1.0, rng=0)
train = truth.sample(2_000, rng=1)   # .features, .response, and .expert: whose row it is
test = truth.sample(20_000, rng=2)
groups = truth.block_sizes           # how many columns each group has, side by side


def unexplained(predicted, response):
    """Share of the response's variance that is left."""
    return np.mean((predicted - response) ** 2) / np.var(response)


def report(name, predicted, sample=test):
    print(f"{name:45} {unexplained(predicted, sample.response):.3f}")


groups

# %% [markdown]
# ## 3. One dense model, or experts
#
# `DenseRegressor` is least squares on all features. `ExpertsRegressor` fits each group's own columns to its own rows;
# here we know whose rows the training rows are, and say so with `expert=`. At prediction nobody knows, and a gate
# decides from the features, by which group's features are larger than noise explains. It can decide in two ways:
#
# * `routing="hard"`: the likeliest expert answers alone;
# * `routing="soft"`: all answer, weighted by how likely the row is theirs.

# %%
dense = mn.DenseRegressor().fit(train.features, train.response)
hard = mn.ExpertsRegressor(groups, routing="hard").fit(train.features, train.response, expert=train.expert)
soft = mn.ExpertsRegressor(groups, routing="soft").fit(train.features, train.response, expert=train.expert)

report("dense", dense.predict(test.features))
report("experts, hard routing", hard.predict(test.features))
report("experts, soft routing", soft.predict(test.features))
report("experts, told whose row it is (cheating)", hard.predict(test.features, expert=test.expert))
report("the best possible: the true model", mn.BayesPredictor(truth).predict(test.features))

# %% [markdown]
# Soft beats hard, and comes near to the best that any method could do, however clever. The gap to the cheating line is
# the price of not knowing whose row it is; no method can avoid it.
#
# ## 4. Hard or soft?
#
# Hard routing is all or nothing: where signals are weak it often picks the wrong expert, and a wrong expert is worse
# than none. Here are 12 groups of 5 features, with signals from weak to strong.

# %%
strengths = 2.0 ** np.arange(-2, 5)
curves = {"dense": [], "hard": [], "soft": []}
for strength in strengths:
    model = mn.BlockModel.toeplitz(60, 12, scale=strength, rng=3)
    rows, new = model.sample(4_000, rng=4), model.sample(10_000, rng=5)
    fitted = {"dense": mn.DenseRegressor().fit(rows.features, rows.response)}
    for routing in ("hard", "soft"):
        fitted[routing] = mn.ExpertsRegressor(model.block_sizes, routing=routing).fit(
            rows.features, rows.response, expert=rows.expert)
    for name, regressor in fitted.items():
        curves[name].append(unexplained(regressor.predict(new.features), new.response))

colours = {"dense": plots.COLOURS["dense"], "hard": plots.COLOURS["experts"], "soft": plots.COLOURS["corrected"]}
figure, ax = plots.new_axes(width=4.6, height=3)
for (name, values), marker in zip(curves.items(), plots.MARKERS):
    ax.plot(strengths, values, color=colours[name], marker=marker, label=name)
ax.set_xscale("log", base=2)
ax.set_xticks(strengths, [f"{strength:g}" for strength in strengths])
ax.set_xlabel("variance of the signal, relative to the noise")
ax.set_ylabel("unexplained share")
ax.legend()
figure


# %% [markdown]
# Below some strength hard routing loses to dense, and for the weakest signals it is worse than predicting the mean.
# Soft routing never loses: when in doubt it hedges. **Use soft.** Hard routing is for when only one expert may answer,
# say because each one is costly.
#
# ## 5. In use, the noise is not that of training
#
# Sensors age, or get replaced. The coefficients carry the ridge of the *training* noise, and the gate its thresholds.
# If the noise changes, both are wrong.
#
# There is a remedy that needs no labels and no responses: more noise makes the features larger, by a known amount. So
# the new noise can be estimated from a batch of features alone. `noise_change` shows the estimate, `noise="adapt"` uses
# it.

# %%
def at_noise(noise_variance, n=20_000, rng=6):
    """New rows of the same truth, at another noise."""
    return dataclasses.replace(truth, noise_variance=noise_variance).sample(n, rng=rng)


def fitted_regressors(train, groups):
    """Dense and soft experts, each as it is and adapting."""
    regressors = {}
    for noise, text in (("fit", ""), ("adapt", ", adapted")):
        regressors["dense" + text] = mn.DenseRegressor(noise=noise).fit(train.features, train.response)
        regressors["soft" + text] = mn.ExpertsRegressor(groups, routing="soft", noise=noise).fit(
            train.features, train.response, expert=train.expert)
    return regressors


regressors = fitted_regressors(train, groups)
for noise_variance in (0.5, 1.0, 3.0):
    change = soft.noise_change(at_noise(noise_variance).features)
    print(f"true change {noise_variance - 1:+.2f}, estimated {change.value:+.3f}, "
          f"standard error {change.standard_error:.3f}")

# %%
variances = np.array([0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0])
curves = {name: [] for name in regressors}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the cleanest inputs, which are the subject of the next cell
    for noise_variance in variances:
        new = at_noise(noise_variance)
        for name, regressor in regressors.items():
            curves[name].append(unexplained(regressor.predict(new.features), new.response))

figure, ax = plots.new_axes(width=4.6, height=3)
for name, values in curves.items():
    ax.plot(variances, values, "o-" if "adapted" in name else "o--", color=colours[name.split(",")[0]], label=name,
            markerfacecolor=None if "adapted" in name else "white")
ax.axhline(1, color=plots.COLOURS["reference"], linewidth=0.8)
ax.axvline(1, color=plots.COLOURS["reference"], linewidth=0.8, linestyle=":")
ax.set_xscale("log")
ax.set_yscale("log")
ax.set_xticks(variances[[0, 1, 3, 5, 6, 7, 8]], [f"{v:g}" for v in variances[[0, 1, 3, 5, 6, 7, 8]]])
ax.set_yticks([0.2, 0.5, 1, 2], ["0.2", "0.5", "1", "2"])
ax.minorticks_off()
ax.set_xlabel("noise variance of the new rows (training: 1)")
ax.set_ylabel("unexplained share")
ax.legend()
figure

# %% [markdown]
# Without adapting, soft experts suffer *most* from more noise: they trust their features more than dense does, lose
# their lead, and in the end do much worse than the mean (the grey line). Adapted, they are the best everywhere.
#
# Three things to know:
#
# * The estimate takes the rest for granted: the same signals, in the same proportions. If the features grew for another
#   reason, it takes that for noise. Look at `noise_change` before you believe it.
# * It needs a batch. Fewer than 32 rows are too few, and then a warning says that the noise of training was used. If
#   you know the new noise variance, give it: `predict(X, noise_variance=3.0)`.
# * More noise can always be followed. Less noise cannot go all the way, for what was fitted to noisy features does not
#   tell what clean ones are like; then a warning says how far it went.

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    regressors["soft, adapted"].predict(at_noise(3.0).features[:10])  # ten rows
    regressors["soft, adapted"].predict(at_noise(0.001).features)     # hardly any noise
for warning in caught:
    print(f"{warning.category.__name__}: {warning.message}\n")


# %% [markdown]
# ## 6. How sure is a prediction?
#
# `return_std=True` gives the standard deviation of the error of each prediction, made of what the experts do not know
# and of the doubt about whose row it is. 1.96 of them either way should cover about 95 % of the responses.

# %%
def coverage(name, regressor, new):
    predicted, std = regressor.predict(new.features, return_std=True)
    inside = np.abs(new.response - predicted) < 1.96 * std
    sure = std <= np.quantile(std, 0.2)
    by_sureness = f", of the surest fifth {inside[sure].mean():.1%}" if np.ptp(std) > 0 else ""
    print(f"{name:16} covers {inside.mean():.1%}{by_sureness}; width from {std.min():.1f} to {std.max():.1f}")


for noise_variance in (1.0, 4.0):
    print(f"noise variance {noise_variance:g}")
    for name, regressor in regressors.items():
        coverage(name, regressor, at_noise(noise_variance))

# %% [markdown]
# At the noise of training all is as it should be, also among the predictions that claim to be the surest. Under more
# noise the unadapted intervals are far too narrow, and the adapted ones hold. For dense the width is the same for all
# rows; experts know which rows are hard.
#
# ## 7. Nobody knows whose rows they are
#
# Often no one wrote down which machine was running. Then leave out `expert=`: the groups' rows are found by expectation
# maximisation, which alternates between guessing whose row each one is and fitting the experts to that guess.

# %%
found = mn.ExpertsRegressor(groups, routing="soft", random_state=0).fit(train.features, train.response)

report("experts, soft, labels known", soft.predict(test.features))
report("experts, soft, without labels", found.predict(test.features))
report("dense", dense.predict(test.features))
right = (found.posterior_.argmax(axis=1) == train.expert).mean()
print(f"passes over the rows: {found.n_iter_}; training rows put down to the right expert: {right:.1%}")

# %% [markdown]
# Almost nothing is lost. The training responses help: a response that one expert explains well is probably its own. It
# does break down, where signals are weak *and* rows few, since then it fits experts to accidents. Means of 8 training
# samples, and their standard errors:

# %%
DRAWS = 8


def shares_of_one_draw(model, n, draw):
    """Unexplained shares of dense, and of soft experts without labels and with them."""
    rows, new = model.sample(n, rng=7, replicate=draw, routing="balanced"), model.sample(10_000, rng=8, replicate=draw)
    experts = mn.ExpertsRegressor(groups, routing="soft", random_state=0)
    answers = [mn.DenseRegressor().fit(rows.features, rows.response).predict(new.features)]
    answers += [experts.fit(rows.features, rows.response, expert=expert).predict(new.features)
                for expert in (None, rows.expert)]
    return [unexplained(answer, new.response) for answer in answers]


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that it has not converged
    for strength, n in ((2.0, 150), (0.3, 5_000), (0.3, 150)):
        model = mn.BlockModel.toeplitz(32, 4, scale=strength, rng=0)
        shares = np.array([shares_of_one_draw(model, n, draw) for draw in range(DRAWS)])
        print(f"signal {strength:g}, {n:,} rows")
        names = ("dense", "experts, soft, without labels", "experts, soft, labels known")
        for name, mean, spread in zip(names, shares.mean(axis=0), shares.std(axis=0, ddof=1)):
            print(f"  {name:43} {mean:.3f} ({spread / np.sqrt(DRAWS):.3f})")

# %% [markdown]
# ## 8. The decision table
#
# Now all of it at once. We try each call on weak and strong signals, with few and many rows, at the noise of training
# and at more and less of it; three truths each. Then we ask: of the calls that are open to you, with labels or without,
# which one loses the least against the best of all calls in that cell?

# %%
CALLS = {
    'DenseRegressor()': (mn.DenseRegressor, {}, False),
    'DenseRegressor(noise="adapt")': (mn.DenseRegressor, {"noise": "adapt"}, False),
    'ExpertsRegressor(groups)': (mn.ExpertsRegressor, {}, True),
    'ExpertsRegressor(groups, routing="soft")': (mn.ExpertsRegressor, {"routing": "soft"}, True),
    'ExpertsRegressor(groups, routing="soft", noise="adapt")':
        (mn.ExpertsRegressor, {"routing": "soft", "noise": "adapt"}, True),
}
SIGNALS = {"weak signal": 0.5, "strong signal": 4.0}
ROWS = {"few rows": 200, "many rows": 3_000}
NOISES = {"as in training": 1.0, "more": 4.0, "less": 0.4}


def errors_of(kind, parameters, rows, tests, sizes, labels):
    """Unexplained share on each test sample."""
    if kind is mn.ExpertsRegressor:
        parameters = {**parameters, "block_sizes": sizes, "random_state": 0}
    given = {"expert": rows.expert} if labels else {}
    regressor = kind(**parameters).fit(rows.features, rows.response, **given)
    return [unexplained(regressor.predict(test.features), test.response) for test in tests]


cells, truths = {}, 3
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for signal, scale in SIGNALS.items():
        for amount, n in ROWS.items():
            for seed in range(truths):
                model = mn.BlockModel.toeplitz(32, 4, scale=scale, rng=seed)
                rows = model.sample(n, rng=10 + seed, routing="balanced")
                tests = [dataclasses.replace(model, noise_variance=v).sample(5_000, rng=20 + seed)
                         for v in NOISES.values()]
                for call, (kind, parameters, expert) in CALLS.items():
                    for labels in (True, False) if expert else (None,):
                        errors = errors_of(kind, parameters, rows, tests, model.block_sizes, labels)
                        for noise, error in zip(NOISES, errors):
                            cell = cells.setdefault((signal, amount, noise), {})
                            cell[call, labels] = cell.get((call, labels), 0) + error / truths
print(f"{len(cells)} cells of {len(cells['weak signal', 'few rows', 'more'])} calls")

# %%
def decision(labels, amount, noise):
    """(call, its mean and its largest loss against the best of the cell) where loss is least on average."""
    losses = {}
    for signal in SIGNALS:
        cell = cells[signal, amount, noise]
        for (call, with_labels), error in cell.items():
            if with_labels in (None, labels):
                losses.setdefault(call, []).append(error / min(cell.values()) - 1)
    call = min(losses, key=lambda call: np.mean(losses[call]))
    return call, np.mean(losses[call]), max(losses[call])


lines = ["| labels | rows | noise in use | call | mean loss | largest loss |", "|---|---|---|---|---|---|"]
for labels in (True, False):
    for amount in ROWS:
        for noise in NOISES:
            call, mean, largest = decision(labels, amount, noise)
            known = "yes" if labels else "no"
            lines.append(f"| {known} | {amount} | {noise} | `{call}` | {mean:.1%} | {largest:.1%} |")
Markdown("\n".join(lines))

# %% [markdown]
# *Loss* is how much larger the error is than that of the best call in the cell, labels or not; the mean and the largest
# are over weak and strong signals. What a cell of weak signals and few rows looks like in full:

# %%
cell = cells["weak signal", "few rows", "as in training"]
for (call, labels), error in sorted(cell.items(), key=lambda item: item[1]):
    print(f"{error:.3f}  {call}{'' if labels is None else ', labels known' if labels else ', no labels'}")

# %% [markdown]
# In words:
#
# * **Labels known, groups known:** soft experts. Let them adapt if the noise may change; where it has not, adapting
#   costs next to nothing.
# * **No labels:** soft experts all the same, if rows are many or signals strong. Compare with dense on rows that you
#   held out, because few rows of weak signals are where dense wins.
# * **Groups unknown, or features that do not fall into groups:** dense, adapted if the noise may change.
#
# ## 9. Real images
#
# All of this was on data that obey the rules. scikit-learn's 1,797 images of handwritten digits do not: here are their
# pixels in four groups of pixels that vary together, and each image belongs to the group where it deviates most from
# the mean image. The other panels show where the images of each group's expert vary. If the rules held, they would be
# white outside the frames.

# %%
data = load_digits()
pixels = np.flatnonzero(np.ptp(data.data, axis=0) > 0)  # those that vary at all
similarity = np.maximum(np.corrcoef(data.data[:, pixels].T), 0)
clustering = SpectralClustering(4, affinity="precomputed", assign_labels="cluster_qr", random_state=0)
group = clustering.fit_predict(similarity)
pixels, group = pixels[np.argsort(group, kind="stable")], np.sort(group)  # the pixels of a group side by side
images = data.data[:, pixels] - data.data[:, pixels].mean(axis=0)
pixel_groups = np.bincount(group)
energy = np.add.reduceat(images**2, np.cumsum(pixel_groups) - pixel_groups, axis=1)
image_expert = (energy / energy.mean(axis=0)).argmax(axis=1)
is_own = group == image_expert[:, None]
indicators = np.eye(10)[data.target] - np.eye(10)[data.target].mean(axis=0)


def as_picture(values):
    """(8, 8): a number a pixel, where the columns of `images` belong."""
    picture = np.full(64, np.nan)
    picture[pixels] = values
    return picture.reshape(8, 8)


figure, axes = plots.new_axes(5, width=1.5, height=1.8)
axes[0].imshow(as_picture(group), cmap=matplotlib.colors.ListedColormap(plots.CYCLE[:4]))
axes[0].set_title("groups")
for i, ax in enumerate(axes[1:]):
    ax.imshow(as_picture(np.mean(images[image_expert == i] ** 2, axis=0)), cmap="gray_r", vmin=0, vmax=64)
    for row, column in np.argwhere(as_picture(group) == i):
        corner = column - 0.5, row - 0.5
        ax.add_patch(matplotlib.patches.Rectangle(corner, 1, 1, fill=False, edgecolor=plots.CYCLE[i]))
    ax.set_title(f"expert {i} ({np.mean(image_expert == i):.0%})")
for ax in axes:
    ax.set_xticks([])
    ax.set_yticks([])
figure

# %% [markdown]
# They vary nearly everywhere. Whoever looks at one group's pixels alone throws something away. We predict which digit
# it is, as ten numbers, after adding noise of variance 16 to the pixels (they go from 0 to 16), and measure the sum of
# squared errors: on *whole* images as they are, and on *pruned* ones, where pixels outside the image's own group are
# set to their mean, so that the rules hold by force. (Pruning uses the groups of the test images too; one would not
# know them.)

# %%
TRAINING_NOISE, SPLITS = 16.0, 4
COLUMNS = [(kind, noise) for kind in ("whole", "pruned") for noise in (16.0, 64.0, 4.0)]


def noisy_digits(kind, rows, noise_variance, rng):
    """Features and indicators of the class, both about the mean of all images."""
    seen = images * is_own if kind == "pruned" else images
    return seen[rows] + np.sqrt(noise_variance) * rng.standard_normal((len(rows), len(pixels))), indicators[rows]


def digit_regressors(X, y, expert):
    regressors = {}
    for noise, text in (("fit", ""), ("adapt", ", adapted")):
        regressors["dense" + text] = mn.DenseRegressor(noise=noise).fit(X, y)
        for routing in ("hard", "soft"):
            experts = mn.ExpertsRegressor(pixel_groups, routing=routing, noise=noise, random_state=0)
            regressors[routing + text] = experts.fit(X, y, expert=expert)
        unlabelled = mn.ExpertsRegressor(pixel_groups, routing="soft", noise=noise, random_state=0)
        regressors["soft, no labels" + text] = unlabelled.fit(X, y)
    return regressors


scores = {}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that less noise can be followed in part only
    for split in range(SPLITS):
        rng = np.random.default_rng(split)
        test_rows, train_rows = np.split(rng.permutation(len(images)), [450])
        for kind in ("whole", "pruned"):
            X, y = noisy_digits(kind, train_rows, TRAINING_NOISE, rng)
            regressors = digit_regressors(X, y, image_expert[train_rows])
            for noise in (16.0, 64.0, 4.0):
                X, y = noisy_digits(kind, test_rows, noise, rng)
                for name, regressor in regressors.items():
                    error = np.mean(np.sum((regressor.predict(X) - y) ** 2, axis=1))
                    scores.setdefault(name, {}).setdefault((kind, noise), []).append(error)

means = {name: [np.mean(errors[column]) for column in COLUMNS] for name, errors in scores.items()}
best = np.min(list(means.values()), axis=0)
lines = ["| | " + " | ".join(f"{kind}, noise {noise:g}" for kind, noise in COLUMNS) + " |",
         "|---" * (len(COLUMNS) + 1) + "|"]
for name in sorted(means):
    texts = [f"**{mean:.2f}**" if mean < low + 0.005 else f"{mean:.2f}" for mean, low in zip(means[name], best)]
    lines.append(f"| {name} | " + " | ".join(texts) + " |")
nothing = np.mean(np.sum(indicators**2, axis=1))
lines.append(f"| class frequencies alone | {' | '.join([f'{nothing:.2f}'] * len(COLUMNS))} |")
Markdown("\n".join(lines))

# %% [markdown]
# Bold is the best of a column, and what is within half a hundredth of it. All calls see the same images, so differences
# are known better than scores: the first call's less the second's, and their standard errors over the splits (somewhat
# too small, as the splits share images).

# %%
PAIRS = (("soft", "dense"), ("soft, adapted", "dense, adapted"), ("hard, adapted", "soft, adapted"),
         ("soft, no labels", "dense"), ("dense, adapted", "dense"), ("soft, adapted", "soft"))
lines = ["| call | less | " + " | ".join(f"{kind}, noise {noise:g}" for kind, noise in COLUMNS) + " |",
         "|---" * (len(COLUMNS) + 2) + "|"]
for first, second in PAIRS:
    gaps = np.array([np.subtract(scores[first][column], scores[second][column]) for column in COLUMNS])
    errors = gaps.std(axis=1, ddof=1) / np.sqrt(SPLITS)
    texts = [f"{mean:+.3f} ({error:.3f})" for mean, error in zip(gaps.mean(axis=1), errors)]
    lines.append(f"| {first} | {second} | " + " | ".join(texts) + " |")
Markdown("\n".join(lines))

# %% [markdown]
# Two more things to know before reading them. What would there be to gain, at noise 4, for a fit that had known of it,
# that is, one to training images of noise 4? And how far do the adapting regressors go?

# %%
def gains_of_knowing(kind, split):
    """By how much fits to noise 4 are better there than fits to the noise of training: dense, soft experts."""
    rng = np.random.default_rng(100 + split)
    test_rows, train_rows = np.split(rng.permutation(len(images)), [450])
    X, y = noisy_digits(kind, test_rows, 4.0, rng)
    errors = []
    for noise in (TRAINING_NOISE, 4.0):
        seen, digit = noisy_digits(kind, train_rows, noise, rng)
        soft = mn.ExpertsRegressor(pixel_groups, routing="soft").fit(seen, digit, expert=image_expert[train_rows])
        dense = mn.DenseRegressor().fit(seen, digit)
        errors.append([np.mean(np.sum((each.predict(X) - y) ** 2, axis=1)) for each in (dense, soft)])
    return np.subtract(*errors)


for kind in ("whole", "pruned"):
    gains = np.mean([gains_of_knowing(kind, split) for split in range(SPLITS)], axis=0)
    print(f"{kind:6} images at noise 4: dense gains {gains[0]:.3f}, soft experts {gains[1]:.3f}")
for name in ("dense, adapted", "soft, adapted"):  # the last split, pruned
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        regressors[name].predict(X)
    print(f"{name}: {str(caught[0].message).split(':')[0]}")

# %% [markdown]
# Honestly read:
#
# * **Whole images: dense wins**, and experts lose by much, hard or soft. The groups are not what the experts suppose.
#   Under more noise than in training, *adapted* dense wins: adapting needs no groups.
# * **Pruned images**, which obey the rules by force: experts win, soft routing hardly matters while the gate has an
#   easy task, and under more noise the adapted soft experts are the best.
# * **Without labels** the experts do badly on both kinds. Expectation maximisation finds the groups of rows that
#   explain the ten numbers best, and those are other groups than ours.
# * **Less noise than in training:** adapting hardly matters here. The regressors go about half of the way, as their
#   warnings say. But there is little to go for: fits to noise 4 are hardly better.
#
# So look at your own data before you believe in groups: fit dense and soft experts, hold rows out, and compare. The
# calls are two lines each.
#
# ## Exercises
#
# **1. Fewer groups.** In section 4 make 3 groups of 20 features, `mn.BlockModel.toeplitz(60, 3, ...)`. Where does hard
# routing lose to dense now?
#
# <details><summary>Answer</summary>
#
# Only for the very weakest signals: a gate that looks at 20 features of two rivals seldom errs, and a dense model loses
# less to begin with, since each group's signal is in a third of the rows instead of a twelfth.
# </details>
#
# **2. Growing signals.** In section 5 draw the new rows from a truth whose signals have grown and whose noise has not,
# `mn.BlockModel.toeplitz(32, 4, scale=4.0, rng=0)`, and look at `soft.noise_change`. What does adapting make of it?
#
# <details><summary>Answer</summary>
#
# It takes the growth for noise, and makes predictions worse: larger features are all that it goes by. That is the first
# of the three things to know.
# </details>
