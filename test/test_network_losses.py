"""Losses: answers worked out by hand, and perfect predictions are their minimum."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from network_scene import ALL_CELLS, AREA, BOTH, GRID, HIDDEN, SIDE, batch_of, make_targets, perfect_maps

from amodal_perception_ros.network import AmodalNetwork, NetworkConfig
from amodal_perception_ros.network.heads import Seeds, Tokens
from amodal_perception_ros.network.instance_heads import InstanceMaps, Matched
from amodal_perception_ros.network.instance_heads.head import (
    cell_centres,
    cells_of,
    hidden_logits,
    hidden_loss,
    in_box,
    map_losses,
    object_maps,
    region_bce,
)
from amodal_perception_ros.network.loss_terms import (
    bce_loss,
    box_loss,
    class_dice_loss,
    dice_loss,
    focal_loss,
    masked_l1,
    masked_l1_rows,
    mean_of_rows,
)
from amodal_perception_ros.network.losses import (
    Assignment,
    assign,
    order_loss,
    panoptic_loss,
    quality_loss,
    token_losses,
    training_losses,
)
from amodal_perception_ros.network.targets import LossWeights

torch.set_num_threads(1)
WEIGHTS = LossWeights()


def test_dice_is_zero_for_a_perfect_mask_and_known_for_an_empty_one():
    target = torch.tensor([[1.0] * 8 + [0.0] * 8])
    everywhere = torch.ones_like(target)
    assert dice_loss(100 * (2 * target - 1), target, everywhere).item() == pytest.approx(0, abs=1e-6)
    assert dice_loss(torch.full((1, 16), -100.0), target, everywhere).item() == pytest.approx(1 - 1 / 9)


def test_dice_and_entropy_look_only_where_the_weight_is():
    target, weight = torch.tensor([[1.0, 1, 0, 0]]), torch.tensor([[1.0, 0, 1, 0]])
    logits = torch.tensor([[100.0, -100, -100, 100]])
    assert dice_loss(logits, target, weight).item() == pytest.approx(0, abs=1e-6)
    assert bce_loss(logits, target, weight).item() == pytest.approx(0, abs=1e-6)
    assert bce_loss(logits, target, torch.zeros_like(weight)).item() == 0


def test_bce_of_zero_logits_is_log_two():
    ones = torch.ones(2, 9)
    assert bce_loss(torch.zeros(2, 9), ones, ones).tolist() == pytest.approx([math.log(2)] * 2)


def test_focal_loss_by_hand():
    logits = torch.zeros(1, 1, 3)
    target = torch.tensor([[[1.0, 0.5, 0.0]]])
    positive, near, far = 0.25 * math.log(2), 0.5**4 * 0.25 * math.log(2), 0.25 * math.log(2)
    assert focal_loss(logits, target, torch.ones(1, 1, 3)).item() == pytest.approx(positive + near + far, rel=1e-5)
    without_far = focal_loss(logits, target, torch.tensor([[[1.0, 1.0, 0.0]]]))
    assert without_far.item() == pytest.approx(positive + near, rel=1e-5)


def test_depth_error_ignores_unknown_cells():
    prediction, target = torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[1.5, 4.0, math.nan]])
    assert masked_l1(prediction, target).item() == pytest.approx(1.25)
    assert masked_l1_rows(prediction, target).tolist() == pytest.approx([1.25])
    assert masked_l1(prediction, torch.full_like(target, math.nan)).item() == 0


def test_mean_of_no_rows_is_zero_with_a_gradient():
    assert mean_of_rows(torch.tensor([1.0, 4.0])).item() == 2.5
    nothing = torch.zeros(0, requires_grad=True)
    mean_of_rows(nothing).backward()
    assert nothing.grad.shape == (0,)


def test_box_loss_by_hand():
    target = torch.tensor([[[0.5, 0.5, 0.2, 0.1]]])
    box = torch.tensor([[[0.6, 0.45, 0.2 * math.e, 0.1]]])
    assert box_loss(box, target).item() == pytest.approx(0.1 / 0.2 + 0.05 / 0.1 + 1, rel=1e-5)
    assert box_loss(target, target).item() == 0


def test_class_dice_counts_each_class_that_occurs_alike():
    target = torch.zeros(1, 3, 1, 5)
    target[0, 0, 0, :4] = target[0, 1, 0, 4] = 1
    assert class_dice_loss(40 * target, target).item() == pytest.approx(0, abs=1e-5)
    only_first = torch.tensor([20.0, -20.0, -20.0]).view(1, 3, 1, 1).expand(1, 3, 1, 5)
    first, second = 1 - (2 * 4 + 1) / (5 + 4 + 1), 1 - 1 / (0 + 1 + 1)
    assert class_dice_loss(only_first, target).item() == pytest.approx((first + second) / 2, abs=1e-5)


# Cells and regions


def test_cells_count_along_rows_and_have_their_centre_in_the_middle():
    x, y = cell_centres(torch.tensor([[0, 3, 4, 7]]), torch.Size((2, 4)))
    assert x.tolist() == [[0.125, 0.875, 0.125, 0.875]]
    assert y.tolist() == [[0.25, 0.25, 0.75, 0.75]]
    features = torch.arange(16.0).reshape(1, 2, 2, 4)
    assert cells_of(features, torch.tensor([[7, 0]])).tolist() == [[[7, 0], [15, 8]]]


def test_the_region_is_the_box_enlarged_by_half_and_by_a_cell():
    boxes = torch.tensor([[0.5, 0.5, 4 / 16, 3 / 16]])
    region = in_box(boxes, ALL_CELLS, GRID).reshape(SIDE, SIDE)
    # Half sizes of 2 and 1.5 cells, times 1.5, plus 1: 4 and 3.25 cells to each side of the line between cells 7 and 8.
    expected = torch.zeros(SIDE, SIDE)
    expected[5:11, 4:12] = 1
    assert torch.equal(region, expected)


def test_inside_and_outside_of_the_region_weigh_the_same():
    region = torch.tensor([[1.0] + [0.0] * 9])
    wrong = math.log(1 + math.exp(3))
    inside = torch.tensor([[-3.0] + [-50.0] * 9])
    outside = torch.tensor([[50.0] + [3.0] * 9])
    assert region_bce(inside, region, region).item() == pytest.approx(wrong, rel=1e-5)
    assert region_bce(outside, region, region).item() == pytest.approx(wrong, rel=1e-5)


def test_targets_of_a_token_are_those_of_its_object():
    targets = make_targets()
    (image, token), truth = object_maps(torch.tensor([[-1, 1, -1, 0]]), targets, GRID)
    assert (image.tolist(), token.tolist()) == ([0, 0], [1, 3])
    assert torch.equal(truth.amodal, targets.amodal[0, [1, 0]])
    assert torch.equal(truth.visible, targets.visible[0, [1, 0]])
    known = torch.isfinite(truth.log_depth)
    assert torch.equal(known, truth.amodal > 0)


def test_depth_of_cells_that_the_object_hardly_touches_is_not_learned():
    targets = make_targets()
    cell = int(torch.nonzero(targets.amodal[0, 0])[0])
    targets.amodal[0, 0, cell] = 0.24
    truth = object_maps(torch.tensor([[0]]), targets, GRID)[1]
    assert torch.isnan(truth.log_depth[0, cell])


# Losses of tokens


def test_order_loss_looks_at_owners_only_and_prefers_the_true_direction():
    occludes = torch.zeros(1, 2, 2, dtype=torch.bool)
    occludes[0, 0, 1] = True
    owner, known = torch.tensor([[True, False, True]]), torch.tensor([[0, 0, 1]])
    zero = order_loss(torch.zeros(1, 3, 3), owner, known, occludes)
    assert zero.item() == pytest.approx((4 * math.log(2) + math.log(2)) / 2, rel=1e-5)
    logits = torch.zeros(1, 3, 3, requires_grad=True)
    order_loss(logits, owner, known, occludes).backward()
    assert logits.grad[0, 0, 2] < 0 < logits.grad[0, 2, 0]
    assert logits.grad[0, 1].abs().sum() == logits.grad[0, :, 1].abs().sum() == 0
    assert logits.grad[0].diagonal().abs().sum() == 0


def test_assignment_owner_is_the_strongest_seed_and_small_objects_are_ignored():
    targets = make_targets()
    targets.heat_weight[0, 7, 7] = 0
    cells = torch.tensor([[2 * 8 + 1, 4 * 8 + 2, 2 * 8 + 4, 3 * 8 + 5, 0, 7 * 8 + 7]])
    result = assign(Seeds(torch.ones(1, 6), cells), torch.zeros(1, 1, 8, 8), targets)
    assert result.instance.tolist() == [[0, 0, 1, 1, -1, -1]]
    assert result.owner.tolist() == [[False, True, True, False, False, False]]
    assert result.ignored.tolist() == [[False, False, False, False, False, True]]
    assert result.priority.argsort(descending=True)[0, :2].sort().values.tolist() == [1, 2]


def perfect_tokens(targets, spare_class=7):
    classes = torch.full((1, 3, 8), -20.0)
    for token, kind in enumerate((2, 5, spare_class)):
        classes[0, token, kind] = 20
    order = torch.full((1, 3, 3), -20.0)
    order[0, 0, 1] = 20
    occluded = torch.tensor([[-20.0, 20.0, 20.0]])
    return Tokens(torch.zeros(1, 3, 4), classes, targets.boxes.clamp(min=0.1), order, occluded, torch.zeros(1, 3))


ASSIGNED = Assignment(
    torch.tensor([[0, 1, -1]]), torch.tensor([[True, True, False]]), torch.zeros(1, 3, dtype=bool), torch.zeros(1, 3)
)


def test_perfect_tokens_cost_nothing_and_ignored_tokens_may_be_anything():
    targets = make_targets()
    losses = token_losses(perfect_tokens(targets), ASSIGNED, targets, WEIGHTS)
    assert sorted(losses) == ["box", "class", "occluded", "order"]
    assert sum(value.item() for value in losses.values()) == pytest.approx(0, abs=1e-4)
    false_alarm = perfect_tokens(targets, spare_class=1)
    assert token_losses(false_alarm, ASSIGNED, targets, WEIGHTS)["class"] > 1
    ignored = ASSIGNED._replace(ignored=torch.tensor([[False, False, True]]))
    assert token_losses(false_alarm, ignored, targets, WEIGHTS)["class"].item() == pytest.approx(0, abs=1e-4)


def test_an_object_is_occluded_from_a_fiftieth_of_its_area_on():
    targets = make_targets()
    targets.hidden_share[0] = torch.tensor([0.019, 0.021, 0.0])
    tokens = perfect_tokens(targets)._replace(occluded_logits=torch.zeros(1, 3, requires_grad=True))
    loss = token_losses(tokens, ASSIGNED, targets, WEIGHTS)["occluded"]
    assert loss.item() == pytest.approx(0.5 * math.log(2), rel=1e-5)
    loss.backward()
    not_occluded, occluded, background = tokens.occluded_logits.grad[0].tolist()
    assert not_occluded > 0 > occluded
    assert background == 0


# Losses of maps


def test_perfect_maps_cost_nothing_and_errors_cost():
    targets = make_targets()
    maps = perfect_maps(targets)
    best = map_losses(maps, BOTH.instance, targets, GRID, WEIGHTS)
    assert {name: round(value.item(), 4) for name, value in best.items()} == {
        "visible": 0,
        "amodal": 0,
        "object_depth": 0,
    }
    naive = InstanceMaps(maps.visible, maps.visible, maps.log_depth + 0.3)
    worse = map_losses(naive, BOTH.instance, targets, GRID, WEIGHTS)
    assert worse["object_depth"].item() == pytest.approx(2 * 0.3, rel=1e-4)
    assert worse["visible"] == best["visible"]
    assert worse["amodal"] > 0.5


def test_depth_is_supervised_on_the_hidden_part_too():
    targets = make_targets()
    maps = perfect_maps(targets)
    maps.log_depth[0, 1][(targets.amodal[0, 1] - targets.visible[0, 1]) > 0] += 1
    loss = map_losses(maps, BOTH.instance, targets, GRID, WEIGHTS)["object_depth"]
    assert loss.item() == pytest.approx(WEIGHTS.object_depth * HIDDEN / AREA / 2, rel=1e-4)


def test_the_hidden_logit_is_that_of_the_paper():
    """ORCNN, section 3.2: logits of 14 (amodal) and 10 (visible) give a probability of 0.982 of "hidden"."""
    logit = hidden_logits(torch.tensor([10.0, -10.0]), torch.tensor([14.0, 14.0]))
    assert logit.sigmoid()[0].item() == pytest.approx(0.982, abs=5e-4)
    assert logit[1] == 14


def test_hidden_loss_is_zero_at_its_best_and_has_no_overlap_term_where_nothing_is_hidden():
    targets = make_targets()
    maps = perfect_maps(targets)
    assert hidden_loss(maps, BOTH.instance, targets, GRID, 1.0, 1.0).item() == pytest.approx(0, abs=1e-5)
    nothing_found = InstanceMaps(maps.visible, torch.full_like(maps.amodal, -20.0), maps.log_depth)
    only_dice = hidden_loss(nothing_found, BOTH.instance, targets, GRID, 1.0, 0.0)
    assert only_dice.item() == pytest.approx((0 + 1 - 1 / (HIDDEN + 1)) / 2, abs=1e-5)


def test_maps_without_any_object_give_zero_with_gradients():
    maps = InstanceMaps(*(torch.randn(1, 2, SIDE * SIDE, requires_grad=True) for _ in range(3)))
    nothing = torch.tensor([[-1, -1]])
    losses = map_losses(maps, nothing, make_targets(), GRID, WEIGHTS)
    hidden = hidden_loss(maps, nothing, make_targets(), GRID, 1.0, 1.0)
    assert [value.item() for value in (*losses.values(), hidden)] == [0, 0, 0, 0]
    (sum(losses.values()) + hidden).backward()
    assert all(values.grad.abs().sum() == 0 for values in maps)


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_the_order_of_the_sampled_cells_changes_nothing(seed):
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randperm(SIDE * SIDE, generator=generator)[None, :200]
    order = torch.randperm(200, generator=generator)
    maps = InstanceMaps(*(torch.randn(1, 2, 200, generator=generator) for _ in range(3)))
    shuffled = InstanceMaps(*(values[..., order] for values in maps))
    quality, stuff = torch.randn(1, 2, generator=generator), torch.randn(1, 11, SIDE, SIDE, generator=generator)
    results = []
    for at, values in ((cells, maps), (cells[:, order], shuffled)):
        targets = make_targets(at)
        parts = map_losses(values, BOTH.instance, targets, GRID, WEIGHTS)
        parts["hidden"] = hidden_loss(values, BOTH.instance, targets, GRID, 1.0, 1.0)
        parts["quality"] = quality_loss(quality, values.amodal, BOTH.instance, targets, GRID)
        parts["panoptic"] = panoptic_loss(stuff, values.visible, BOTH, targets)
        results.append(torch.stack(list(parts.values())))
    torch.testing.assert_close(*results)


# Quality and panoptic losses


def test_quality_learns_the_iou_of_the_amodal_mask():
    targets = make_targets()
    maps = perfect_maps(targets)
    # The visible part in place of the whole of object 1: IoU 40 / 64; object 0 is right.
    for logit, iou in ((0.0, None), (math.log((AREA - HIDDEN) / HIDDEN), (AREA - HIDDEN) / AREA)):
        logits = torch.tensor([[30.0, logit]], requires_grad=True)
        loss = quality_loss(logits, maps.visible, BOTH.instance, targets, GRID)
        loss.backward()
        if iou is None:
            assert loss.item() == pytest.approx(math.log(2) / 2, rel=1e-5)
            assert logits.grad[0, 1] < 0
        else:
            entropy = -(iou * math.log(iou) + (1 - iou) * math.log(1 - iou))
            assert loss.item() == pytest.approx(entropy / 2, rel=1e-5)
            assert logits.grad[0, 1].item() == pytest.approx(0, abs=1e-6)


def test_quality_does_not_teach_the_masks_and_is_zero_without_objects():
    targets = make_targets()
    masks, logits = perfect_maps(targets).amodal.requires_grad_(), torch.zeros(1, 2, requires_grad=True)
    quality_loss(logits, masks, BOTH.instance, targets, GRID).backward()
    assert masks.grad is None
    logits.grad = None
    nothing = quality_loss(logits, masks, torch.tensor([[-1, -1]]), targets, GRID)
    nothing.backward()
    assert nothing.item() == 0
    assert logits.grad.tolist() == [[0, 0]]


@pytest.mark.parametrize("cells", [ALL_CELLS, ALL_CELLS[:, ::3]])
def test_panoptic_loss_is_zero_when_every_cell_shows_its_segment(cells):
    targets = make_targets(cells)
    visible = perfect_maps(targets).visible
    stuff = torch.full((1, 11, SIDE, SIDE), -20.0)
    stuff[:, 0] = 0
    assert panoptic_loss(stuff, visible, BOTH, targets).item() == pytest.approx(0, abs=1e-5)
    assert panoptic_loss(stuff, visible.flip(1), BOTH, targets).item() > 1


def test_only_owners_take_part_in_the_panoptic_competition():
    targets = make_targets()
    visible = perfect_maps(targets).visible
    stuff = torch.full((1, 11, SIDE, SIDE), -20.0)
    stuff[:, 0] = 0
    wrong = torch.cat([visible, torch.full_like(visible[:, :1], 50.0)], 1)
    matched = Matched(torch.tensor([[0, 1, 1]]), torch.tensor([[True, True, False]]))
    assert panoptic_loss(stuff, wrong, matched, targets).item() == pytest.approx(0, abs=1e-5)


def test_cells_without_a_label_do_not_count_in_the_panoptic_loss():
    targets = make_targets()
    logits = torch.randn(1, 11, SIDE, SIDE)
    maps, nobody = torch.zeros(1, 1, SIDE * SIDE), Matched(torch.tensor([[-1]]), torch.tensor([[False]]))
    targets.stuff[:] = 0
    targets.stuff[0, 3, 0, 0] = 1
    expected = -logits[0, :, 0, 0].log_softmax(0)[3]
    torch.testing.assert_close(panoptic_loss(logits, maps, nobody, targets), expected)


@pytest.mark.parametrize("field_tokens", [4, 99])
def test_every_part_of_the_network_learns_from_the_losses(field_tokens):
    torch.manual_seed(0)
    config = NetworkConfig(
        stem_channels=8, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), channels=16, mask_channels=6, tokens=9
    )
    network = AmodalNetwork(config).train()
    targets = batch_of(make_targets(ALL_CELLS[:, ::2]), 2)
    image, guidance = torch.rand(2, 3, 32, 32), torch.rand(2, 2, 32, 32)
    parts = training_losses(network, image, guidance, targets, WEIGHTS, field_tokens)
    assert all(torch.isfinite(value) and value >= 0 for value in parts.values())
    sum(parts.values()).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None]
    assert silent == []
    assert network.trunk.guidance.write.weight.grad.abs().sum() > 0
