"""Parameter counts against real layers and by hand, and what a comparison is said to be fair in."""

import itertools

import numpy as np
import pytest

import moenoise as mn
from moenoise.parameters import block_iso_parameters, iso_parameters


def layer(nn, d_in, d_out, hidden, gated, bias):
    """The projections of one layer."""
    if hidden is None:
        return nn.ModuleList([nn.Linear(d_in, d_out, bias=bias)])
    inner = [nn.Linear(d_in, hidden, bias=bias) for _ in range(2 if gated else 1)]
    return nn.ModuleList([*inner, nn.Linear(hidden, d_out, bias=bias)])


@pytest.mark.parametrize(("hidden", "gated"), [((20, 3), False), ((20, 3), True), ((None, None), False)])
def test_counts_are_those_of_real_layers(hidden, gated):
    """Dense layer, experts and router are built; an input uses what a pass through the top experts would touch."""
    nn = pytest.importorskip("torch").nn
    d_in, d_out = 7, 5
    for experts, shared, bias, router_bias in itertools.product((1, 4), (0, 2), (False, True), (False, True)):
        dense = layer(nn, d_in, d_out, hidden[0], gated, bias)
        routed = [layer(nn, d_in, d_out, hidden[1], gated, bias) for _ in range(experts + shared)]
        router = nn.Linear(d_in, experts, bias=router_bias)

        def numel(*modules):
            return sum(parameter.numel() for module in modules for parameter in module.parameters())

        for active in range(1, experts + 1):
            counts = iso_parameters(
                d_in, d_out, dense_hidden=hidden[0], expert_hidden=hidden[1], experts=experts, active=active,
                shared=shared, gated=gated, bias=bias, router_bias=router_bias,
            )
            assert counts.dense == numel(dense)
            assert counts.total == numel(*routed, router)
            assert counts.active == numel(*routed[:active + shared], router)
            assert counts.router == numel(router)
            assert counts.experts == numel(*routed)


def test_counts_by_hand():
    plain = iso_parameters(4, 3, dense_hidden=10, experts=5, expert_hidden=2, active=2)
    assert (plain.dense, plain.experts, plain.active_experts, plain.router) == (70, 70, 28, 20)
    assert (plain.total, plain.active) == (90, 48)
    biased = iso_parameters(4, 3, dense_hidden=10, experts=5, expert_hidden=2, active=2, bias=True)
    assert (biased.dense, biased.experts, biased.active_experts, biased.router) == (83, 95, 38, 20)
    gated = iso_parameters(4, 3, dense_hidden=10, experts=5, expert_hidden=2, active=2, gated=True, bias=True)
    assert (gated.dense, gated.experts) == (2 * 50 + 33, 5 * (2 * 10 + 9))
    linear = iso_parameters(4, 3, experts=5, active=1, shared=1, router=False)
    assert (linear.dense, linear.total, linear.active, linear.router) == (12, 72, 24, 0)


def test_the_papers_later_comparison_is_iso_parameter():
    """4 routed and 1 shared expert of 1024 hidden units against 5 * 1024."""
    counts = iso_parameters(768, 768, dense_hidden=5 * 1024, experts=4, expert_hidden=1024, active=1, shared=1)
    assert counts.experts == counts.dense == 5 * 2 * 768 * 1024
    assert counts.router == 4 * 768
    assert counts.equal_total and not counts.equal_active
    assert counts.verdict == (
        "Equal in total parameters (iso-parameter), not in active ones: the mixture has 0.039 % more parameters than "
        "the dense layer, an input uses 0.4 times as many parameters as the dense layer."
    )


LAYER = {"dense_hidden": 64, "expert_hidden": 16, "active": 1}


@pytest.mark.parametrize(("arguments", "total", "active", "beginning"), [
    ({"experts": 4, "router": False}, True, False, "Equal in total parameters (iso-parameter), not in active ones: "),
    ({"experts": 4, "active": 4, "router": False}, True, True, "Equal in total and in active parameters: the mixture "
     "has as many parameters as the dense layer, an input uses as many parameters as the dense layer."),
    ({"experts": 16, "active": 4, "tolerance": 0.2}, False, True, "Equal in active parameters, not in total ones "),
    ({"experts": 4}, False, False, "Equal in total parameters only without the router: the experts alone have as "),
    ({"experts": 3}, False, False, "Equal neither in total nor in active parameters: the mixture has 0.773 times "),
    ({"experts": 4, "tolerance": 4 / 128}, True, False, "Equal in total parameters (iso-parameter)"),
    ({"experts": 4, "tolerance": 0.0312}, False, False, "Equal in total parameters only without the router"),
])
def test_verdicts(arguments, total, active, beginning):
    counts = iso_parameters(32, 32, **LAYER | arguments)
    assert (counts.equal_total, counts.equal_active) == (total, active)
    assert counts.verdict.startswith(beginning)


