"""Theorem 4: what a wrong route costs."""

import numpy as np

from .. import theory
from ..designs import Sample, standard_normal
from ..model import BlockModel
from .base import Claim, Estimate, compare
from .simulation import dense_error, experts_error

NAME = "theorem-4"

ETAS = (1.25, 1.5, 3.0)  # the theorem is for eta > 1
TRUE, ROUTED = 0, 1


def misrouted_inputs(model, eta, rows, rng, stream):
    """Inputs of expert TRUE, disturbed by eta times features of expert ROUTED, under noise on all features."""
    features = np.sqrt(model.noise_variance) * standard_normal((rows, model.d), rng=rng, stream=2 * stream)
    normals = standard_normal((rows, model.d), rng=rng, stream=2 * stream + 1)

    def clean(i):
        return normals[:, model.blocks[i]] @ np.linalg.cholesky(model.covariances[i]).T

    signal = clean(TRUE)
    features[:, model.blocks[TRUE]] += signal
    features[:, model.blocks[ROUTED]] += eta * clean(ROUTED)
    return Sample(features, signal @ model.coefficients[TRUE], np.full(rows, TRUE))


def measure(run, *, k, block_size, rows, replicates):
    """The disturbed input of the theorem, then routing errors in general."""
    model = BlockModel.toeplitz(k * block_size, k, rng=run.rng(0))
    dense, experts = theory.bayes_dense(model), theory.bayes_sparse(model)
    routed = np.full(rows, ROUTED)
    records, curve = [], []
    for cell, eta in enumerate(ETAS):

        def errors(replicate):
            inputs = misrouted_inputs(model, eta, rows, run.rng(10 + cell), replicate)
            return dense_error(inputs, dense), experts_error(inputs, model.blocks, experts, routed)

        measured = np.array(run.map(errors, range(replicates), "misrouted"))
        stated = {form: theory.misrouting(model, TRUE, ROUTED, eta, form=form) for form in ("printed", "corrected")}
        setting = f"k={k}, d_i={block_size}, Toeplitz 0.5, eta = {eta:g}"
        for j, quantity in enumerate(("misrouted dense risk", "misrouted sparse risk")):
            records.append(compare(NAME, quantity, setting, Estimate.of(measured[:, j]), printed=stated["printed"][j],
                                   corrected=stated["corrected"][j]))
        curve.append([Estimate.of(values) for values in measured.T])
    records += routing_error_records(run, model, rows, replicates)
    return records, {"model": model, "curve": curve}


def routing_error_records(run, model, rows, replicates):
    """Experts' risk under the QDA router's own errors, and under errors at the same rates that ignore the features."""
    from ..router import QDARouter

    experts = theory.bayes_sparse(model)
    router = QDARouter.from_model(model)

    def own_errors(replicate):
        sample = model.sample(rows, rng=run.rng(20), replicate=replicate)
        routed = router.predict(sample.features)
        counts = np.zeros((model.k, model.k))
        np.add.at(counts, (sample.expert, routed), 1)
        return experts_error(sample, model.blocks, experts, routed), counts

    own, counts = zip(*run.map(own_errors, range(replicates), "the router's errors"))
    counts = np.sum(counts, axis=0)
    confusion = counts / counts.sum(axis=1, keepdims=True)

    def random_errors(replicate):
        sample = model.sample(rows, rng=run.rng(21), replicate=replicate)
        uniform = np.random.default_rng(run.rng(100 + replicate)).random((rows, 1))
        routed = (uniform >= confusion.cumsum(axis=1)[sample.expert, :-1]).sum(axis=1)
        return experts_error(sample, model.blocks, experts, routed)

    accuracy = np.trace(counts) / counts.sum()
    setting = f"k={model.k}, d_i={model.block_sizes[0]}, Toeplitz 0.5, accuracy {accuracy:.3f}"
    return [
        compare(NAME, "experts' risk, the QDA router's own errors", setting, Estimate.of(own)),
        compare(NAME, "experts' risk, random errors at the same rates", setting,
                Estimate.of(run.map(random_errors, range(replicates), "random errors")),
                corrected=theory.misrouted_risk(model, confusion)),
    ]


def figures(data):
    """Both risks against eta, with both forms."""
    from .. import plots

    figure, axes = plots.new_axes(2, width=3.3, height=3.2)
    etas = np.linspace(min(ETAS), max(ETAS), 60)
    for j, (ax, name) in enumerate(zip(axes, ("dense", "experts"))):
        for form in ("corrected", "printed"):
            risks = [theory.misrouting(data["model"], TRUE, ROUTED, eta, form=form)[j] for eta in etas]
            plots.stated(etas, risks, label=f"{form} formula", colour=plots.COLOURS[form], form=form, ax=ax)
        plots.measured(ETAS, [e[j].mean for e in data["curve"]], [e[j].standard_error for e in data["curve"]],
                       label="simulated", colour=plots.COLOURS[name], ax=ax)
        ax.set_title(name)
        ax.set_xlabel("size of the disturbance $\\eta$")
        ax.legend()
    axes[0].set_ylabel("risk of the misrouted input")
    return {"An input of one expert, disturbed by eta times another's, and routed to the other. Bars: two standard "
            "errors, smaller than the markers.": figure}


CLAIM = Claim(
    name=NAME,
    place="Section 4.3, Theorem 4",
    statement="An input disturbed by eta times another expert's features, and routed there, has the stated dense and "
              "sparse risks.",
    summary="Both formulas lose terms: at eta = 1.5 they print 0.64 and 7.4 where 4.26 and 10.7 are measured.",
    finding="Both printed formulas lose the target's own variance, beta_i' Sigma_i beta_i, and multiply the noise of "
            "block j by eta^2; the dense one also has sigma^2 (1 - p_i) / p_i ||D_i||^2 too much in block i, D_i its "
            "coefficients there. The corrected forms hold. A router's own errors depend on the features: see "
            "theorem-4-general.",
    presets={
        "quick": {"k": 4, "block_size": 6, "rows": 20_000, "replicates": 32},
        "paper": {"k": 5, "block_size": 8, "rows": 100_000, "replicates": 32},
    },
    measure=measure,
    figures=figures,
)
