"""Losses: answers worked out by hand, and perfect predictions are their minimum."""

import math

import pytest
import torch

from amodal_perception_ros.network import AmodalNetwork, NetworkConfig
from amodal_perception_ros.network.heads import Seeds, Tokens
from amodal_perception_ros.network.losses import (
    Assignment,
    LossWeights,
    Targets,
    assign,
    bce_loss,
    box_loss,
    dice_loss,
    field_losses,
    focal_loss,
    masked_l1,
    masked_l1_rows,
    order_loss,
    panoptic_loss,
    token_losses,
    training_losses,
)

torch.set_num_threads(1)
WEIGHTS = LossWeights()


def make_targets(height=8, width=8):
    """Two objects before road: object 0 (columns 1..3) hides the left half of object 1 (columns 2..5)."""
    amodal = torch.zeros(1, 3, height, width)
    amodal[0, 0, 2:6, 1:4], amodal[0, 1, 1:5, 2:6] = 1, 1
    visible = amodal.clone()
    visible[0, 1] *= 1 - amodal[0, 0]
    stuff = torch.zeros(1, 11, height, width)
    stuff[0, 0] = 1 - visible[0].sum(0)
    depth = torch.full((1, 3, height, width), math.nan)
    depth[0, 0][amodal[0, 0] > 0], depth[0, 1][amodal[0, 1] > 0] = math.log(5), math.log(9)
    seeds = torch.tensor([[4 * width + 2, 2 * width + 4, 0]])
    heat = torch.zeros(1, height, width)
    heat.view(1, -1)[0, seeds[0, :2]] = 1
    occludes = torch.zeros(1, 3, 3, dtype=torch.bool)
    occludes[0, 0, 1] = True
    return Targets(
        stuff=stuff,
        log_depth=torch.full((1, height, width), math.log(20)),
        valid=torch.tensor([[True, True, False]]),
        classes=torch.tensor([[2, 5, 0]]),
        levels=torch.tensor([[0, 1, 0]]),
        boxes=torch.tensor([[[2.5 / 8, 0.5, 3 / 8, 0.5], [0.5, 3 / 8, 0.5, 0.5], [0, 0, 0, 0]]]),
        visible=visible,
        amodal=amodal,
        object_log_depth=depth,
        occludes=occludes,
        heat=heat,
        heat_weight=torch.ones(1, height, width),
        seeds=seeds,
        forced=heat[:, None],
    )


def test_dice_is_zero_for_a_perfect_mask_and_known_for_an_empty_one():
    target = torch.zeros(1, 4, 4)
    target[0, :2] = 1
    assert dice_loss(100 * (2 * target - 1), target).item() == pytest.approx(0, abs=1e-6)
    assert dice_loss(torch.full((1, 4, 4), -100.0), target).item() == pytest.approx(1 - 1 / 9)


def test_bce_of_zero_logits_is_log_two():
    assert bce_loss(torch.zeros(2, 3, 3), torch.ones(2, 3, 3)).tolist() == pytest.approx([math.log(2)] * 2)


def test_focal_loss_by_hand():
    logits = torch.zeros(1, 1, 3)
    target = torch.tensor([[[1.0, 0.5, 0.0]]])
    positive, near, far = 0.25 * math.log(2), 0.5**4 * 0.25 * math.log(2), 0.25 * math.log(2)
    assert focal_loss(logits, target, torch.ones(1, 1, 3)).item() == pytest.approx(positive + near + far, rel=1e-5)
    without_far = focal_loss(logits, target, torch.tensor([[[1.0, 1.0, 0.0]]]))
    assert without_far.item() == pytest.approx(positive + near, rel=1e-5)


def test_depth_error_ignores_unknown_cells():
    target = torch.tensor([[[1.0, math.nan], [2.0, math.nan]]])
    prediction = torch.tensor([[[1.5, 9.0], [4.0, -9.0]]], requires_grad=True)
    loss = masked_l1(prediction, target)
    assert loss.item() == pytest.approx(1.25)
    loss.backward()
    assert prediction.grad.flatten().tolist() == [0.5, 0, 0.5, 0]
    assert masked_l1_rows(prediction, target).tolist() == pytest.approx([1.25])
    assert masked_l1(prediction, torch.full_like(target, math.nan)).item() == 0


def test_box_loss_by_hand():
    target = torch.tensor([[[0.5, 0.5, 0.2, 0.1]]])
    box = torch.tensor([[[0.6, 0.45, 0.2 * math.e, 0.1]]])
    assert box_loss(box, target).item() == pytest.approx(0.1 / 0.2 + 0.05 / 0.1 + 1, rel=1e-5)
    assert box_loss(target, target).item() == 0


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


def test_a_core_cell_with_little_coverage_still_belongs_to_its_object():
    targets = make_targets()
    targets.visible[0, 1] *= 0.1
    result = assign(Seeds(torch.ones(1, 1), targets.seeds[:, 1:2]), torch.zeros(1, 1, 8, 8), targets)
    assert result.instance.tolist() == [[1]]


def perfect_fields(targets):
    visible, amodal = (20 * (2 * value[:, :2] - 1) for value in (targets.visible, targets.amodal))
    return visible, amodal, targets.object_log_depth[:, :2].nan_to_num(0.0)


