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
# # Theorem 5: does gradient descent learn the experts faster?
#
# The paper (Section 4.4, Appendix A.5) fits the whole noisy design, and each of its blocks, by gradient descent, and
# says by how much a step shrinks the residual: for each expert by at least as much as for dense. Three questions: what
# is the rate, are the printed ones right, and is the direction always so? The answers are: what the singular values of
# the *noisy* matrix say; no; and usually, but not always.

# %%
# %matplotlib inline
import matplotlib
import numpy as np

import moenoise as mn
from moenoise import plots

matplotlib.rcParams.update(plots.STYLE)

# %% [markdown]
# ## The rate
#
# With $b \leftarrow b - t\, \bar X^\top (\bar X b - y)$ the residual $r = \bar X b - y$ obeys
#
# $$r \leftarrow (I - t\, \bar X \bar X^\top)\, r .$$
#
# Along the $j$-th left singular vector it shrinks by $1 - t \bar\lambda_j^2$ a step. At the usual step $t = 1 /
# \bar\lambda_1^2$ the slowest direction decides in the end, with the **contraction factor**
#
# $$\rho = 1 - \bar\lambda_{\min}^2 / \bar\lambda_1^2$$
#
# (there are more columns than rows here, so that nothing of $r$ stays). All that is left to find are the extreme
# singular values of a matrix *with noise*. The clean blocks $X_i$ have $n/k$ rows, $d/k$ columns and given singular
# values; the noise has variance $v = \sigma^2/n$ an entry, and sits on all $n \times d$ entries.
#
# ## Printed and corrected edges
#
# The **printed** theorem takes, with $c = d/n$, for each extreme clean $\lambda^2$
#
# $$\bar\lambda^2 = f(\lambda^2) = \frac{(\sigma^2 + \lambda^2)(c\, \sigma^2 + \lambda^2)}{\lambda^2} .$$
#
# That is a law for a *few isolated* singular values of a matrix that is zero otherwise. Here all of them are non-zero
# and close together; they repel each other, and so the ends of the spectrum move further out. Also, $\sigma^2$ and $c\,
# \sigma^2$ are the noise of the whole matrix, $v$ times its rows and columns; a block has but $1/k$ of either.
#
# The **corrected** edges come from the same article that the paper cites (Loubaton and Vallet, 2011). For $M \times N$
# with $M \le N$, squared clean singular values $l_1, \dots, l_M$ and noise variance $v$ an entry, let
#
# $$g(w) = 1 - v \sum_j \frac{1}{l_j - w}, \qquad \varphi(w) = w\, g(w)^2 + v\, (N - M)\, g(w) .$$
#
# Then $\bar\lambda_{\max}^2 \to \min_{w > \max l} \varphi(w)$, and $\bar\lambda_{\min}^2 \to \max \varphi(w)$ over $w <
# \min l$ where $g(w) > 0$. For pure noise ($l_j = 0$) this is the law of Marchenko and Pastur, $v (\sqrt N \pm \sqrt
# M)^2$:

# %%
rows, columns = 200, 800
edges = mn.theory.singular_edges(np.zeros(rows), rows=rows, columns=columns, entry_variance=0.01)
noise = 0.1 * mn.standard_normal((rows, columns), rng=0)
squared = np.linalg.svd(noise, compute_uv=False) ** 2
print(f"formula              {edges.smallest:.3f} to {edges.largest:.3f}")
law = 0.01 * (columns**0.5 + np.array([-1, 1]) * rows**0.5) ** 2
print(f"Marchenko-Pastur     {law[0]:.3f} to {law[1]:.3f}")
print(f"one noise matrix     {squared.min():.3f} to {squared.max():.3f}")

# %% [markdown]
# ## A design with four blocks

# %%
RANGES = ((3.0, 6.0), (4.0, 5.0), (5.0, 9.0), (3.5, 4.0))  # of the clean singular values, block by block
NOISE = 1.0
ROWS, ASPECT = 150, 2  # rows of a block, and columns a row


def design(ranges, noise_variance, rows=ROWS, aspect=ASPECT, rng=0):
    """Noisy matrices, their responses, and by form what is stated: the whole design first, then its blocks."""
    spectra, shapes = [np.linspace(*ends, rows) for ends in ranges], [(rows, aspect * rows)] * len(ranges)
    clean, noisy = mn.spectral_design(spectra, shapes, noise_variance=noise_variance, rng=rng)
    response = clean @ mn.standard_normal(clean.shape[1], rng=rng, stream=1)
    parts = [np.s_[i * rows:(i + 1) * rows, i * aspect * rows:(i + 1) * aspect * rows] for i in range(len(ranges))]
    stated = {form: mn.theory.convergence(spectra, noise_variance=noise_variance, shapes=shapes, form=form)
              for form in ("printed", "corrected")}
    return [noisy, *(noisy[part] for part in parts)], [response, *(response[part[0]] for part in parts)], stated


