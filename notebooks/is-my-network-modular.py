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
# # Is my network modular, and would experts help it?
#
# The paper's practical claim is about trained networks: their hidden activations are blocks under noise, and a sparse
# model of the same size stands that noise better. If you have activations you can ask **them**. This notebook audits
# three sets: one in which modules were planted, one that looks modular and is not, and the hidden layer of a small
# network trained on handwritten digits. "No" is as good an answer as "yes", and needs as much care.
#
# Each number below comes from the cell above it; all of it runs in under a minute.

# %%
# %matplotlib inline
import warnings

import matplotlib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

import moenoise as mn
from moenoise import plots

matplotlib.rcParams.update(plots.STYLE)

# %% [markdown]
# ## 1. Where the answer is known to be yes
#
# 64 features in four modules. A row is large in its own module, and noise elsewhere. Within a module features are
# uncorrelated, so that correlations of the features themselves know nothing of modules: what belongs together is large
# together. `find_modules` looks at that.

# %%
planted = mn.BlockModel.isotropic(64, 4, variance=4.0, rng=0).sample(1600, rng=1)
shuffled = np.random.default_rng(0).permutation(64)
features = planted.features[:, shuffled]
modules = mn.activations.find_modules(features, 4, rng=0)
modules

# %%
figure, axes = plots.new_axes(2, width=3.0, height=3.0)
plots.activation_blocks(features, ax=axes[0]).set_title("as they come")
plots.activation_blocks(features, modules, ax=axes[1]).set_title("ordered by module")
figure

# %% [markdown]
# One call asks the four questions, on rows that were held out.

# %%
yes = mn.audit(features, planted.response, noise=(0, 0.5, 1, 2), rng=0, progress=False)
yes

# %%
figure = yes.plot()[0].figure
figure

# %% [markdown]
# Experts with a *learned* router win up to noise of one standard deviation, and at two the router loses its way: the
# oracle, who knows a row's expert from its features before the noise, would still win. The model's predictions are
# those of the theorems of this package for the model that the audit fitted.
#
# ## 2. What looks modular and is not
#
# Six factors that all features share, and noise: a low-rank Gaussian. Sorting its rows and features brings out blocks
# as well, and beside columns that were permuted their modularity would be significant beyond doubt.

# %%
rng = np.random.default_rng(1)
factors = rng.standard_normal((1600, 6)) @ rng.standard_normal((6, 64)) / 6**0.5
factors += 0.3 * rng.standard_normal((1600, 64))
response = factors @ rng.standard_normal(64) + rng.standard_normal(1600)

figure, axes = plots.new_axes(1, width=3.0, height=3.0)
plots.activation_blocks(factors, mn.activations.find_modules(factors, 4, rng=0), ax=axes)
figure

# %% [markdown]
# The audit compares with draws that have the same columns and the same correlations, and no modules. In these there
# is as much modularity.

# %%
no = mn.audit(factors, response, noise=(0, 0.5, 1, 2), rng=0, progress=False)
no

# %% [markdown]
# ## 3. A network of one's own
#
# One hidden layer of 128 rectified units, trained on half of scikit-learn's digits; we look at it on the other half.

# %%
images, digit = load_digits(return_X_y=True)
images = images / 16
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it is stopped early
    network = MLPClassifier((128,), max_iter=150, random_state=0).fit(images[:900], digit[:900])
hidden = np.maximum(images[900:] @ network.coefs_[0] + network.intercepts_[0], 0)

own = mn.audit(hidden, digit[900:], noise=(0, 0.5, 1, 2), rng=0, progress=False)
own

# %% [markdown]
# There is some structure beyond the correlations, and it is weak: the ratio says how weak, whatever z says. Experts on
# it do not beat a ridge that is tuned for the noise, nor the same experts on *random* blocks. Look at both rivals:
# either of them alone may be beaten where modules have nothing to do with it.

# %%
for quantity in ("experts", "ridge", "random blocks", "experts, oracle", "ridge - experts", "random blocks - experts"):
    records = [record for record in own.measurements if record["quantity"] == quantity]
    print(f"{quantity:24s}", *(f"{r['value']:7.3f} ± {r['standard_error']:.3f}" for r in records))

# %% [markdown]
# ## 4. Split the layer itself
#
# `moefy` splits the hidden units into 16 experts of 8, without any training, as MoEfication does. With all experts
# active it is the layer it was; with fewer, how well it does depends on who chooses them.

# %%
layer = mn.moefy(network.coefs_[0], network.coefs_[1], 16, b_in=network.intercepts_[0], b_out=network.intercepts_[1],
                 inputs=images[:900], rng=0, progress=False)
figure, ax = plots.new_axes(width=4.2)
active = [2, 4, 6, 8, 12, 16]
for colour, selection in zip(plots.CYCLE, ("ground truth", "learned", "similarity")):
    accuracy = [np.mean(layer(images[900:], active=a, selection=selection).argmax(axis=1) == digit[900:])
                for a in active]
    ax.plot(active, accuracy, "o-", color=colour, label=selection)
ax.set_xlabel("active experts, of 16")
ax.set_ylabel("accuracy on digits held out")
ax.legend()
figure

# %% [markdown]
# ## 5. On your own
#
# From a file, in a shell: `moenoise audit activations.npy --targets y.npy --out audit`. From a PyTorch model:
#
#     captured = mn.capture(model, batches, ["encoder.layer.3.intermediate"], "activations")
#     mn.audit(captured.paths["encoder.layer.3.intermediate"], y, groups=captured.groups, tokens=captured.tokens)
#
# Two arguments matter more than they seem to. `groups=` keeps the rows of a document on one side of every split.
# `tokens=` says what each row is an activation of: in a network's first layers all occurrences of a word are nearly one
# row, and rows that repeat look like modules.
#
# ## Exercises
#
# **1. A text.** Words repeat, a few of them very often. Take 200 rows of section 2 for words, draw 4,000 rows of a text
# from them, the i-th word in proportion to 1 / i, add noise of 0.1 to each row, and audit the text without targets.
# What does its modularity say, and what with `tokens=`?
#
# <details><summary>Answer</summary>
#
#     word = rng.choice(200, 4000, p=1 / np.arange(1, 201) / np.sum(1 / np.arange(1, 201)))
#     text = factors[word] + 0.1 * rng.standard_normal((4000, 64))
#     for tokens in (None, word):
#         print(mn.audit(text, tokens=tokens, experts=4, rng=0).verdict.answers[0])
#
# With all rows z is above 15, though there is no module anywhere, and the ratio 1.3; with one row a word they are 1 and
# below 1.1.
# </details>
#
# **2. A dense response.** In section 1 let the response depend on all features,
# `features @ rng.standard_normal(64)`. Which answers change, and why not the first?
#
# <details><summary>Answer</summary>
#
# All but the first, which does not look at the response: the features still come in modules. But now each expert misses
# what lies outside of its block, which is no noise any more, and the ridge wins.
# </details>
#
# **3. Weak modules.** Lower the `variance` of section 1 to 2, 1.5, 1 and 0.5. When does the first answer turn, and when
# the last one?
#
# <details><summary>Answer</summary>
#
# The first between 1.5 and 1, where the modules are certain, and found (z = 17), but their modularity is only 1.3 times
# that of the draws. Experts still help at 1, and no more at 0.5, where the modules are not found.
# </details>