def test_block_model_has_the_routers_parameters():
    """As many numbers as a fitted router holds; of k priors that sum to 1."""
    for sizes in ([2, 3, 1], [5, 5]):
        router = mn.QDARouter(sizes).fit(mn.standard_normal((200, sum(sizes)), rng=0), np.arange(200) % len(sizes))
        upper = sum(len(covariance) * (len(covariance) + 1) // 2 for covariance in router.covariances_)
        counts = block_iso_parameters(sizes)
        assert counts.router == upper + len(router.priors_) + 1
        assert counts.dense == counts.experts == sum(sizes)
        assert counts.active_experts == max(sizes)
        assert (counts.total, counts.active) == (counts.dense + counts.router, max(sizes) + counts.router)


def test_block_model_is_iso_parameter_without_its_router():
    with_router, without = block_iso_parameters([75] * 12), block_iso_parameters([75] * 12, router=False)
    assert with_router.router == 12 * 75 * 76 // 2 + 13
    assert not with_router.equal_total and with_router.verdict.startswith("Equal in total parameters only without the ")
    assert without.equal_total and without.total == 900 and without.router == 0
    one = block_iso_parameters([4])
    assert one.router == 0 and one.equal_total and one.equal_active


def test_table_and_html_show_the_counts_and_the_verdict():
    counts = iso_parameters(512, 512, dense_hidden=5120, experts=4, expert_hidden=1024, active=1, shared=1)
    for text in (str(counts), counts._repr_html_()):
        for number in ("5,242,880", "2,097,152", "2,048", "5,244,928", "2,099,200"):
            assert number in text
        assert counts.verdict.split(":")[0] in text
    assert max(map(len, str(counts).splitlines())) <= 120
    assert counts._repr_html_().startswith("<table>") and counts._repr_html_().count("<tr>") == 5


GOOD = {"d_in": 4, "d_out": 4, "dense_hidden": 8, "expert_hidden": 2, "experts": 4, "active": 1}


@pytest.mark.parametrize(("error", "words", "arguments"), [
    (ValueError, "d_in must be at least 1", {"d_in": 0}),
    (TypeError, "d_out must be an integer", {"d_out": 2.5}),
    (ValueError, "experts must be at least 1", {"experts": 0}),
    (ValueError, "experts must be at most", {"experts": 2**40}),
    (ValueError, "active must be at most 4, got 5", {"active": 5}),
    (ValueError, "active must be at least 1", {"active": 0}),
    (TypeError, "active must be an integer, got True", {"active": True}),
    (ValueError, "shared must be at least 0", {"shared": -1}),
    (ValueError, "dense_hidden must be at least 1", {"dense_hidden": 0}),
    (ValueError, "dense_hidden and expert_hidden must both be given", {"dense_hidden": None}),
    (ValueError, "dense_hidden and expert_hidden must both be given", {"expert_hidden": None}),
    (ValueError, "gated must be False for linear", {"dense_hidden": None, "expert_hidden": None, "gated": True}),
    (ValueError, "router_bias must be False", {"router": False, "router_bias": True}),
    (TypeError, "gated must be True or False", {"gated": 1}),
    (TypeError, "bias must be True or False", {"bias": None}),
    (TypeError, "router must be True or False", {"router": "linear"}),
    (ValueError, "tolerance must be", {"tolerance": -0.1}),
])
def test_bad_arguments(error, words, arguments):
    iso_parameters(**GOOD)
    with pytest.raises(error, match=words):
        iso_parameters(**GOOD | arguments)


@pytest.mark.parametrize(("error", "words", "arguments"), [
    (ValueError, "block_sizes must be", {"block_sizes": []}),
    (TypeError, "block_sizes must hold integers", {"block_sizes": [1.5]}),
    (ValueError, "block_sizes must be at least 1", {"block_sizes": [2, 0]}),
    (TypeError, "router must be True or False", {"router": "qda"}),
    (ValueError, "tolerance must be", {"tolerance": float("nan")}),
])
def test_bad_arguments_of_the_block_model(error, words, arguments):
    with pytest.raises(error, match=words):
        block_iso_parameters(**{"block_sizes": [2, 2]} | arguments)