def rates(convergence):
    """The contraction factors of the whole design and of its blocks, in one array."""
    return np.append(convergence.dense, convergence.sparse)


matrices, responses, stated = design(RANGES, NOISE)
squares = [np.linalg.eigvalsh(matrix @ matrix.T) for matrix in matrices]
names = ["whole design"] + [f"block, clean {low:g} to {high:g}" for low, high in RANGES]

figure, axes = plots.new_axes(len(matrices), width=2.0, height=2.6)
for i, (ax, values) in enumerate(zip(axes, squares)):
    ax.hist(values, bins=30, density=True, color="#C8C8C8", label="one noisy design")
    for form, style in (("corrected", "-"), ("printed", "--")):
        for edge in np.vstack([stated[form].dense_edges, stated[form].sparse_edges])[i]:
            ax.axvline(edge, color=plots.COLOURS[form], linestyle=style, linewidth=1.2, label=f"edges, {form}")
    ax.set_title(names[i])
    ax.set_xlabel("squared singular value")
    ax.set_yticks([])
axes[0].set_ylabel("density")
plots.legend_below(figure, axes)
figure

# %% [markdown]
# The corrected edges are where the grey ends, to about 2 %. The printed ones are mostly well inside it; at the upper
# ends of two blocks, those of 3 to 6 and of 5 to 9, both forms are that close. Now descent itself. Not only its rate
# has a limit for large matrices, but each step: `mn.theory.descent_residuals`.

# %%
STEPS = (300, 200, 80, 160, 80)  # of the whole design and of each block; what is below rounding is left out


def measured_descent(i, steps):
    norms = mn.gradient_descent(matrices[i], responses[i], steps=steps).residual_norms
    return norms[norms > 1e-13 * norms[0]] / norms[0]


def expected_descent(i, steps):
    """Where it is above 1e-8, to which the formula is accurate."""
    own = [np.linspace(*ends, ROWS) for ends in (RANGES if i == 0 else RANGES[i - 1:i])]
    rows, columns = matrices[i].shape
    residuals = mn.theory.descent_residuals(np.concatenate(own), rows=rows, columns=columns, steps=np.arange(steps + 1),
                                            entry_variance=NOISE / len(matrices[0]))
    return residuals[residuals > 1e-8]


descents = [measured_descent(i, steps) for i, steps in enumerate(STEPS)]
figure, axes = plots.new_axes(3, width=2.5, height=2.7)
for ax, i in zip(axes, (0, 1, 4)):  # the whole design, a slow block and a fast one
    norms, expected = descents[i], expected_descent(i, STEPS[i])
    done = np.arange(len(norms))
    ax.plot(done, norms, color="#BBBBBB", linewidth=4, label="measured")
    plots.stated(np.arange(len(expected)), expected, label="limit, each step", colour=plots.COLOURS["dense"], ax=ax)
    for form in ("corrected", "printed"):
        line = norms[-1] * rates(stated[form])[i] ** (done - done[-1])
        plots.stated(done, line, label=f"limit, rate {form}", form=form, colour=plots.COLOURS[form], ax=ax)
    ax.set_yscale("log")
    ax.set_ylim(norms[-1] / 3, 30)
    ax.set_title(names[i])
    ax.set_xlabel("steps")
axes[0].set_ylabel("residual / first residual")
plots.legend_below(figure, axes, columns=4)
figure

# %%
print("                              rho measured   corrected   printed   in the last step")
both = zip(rates(stated["corrected"]), rates(stated["printed"]))
for name, values, (corrected, printed), norms in zip(names, squares, both, descents):
    print(f"{name:30} {1 - values[0] / values[-1]:11.3f} {corrected:11.3f} {printed:9.3f} "
          f"{norms[-1] / norms[-2]:17.3f}")

# %% [markdown]
# A step's contraction tends to $\rho$ from below. The whole design and the slow blocks get there; the fast ones reach
# rounding first. The printed rates promise too much for the whole design and for each block. The direction holds here:
# every block learns faster than the whole.
#
# ## Does it always?
#
# The paper says "typically". The largest singular value of a block is never above that of the whole, of which it is a
# part. The smallest one is another matter. Each row of the whole design carries $d$ noisy entries, a block's row $d/k$;
# and noise on more columns than rows **lifts small singular values**, by about $v$ times the surplus of columns. It is
# a ridge. Dense has $k$ times more of it. So where blocks are ill-conditioned, dense can be the better conditioned of
# the two. Let their singular values go from 0.8 to 6, at noise 0.3 and $c = 4$. Both of the paper's assumptions,
# $\lambda > \sqrt c\, \sigma^2$ and $\lambda^2 > \sqrt c\, \sigma^2$, hold, as $\sqrt c\, \sigma^2 = 0.6$ and $0.8^2 =
# 0.64$.