def test_perfect_fields_cost_nothing_and_errors_cost():
    targets, instance = make_targets(), torch.tensor([[0, 1]])
    visible, amodal, depth = perfect_fields(targets)
    best = field_losses(visible, amodal, depth, instance, targets, WEIGHTS)
    assert {name: round(value.item(), 4) for name, value in best.items() if name != "hidden"} == {
        "visible": 0,
        "amodal": 0,
        "object_depth": 0,
    }
    worse = field_losses(visible, visible, depth + 0.3, instance, targets, WEIGHTS)
    assert worse["object_depth"].item() == pytest.approx(2 * 0.3, rel=1e-4)
    assert worse["amodal"] > best["amodal"] + 0.1
    assert worse["hidden"] > best["hidden"] + 0.1


def test_depth_is_supervised_on_the_hidden_part_too():
    targets, instance = make_targets(), torch.tensor([[0, 1]])
    visible, amodal, depth = perfect_fields(targets)
    hidden = (targets.amodal[0, 1] - targets.visible[0, 1]) > 0
    depth = depth.clone()
    depth[0, 1][hidden] += 1
    loss = field_losses(visible, amodal, depth, instance, targets, WEIGHTS)["object_depth"]
    share = hidden.sum().item() / targets.amodal[0, 1].sum().item()
    assert loss.item() == pytest.approx(2 * share / 2, rel=1e-4)


def test_fields_without_any_object_give_zero_with_gradients():
    fields = [torch.randn(1, 2, 8, 8, requires_grad=True) for _ in range(3)]
    losses = field_losses(*fields, torch.tensor([[-1, -1]]), make_targets(), WEIGHTS)
    assert [value.item() for value in losses.values()] == [0, 0, 0, 0]
    sum(losses.values()).backward()
    assert all(field.grad is not None for field in fields)


def test_panoptic_loss_is_zero_when_every_cell_shows_its_segment():
    targets, instance = make_targets(), torch.tensor([[0, 1]])
    visible = perfect_fields(targets)[0]
    stuff = torch.full((1, 11, 8, 8), -20.0)
    stuff[:, 0] = 0
    owner = torch.tensor([[True, True]])
    assert panoptic_loss(stuff, visible, instance, owner, targets).item() == pytest.approx(0, abs=1e-5)
    swapped = panoptic_loss(stuff, visible.flip(1), instance, owner, targets)
    assert swapped.item() > 1


def test_cells_without_a_label_do_not_count_in_the_panoptic_loss():
    targets = make_targets()
    logits = torch.randn(1, 11, 8, 8)
    fields, instance, owner = torch.zeros(1, 1, 8, 8), torch.tensor([[-1]]), torch.tensor([[False]])
    targets.stuff[:] = 0
    targets.stuff[0, 3, 0, 0] = 1
    expected = -logits[0, :, 0, 0].log_softmax(0)[3]
    torch.testing.assert_close(panoptic_loss(logits, fields, instance, owner, targets), expected)


def perfect_tokens(targets, spare_class=7):
    classes = torch.full((1, 3, 8), -20.0)
    for token, kind in enumerate((2, 5, spare_class)):
        classes[0, token, kind] = 20
    levels = torch.full((1, 3, 8), -20.0)
    levels[0, 0, 0] = levels[0, 1, 1] = levels[0, 2, 0] = 20
    order = torch.full((1, 3, 3), -20.0)
    order[0, 0, 1] = 20
    return Tokens(torch.zeros(1, 3, 4), classes, targets.boxes.clamp(min=0.1), order, levels)


def test_perfect_tokens_cost_nothing_and_ignored_tokens_may_be_anything():
    targets = make_targets()
    flags = torch.tensor([[True, True, False]]), torch.tensor([[False, False, False]])
    assignment = Assignment(torch.tensor([[0, 1, -1]]), flags[0], flags[1], torch.zeros(1, 3))
    losses = token_losses(perfect_tokens(targets), assignment, targets, WEIGHTS)
    assert sum(value.item() for value in losses.values()) == pytest.approx(0, abs=1e-4)
    false_alarm = perfect_tokens(targets, spare_class=1)
    assert token_losses(false_alarm, assignment, targets, WEIGHTS)["class"] > 1
    ignored = assignment._replace(ignored=torch.tensor([[False, False, True]]))
    assert token_losses(false_alarm, ignored, targets, WEIGHTS)["class"].item() == pytest.approx(0, abs=1e-4)


def test_every_part_of_the_network_learns_from_the_losses():
    torch.manual_seed(0)
    config = NetworkConfig(
        stem_channels=8, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), channels=16, mask_channels=6, tokens=9
    )
    network = AmodalNetwork(config).train()
    targets = Targets(*(torch.cat([value, value]) for value in make_targets()))
    image, guidance = torch.rand(2, 3, 32, 32), torch.rand(2, 2, 32, 32)
    parts = training_losses(network, image, guidance, targets, WEIGHTS, field_tokens=4)
    assert all(torch.isfinite(value) and value >= 0 for value in parts.values())
    sum(parts.values()).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None]
    assert silent == []
    assert network.trunk.guidance.write.weight.grad.abs().sum() > 0