# %%
QUIET = 0.3
matrices, responses, stated = design(((0.8, 6.0),) * 4, QUIET, rows=100, aspect=4)
squares = [np.linalg.eigvalsh(matrix @ matrix.T) for matrix in matrices]
measured = np.array([1 - values[0] / values[-1] for values in squares])
print("                 corrected   printed   measured")
print(f"rho, whole design {stated['corrected'].dense:8.4f} {stated['printed'].dense:9.4f}   {measured[0]:.4f}")
print(f"rho, its blocks   {stated['corrected'].sparse[0]:8.4f} {stated['printed'].sparse[0]:9.4f}   "
      f"{' '.join(f'{rate:.4f}' for rate in measured[1:])}")

lows = np.linspace(0.2, 3.5, 23)
settings = [(4, 2), (4, 4), (16, 4)]
figure, (ax, descent) = plots.new_axes(2, width=3.6, height=3.1)
for (k, aspect), colour in zip(settings, plots.CYCLE):
    faster = []
    for low in lows:
        spectra, shapes = [np.linspace(low, 6, 100)] * k, [(100, 100 * aspect)] * k
        dense, sparse = mn.theory.convergence(spectra, noise_variance=QUIET, shapes=shapes)[:2]
        faster.append((1 - sparse[0]) / (1 - dense))
    ax.plot(lows, faster, color=colour, label=f"k = {k} blocks, d/n = {aspect}")
ax.axhline(1, color=plots.COLOURS["reference"], linewidth=0.8)
ax.axvline(0.6**0.5, color=plots.COLOURS["reference"], linewidth=0.8, linestyle=":",
           label="the paper's assumptions hold\nto the right ($d/n = 4$)")
ax.plot(0.8, (1 - measured[1:].mean()) / (1 - measured[0]), "*", markersize=10, color=plots.CYCLE[1],
        label="measured, 4 blocks, d/n = 4")
ax.set(xlabel="smallest clean singular value (largest: 6)", title="above 1: experts are faster",
       ylabel="$(1 - \\rho_\\mathrm{sparse}) / (1 - \\rho_\\mathrm{dense})$")
ax.legend(fontsize=7)
for i, (name, colour) in enumerate((("whole design", plots.COLOURS["dense"]), ("a block", plots.COLOURS["experts"]))):
    norms = mn.gradient_descent(matrices[i], responses[i], steps=800).residual_norms
    descent.plot(norms / norms[0], color=colour, label=name)
descent.set(xlabel="steps", ylabel="residual / first residual", yscale="log", title="the example: dense is faster")
descent.legend()
figure

# %% [markdown]
# Dense is faster in the end, by the rate, well inside of what the theorem assumes. So the direction is a matter of
# conditioning: **experts are faster where their blocks are well conditioned**, so that splitting takes away the spread
# between blocks; where the blocks themselves are ill-conditioned the noise that the experts are spared is what would
# have helped them. (A step on a block also costs $k^2$ times less than one on the whole design, and $k$ of them are
# still $k$ times cheaper. In seconds experts keep an advantage even there.)
#
# ## Exercises
#
# **1. No noise.** Set `NOISE = 0.0` in the design with four blocks. What do the two forms say now, and how does the
# whole compare with the blocks?
#
# <details><summary>Answer</summary>
#
# Both give the clean singular values and agree. The whole design has the extremes of all blocks together: its rate is
# that of a block only if one block holds both the smallest and the largest value. Here no noise means faster experts.
# </details>
#
# **2. Equal blocks, well conditioned.** Take `RANGES = ((4.0, 4.5),) * 4` and raise `NOISE` from 0.1 to 100. Where is
# the advantage of the experts largest?
#
# <details><summary>Answer</summary>
#
# Between. With hardly any noise all four blocks and the whole have the same spectrum, and with noise alone they have
# the same edges relative to each other, because all have the same shape. In between the noise widens the spectrum of
# the whole, which has four times as much of it, and leaves the blocks' narrow.
# </details>
#
# **3. How long until the rate is reached?** Set `STEPS = (40, 20, 10, 16, 8)` in the descent figure, and read off the
# last steps' contraction.
#
# <details><summary>Answer</summary>
#
# They leave less of the residual than the rate says: 0.895 for the whole design, where the corrected rate is 0.915, and
# 0.503 in the last block, where it is 0.555. Early on, directions of larger singular values are still shrinking. The
# rate is the limit, reached from below.
# </details>
