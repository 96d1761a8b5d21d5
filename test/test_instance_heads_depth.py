"""Baseline heads on occlusion levels and the second-stage depth refiner: known answers, learning, gradients, export."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_perception_ros.network import AmodalNetwork, NetworkConfig
from amodal_perception_ros.network.heads import DenseMaps
from amodal_perception_ros.network.instance_heads import INSTANCE_HEADS, Matched
from amodal_perception_ros.network.instance_heads.guided_depth import (
    CROP,
    crop,
    hidden_area,
    most,
    paste,
    regions,
    silog_loss,
)
from amodal_perception_ros.network.instance_heads.head import InstanceMaps, cell_centres
from amodal_perception_ros.network.instance_heads.level_depth import coarse_cells, level_losses, level_segments
from amodal_perception_ros.network.instance_heads.levels import TokenLevel, at_level, layer_coverage, object_depth_loss
from amodal_perception_ros.network.instance_heads.occlusion_layers import (
    MEMBER_LOGIT,
    REACH,
    SIZES,
    VISIBLE,
    Layers,
    OcclusionLayers,
    layer_losses,
)
from amodal_perception_ros.network.losses import training_losses
from amodal_perception_ros.network.targets import LossWeights, Targets

torch.set_num_threads(1)
HEADS = ("occlusion_layers", "level_depth", "level_depth_semantics", "guided_depth")
SMALL = NetworkConfig(
    stem_channels=8, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), channels=16, mask_channels=6, tokens=9
)
HEIGHT, WIDTH, FEATURES = 16, 32, SMALL.channels
GRID = torch.Size((HEIGHT, WIDTH))
WEIGHTS = LossWeights()
BOXES = [(8, 8, 12, 8), (13, 7, 12, 8), (20, 12, 6, 6)]  # centre x, centre y, width, height in cells
LEVELS, CLASSES, DEPTHS = [0, 1, 0], [2, 5, 0], [math.log(5), math.log(9), math.log(4)]


def make_targets(cells=None):
    """Object 0 (columns 2..14) hides the left of object 1 (columns 7..19) of level 1; object 2 stands alone; road."""
    amodal = torch.zeros(1, 4, HEIGHT, WIDTH)
    for row, (x, y, w, h) in enumerate(BOXES):
        amodal[0, row, y - h // 2 : y + h // 2, x - w // 2 : x + w // 2] = 1
    visible = amodal.clone()
    visible[0, 1] *= (1 - amodal[0, 0]) * (1 - amodal[0, 2])
    stuff = torch.zeros(1, 11, HEIGHT, WIDTH)
    stuff[0, 0] = 1 - visible[0].sum(0)
    depth = torch.full((1, 4, HEIGHT, WIDTH), math.nan)
    seen = torch.full((1, HEIGHT, WIDTH), math.log(20))
    for row in range(3):
        depth[0, row][amodal[0, row] > 0] = DEPTHS[row]
        seen[0][visible[0, row] > 0] = DEPTHS[row]
    cells = torch.arange(HEIGHT * WIDTH)[None] if cells is None else cells
    visible, amodal, depth = (value.flatten(2)[:, :, cells[0]] for value in (visible, amodal, depth))
    occludes = torch.zeros(1, 4, 4, dtype=torch.bool)
    occludes[0, 0, 1] = occludes[0, 2, 1] = True
    scale = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
    heat = torch.zeros(1, HEIGHT, WIDTH)
    return Targets(
        stuff=stuff,
        log_depth=seen,
        cells=cells,
        valid=torch.tensor([[True, True, True, False]]),
        classes=torch.tensor([[*CLASSES, 0]]),
        levels=torch.tensor([[*LEVELS, 0]]),
        boxes=torch.cat([torch.tensor(BOXES) / scale, torch.zeros(1, 4)])[None],
        hidden_share=1 - visible.sum(2) / amodal.sum(2).clamp(min=1),
        visible=visible,
        amodal=amodal,
        object_log_depth=depth,
        occludes=occludes,
        heat=heat,
        heat_weight=torch.ones(1, HEIGHT, WIDTH),
        seed_object=torch.full((1, HEIGHT, WIDTH), -1),
        forced=heat[:, None],
    )


def make_dense(seed=0, batch=1, channels=FEATURES):
    """Return dense maps that tell the position and the visible objects, `hidden` at half the resolution as in the
    network; the seen depth is the truth.
    """
    generator = torch.Generator().manual_seed(seed)
    targets = make_targets()
    hidden = torch.randn(batch, channels, HEIGHT // 2, WIDTH // 2, generator=generator)
    x, y = cell_centres(targets.cells, GRID)
    known = torch.cat([4 * x[None] - 2, 4 * y[None] - 2, 2 * targets.visible[:, :3]], 1).unflatten(2, GRID)
    hidden[:, : known.shape[1]] = torch.nn.functional.avg_pool2d(known, 2)
    features = torch.cat([known, torch.ones(1, 1, *GRID)], 1).expand(batch, -1, -1, -1)
    return DenseMaps(hidden, features, targets.stuff, targets.log_depth.expand(batch, -1, -1).clone(), targets.forced)


def make_head(name, seed=0):
    torch.manual_seed(seed)
    return INSTANCE_HEADS[name](SMALL)


def make_tokens(count=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(1, count, FEATURES, generator=generator)
    boxes = torch.rand(1, count, 4, generator=generator) * 0.4 + 0.2
    boxes[:, :4] = make_targets().boxes[:, [0, 1, 2, 1]]
    return tokens, boxes


MATCHED = Matched(torch.tensor([[0, 1, 2, 1, -1]]), torch.tensor([[True, True, True, False, False]]))


def iou(logits, truth):
    found, real = logits > 0, truth > 0.5
    return ((found & real).sum() / (found | real).sum()).item()


@pytest.mark.parametrize("name", HEADS)
def test_all_cells_at_once_equal_the_whole_map(name):
    head, dense = make_head(name).eval(), make_dense()
    if name == "guided_depth":
        torch.nn.init.normal_(head.guidance.weight)
    tokens, boxes = make_tokens(20)
    cells = torch.arange(HEIGHT * WIDTH)[None]
    with torch.no_grad():
        whole, cell_by_cell = head(tokens, boxes, dense), head.at(tokens, boxes, dense, cells)
    for everywhere, at in zip(whole, cell_by_cell):
        assert everywhere.shape == (1, 20, HEIGHT, WIDTH)
        torch.testing.assert_close(everywhere.flatten(2), at, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_learns_a_toy_scene(name):
    head, dense, targets = make_head(name), make_dense(), make_targets()
    tokens, boxes = make_tokens()
    optimizer = torch.optim.Adam(head.parameters(), 0.01)
    for _ in range(120):
        optimizer.zero_grad()
        parts, _ = head.losses(tokens, boxes, dense, MATCHED, targets, WEIGHTS)
        sum(parts.values()).backward()
        optimizer.step()
    head.eval()
    with torch.no_grad():
        maps = head(tokens, boxes, dense)
    for token, row in enumerate(MATCHED.instance[0, :4].tolist()):
        visible, amodal, depth = (values[0, token].flatten() for values in maps)
        assert iou(amodal, targets.amodal[0, row]) > 0.85, (token, "amodal")
        assert iou(visible, targets.visible[0, row]) > 0.85, (token, "visible")
        error = (depth - DEPTHS[row])[targets.amodal[0, row] > 0].abs().mean().item()
        assert error < 0.08, (token, "depth", error)


@pytest.mark.parametrize("name", HEADS)
def test_gradient_reaches_every_parameter_and_no_part_is_negative(name):
    head, dense = make_head(name), make_dense()
    if name == "guided_depth":
        torch.nn.init.normal_(head.guidance.weight)
    tokens, boxes = make_tokens()
    parts, maps = head.losses(tokens, boxes, dense, MATCHED, make_targets(), WEIGHTS)
    assert all(torch.isfinite(value) and value >= 0 for value in parts.values()), parts
    assert all(values.shape == (1, 5, HEIGHT * WIDTH) and values.dtype == torch.float32 for values in maps)
    sum(parts.values()).backward()
    silent = [n for n, p in head.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert silent == []


@pytest.mark.parametrize("name", HEADS)
def test_images_without_objects_give_finite_losses_with_gradients(name):
    head, targets = make_head(name), make_targets()
    targets = targets._replace(valid=torch.zeros(1, 4, dtype=torch.bool))
    nothing = Matched(torch.full((1, 5), -1), torch.zeros(1, 5, dtype=torch.bool))
    parts, _ = head.losses(*make_tokens(), make_dense(), nothing, targets, WEIGHTS)
    total = sum(parts.values())
    total.backward()
    assert torch.isfinite(total)
    assert [n for n, p in head.named_parameters() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


@pytest.mark.parametrize("name", HEADS)
def test_losses_look_only_at_the_sampled_cells(name):
    cells = torch.arange(0, HEIGHT * WIDTH, 3)[None]
    head, targets = make_head(name).eval(), make_targets(cells)
    tokens, boxes = make_tokens()
    with torch.no_grad():
        parts, maps = head.losses(tokens, boxes, make_dense(), MATCHED, targets, WEIGHTS)
        expected = head.at(tokens, boxes, make_dense(), cells)
    assert all(torch.isfinite(value) for value in parts.values())
    for got, want in zip(maps[:2], expected[:2]):
        torch.testing.assert_close(got, want)


# Levels


def test_a_token_reads_the_map_of_its_level():
    maps = torch.arange(8.0)[None, :, None].expand(2, 8, 3) + torch.tensor([0.0, 100.0])[:, None, None]
    assert at_level(maps, torch.tensor([[7, 0], [3, 3]]))[:, :, 0].tolist() == [[7, 0], [103, 103]]


def test_level_loss_of_no_knowledge_is_log_eight_and_of_the_truth_zero():
    level, targets = TokenLevel(FEATURES), make_targets()
    tokens = torch.zeros(1, 5, FEATURES)
    with torch.no_grad():
        level.logits[2].weight.zero_()
        level.logits[2].bias.zero_()
    assert level.loss(tokens, MATCHED.instance, targets).item() == pytest.approx(0.5 * math.log(8))
    with torch.no_grad():
        level.logits[2].bias[1] = 30
    occluded_only = torch.tensor([[-1, 1, -1, 1, -1]])
    assert level.loss(tokens, occluded_only, targets).item() == pytest.approx(0, abs=1e-6)
    assert level.loss(tokens, MATCHED.instance, targets).item() == pytest.approx(0.5 * 30 * 2 / 4)


def test_layers_hold_the_whole_objects_of_their_level_and_no_padding():
    targets = make_targets()
    targets.amodal[0, 3] = 1
    coverage = layer_coverage(targets)
    assert coverage.shape == (1, 8, HEIGHT * WIDTH)
    assert torch.equal(coverage[0, 0], targets.amodal[0, 0] + targets.amodal[0, 2])
    assert torch.equal(coverage[0, 1], targets.amodal[0, 1])
    assert coverage[0, 2:].sum() == 0


def test_object_depth_is_judged_in_the_true_level_on_the_hidden_part_too():
    targets = make_targets()
    depths = torch.zeros(1, 8, HEIGHT * WIDTH)
    depths[0, 0] = torch.where(targets.amodal[0, 2] > 0, DEPTHS[2], DEPTHS[0])
    depths[0, 1] = DEPTHS[1]
    assert object_depth_loss(depths, targets, GRID).item() == pytest.approx(0, abs=1e-6)
    hidden = (targets.amodal[0, 1] - targets.visible[0, 1]) > 0
    depths[0, 1][hidden] += 1
    share = hidden.sum().item() / (12 * 8)
    assert object_depth_loss(depths, targets, GRID).item() == pytest.approx(share / 3, rel=1e-5)


@pytest.mark.parametrize("name", ["level_depth", "level_depth_semantics"])
def test_masks_of_depth_baselines_learn_as_ours(name):
    ours, head, (tokens, boxes) = make_head("fields"), make_head(name), make_tokens()
    width = SMALL.field_hidden
    first = width * (SMALL.mask_channels + 1 + 4)
    of_masks = [*range(first + 2 * width), first + 3 * width, first + 3 * width + 1]
    with torch.no_grad():
        for k in (0, 2):
            rows = of_masks if k else slice(None)
            head.generate[k].weight.copy_(ours.generate[k].weight[rows])
            head.generate[k].bias.copy_(ours.generate[k].bias[rows])
    expected, got = (
        one.losses(tokens, boxes, make_dense(), MATCHED, make_targets(), WEIGHTS)[0] for one in (ours, head)
    )
    assert expected["hidden"] > 0.1
    for part in expected.keys() - {"object_depth"}:
        torch.testing.assert_close(got[part], expected[part], msg=part)


# Occlusion layers


def make_layers(foreground, centre_x, centre_y):
    """Return layers of equal content from (Q,) values."""
    maps = (torch.as_tensor(values)[None, None].expand(1, 9, -1) for values in (foreground, centre_x, centre_y))
    return Layers(*maps, torch.zeros(1, 8, len(foreground)))


def test_a_mask_is_foreground_and_points_at_the_centre():
    head, boxes = OcclusionLayers(SMALL), torch.tensor([[[0.5, 0.5, 0.4, 0.2]]])
    reach = REACH * 0.4 + 1 / WIDTH
    centre_x = torch.tensor([0.5, 0.5, 0.5 + reach, 0.9, 0.5, 0.5 - reach / 2])
    foreground = torch.tensor([5.0, -3.0, 5.0, 5.0, 20.0, 5.0])
    maps = head._objects(torch.zeros(1, 1, FEATURES), boxes, make_layers(foreground, centre_x, [0.5] * 6), GRID)
    member = MEMBER_LOGIT * torch.tensor([1, 1, 0, -1, 1, 0.75])
    expected = (foreground.double().sigmoid() * member.double().sigmoid()).logit()
    torch.testing.assert_close(maps.amodal[0, 0].double(), expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(maps.amodal, maps.visible)


def test_of_two_tokens_that_claim_a_cell_the_one_it_points_at_more_exactly_is_surer():
    boxes = torch.tensor([[[0.5, 0.5, 0.4, 0.2], [0.55, 0.5, 0.4, 0.2]]])
    layers = make_layers([6.0, 6.0], [0.51, 0.54], [0.5, 0.5])
    visible = OcclusionLayers(SMALL)._objects(torch.zeros(1, 2, FEATURES), boxes, layers, GRID).visible
    assert (visible > 0).all()
    assert visible.argmax(1).tolist() == [[0, 1]]


def test_objects_of_one_layer_that_touch_are_told_apart_and_levels_choose_the_layer():
    head, dense = OcclusionLayers(SMALL), make_dense()
    x, y = cell_centres(torch.arange(HEIGHT * WIDTH)[None], GRID)
    left, right = torch.tensor([0.25, 0.5, 0.3, 0.5]), torch.tensor([0.55, 0.5, 0.3, 0.5])
    centre_x = torch.where(x < 0.4, left[0], right[0])[:, None].expand(-1, 9, -1)
    inside = ((x > 0.1) & (x < 0.7) & (y > 0.25) & (y < 0.75))[:, None]
    foreground = torch.full((1, 9, HEIGHT * WIDTH), -6.0)
    foreground[:, [0, VISIBLE]] = torch.where(inside, 6.0, -6.0)
    layers = Layers(foreground, centre_x, torch.full_like(centre_x, 0.5), torch.zeros(1, 8, HEIGHT * WIDTH))
    tokens, boxes = torch.zeros(1, 2, FEATURES), torch.stack([left, right])[None]
    for level, expected in ((0, inside[0, 0]), (3, torch.zeros(HEIGHT * WIDTH, dtype=torch.bool))):
        with torch.no_grad():
            head.level.logits[2].weight.zero_()
            head.level.logits[2].bias.copy_(torch.nn.functional.one_hot(torch.tensor(level), 8))
        maps = head._objects(tokens, boxes, layers, dense.log_depth.shape[-2:])
        assert torch.equal(maps.amodal[0] > 0, torch.stack([expected & (x[0] < 0.4), expected & (x[0] > 0.4)]))
        assert torch.equal(maps.visible[0] > 0, torch.stack([inside[0, 0] & (x[0] < 0.4), inside[0, 0] & (x[0] > 0.4)]))


def perfect_layers(targets):
    visible = targets.visible.sum(1, keepdim=True)
    foreground = 40 * torch.cat([layer_coverage(targets), visible], 1) - 20
    owner = torch.cat([targets.amodal, targets.visible], 1)[0]
    centres = [torch.zeros(1, 9, HEIGHT * WIDTH) for _ in range(2)]
    log_depth = torch.zeros(1, 8, HEIGHT * WIDTH)
    for row in range(3):
        for layer, mask in ((LEVELS[row], owner[row]), (VISIBLE, owner[4 + row])):
            for axis in range(2):
                centres[axis][0, layer][mask > 0] = targets.boxes[0, row, axis]
        log_depth[0, LEVELS[row]][owner[row] > 0] = DEPTHS[row]
    return Layers(foreground, *centres, log_depth)


def test_perfect_layers_cost_nothing_and_each_error_its_own_part():
    targets = make_targets()
    perfect = perfect_layers(targets)
    best = layer_losses(perfect, targets, GRID, WEIGHTS)
    assert {name: round(value.item(), 5) for name, value in best.items()} == dict.fromkeys(best, 0)
    shifted = layer_losses(perfect._replace(centre_x=perfect.centre_x + 0.05), targets, GRID, WEIGHTS)
    widths = [box[2] / WIDTH for box in BOXES]
    expected = 2 * np.mean([0.05 / width for width in widths])
    assert shifted["amodal_centre"].item() == pytest.approx(expected, rel=1e-4)
    assert shifted["visible_centre"].item() == pytest.approx(expected, rel=1e-4)
    hidden_lost = perfect.foreground.clone()
    hidden_lost[0, 1][(targets.amodal[0, 1] - targets.visible[0, 1]) > 0] = -20
    lost = layer_losses(perfect._replace(foreground=hidden_lost), targets, GRID, WEIGHTS)
    assert lost["amodal"] > 0.5
    assert lost["visible"] < 1e-5
    ghost = perfect.foreground.clone()
    ghost[0, 5] = 20
    haunted = layer_losses(perfect._replace(foreground=ghost), targets, GRID, WEIGHTS)
    assert haunted["empty"].item() == pytest.approx(2 * 20 / 9, rel=1e-4)
    assert haunted["amodal"] < 1e-5


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_masks_never_exceed_the_foreground_of_their_layer(seed):
    generator = torch.Generator().manual_seed(seed)
    layers = Layers(*(torch.randn(2, n, 30, generator=generator) for n in SIZES))
    tokens, boxes = torch.randn(2, 4, FEATURES, generator=generator), torch.rand(2, 4, 4, generator=generator) + 0.01
    head = OcclusionLayers(SMALL)
    with torch.no_grad():
        maps, level = head._objects(tokens, boxes, layers, GRID), head.level(tokens)
    assert (maps.amodal <= at_level(layers.foreground, level)).all()
    assert (maps.visible <= layers.foreground[:, VISIBLE, None]).all()
    assert torch.isfinite(maps.amodal).all()


# Level depth


def test_segments_of_levels_by_hand():
    targets = make_targets()
    segments = level_segments(targets)
    assert segments.shape == (1, 8, 19, HEIGHT * WIDTH)
    torch.testing.assert_close(segments.sum(2), torch.ones(1, 8, HEIGHT * WIDTH))
    hidden = ((targets.amodal[0, 1] - targets.visible[0, 1]) > 0) & (targets.amodal[0, 0] > 0)
    assert (segments[0, 0, 11 + CLASSES[0]][hidden] == 1).all()
    assert (segments[0, 1, 11 + CLASSES[1]][hidden] == 1).all()
    road = targets.stuff[0, 0].flatten() > 0
    assert (segments[0, 0, 0][road] == 1).all()
    assert (segments[0, 2:, -1] == 1).all()
    seen_behind = (targets.visible[0, 1] > 0) & (targets.amodal[0, 2] == 0)
    assert (segments[0, 0, -1][seen_behind] == 1).all()


def test_cells_lie_in_coarse_cells():
    cells = torch.tensor([[0, 1, 2, WIDTH, 2 * WIDTH + 3, HEIGHT * WIDTH - 1]])
    coarse = coarse_cells(cells, GRID, torch.Size((HEIGHT // 2, WIDTH // 2)))
    assert coarse.tolist() == [[0, 0, 1, 0, WIDTH // 2 + 1, HEIGHT * WIDTH // 4 - 1]]


def test_level_zero_holds_the_depth_of_stuff():
    targets = make_targets()
    depths = torch.full((1, 8, HEIGHT * WIDTH), math.log(20))
    loss = level_losses(depths, targets, GRID, WEIGHTS)
    assert loss["stuff_depth"].item() == pytest.approx(0, abs=1e-6)
    assert loss["object_depth"].item() == pytest.approx(
        2 * np.mean([math.log(20) - depth for depth in DEPTHS]), rel=1e-4
    )
    depths[0, 1:] = 0
    assert level_losses(depths, targets, GRID, WEIGHTS)["stuff_depth"].item() == pytest.approx(0, abs=1e-6)


def test_semantics_change_training_only():
    plain, semantic = make_head("level_depth").eval(), make_head("level_depth_semantics").eval()
    assert semantic.load_state_dict(plain.state_dict(), strict=False).missing_keys == [
        "semantics.weight",
        "semantics.bias",
    ]
    (tokens, boxes), dense = make_tokens(), make_dense()
    with torch.no_grad():
        for got, expected in zip(semantic(tokens, boxes, dense), plain(tokens, boxes, dense)):
            assert torch.equal(got, expected)
    parts = [head.losses(tokens, boxes, dense, MATCHED, make_targets(), WEIGHTS)[0] for head in (plain, semantic)]
    assert set(parts[1]) - set(parts[0]) == {"semantics"}
    parts[1]["semantics"].backward()
    assert semantic.decoders[0].weight.grad.abs().sum() > 0


# Guided depth


def test_the_most_hidden_are_those_with_the_largest_hidden_area():
    amodal, visible = torch.full((1, 20, 50), -20.0), torch.full((1, 20, 50), -20.0)
    for token in range(20):
        amodal[0, token, :40] = 20
        visible[0, token, : 40 - token] = 20
    area = hidden_area(InstanceMaps(visible, amodal, visible))
    assert area[0].tolist() == pytest.approx(range(20), abs=1e-3)
    assert most(area)[0].tolist() == list(range(19, 3, -1))


def test_crops_sample_a_ramp_exactly_and_paste_undoes_them():
    x, y = cell_centres(torch.arange(HEIGHT * WIDTH)[None], GRID)
    ramp = (3 * x + y).reshape(1, 1, HEIGHT, WIDTH)
    region = regions(torch.tensor([[[0.5, 0.5, 0.3, 0.4], [0.4, 0.6, 0.2, 0.2]]]), GRID)
    assert region[0, 0].tolist() == pytest.approx([0.5, 0.5, 0.225 + 1 / WIDTH, 0.3 + 1 / HEIGHT])
    crops = crop(ramp, region)
    assert crops.shape == (2, 1, CROP, CROP)
    step = (torch.arange(CROP) + 0.5) * 2 / CROP - 1
    for row, (cx, cy, rx, ry) in enumerate(region[0].tolist()):
        torch.testing.assert_close(crops[row, 0], 3 * (cx + rx * step)[None] + (cy + ry * step)[:, None])
        back = paste(crops, region, torch.arange(HEIGHT * WIDTH)[None], GRID)[0, row]
        inner = ((x[0] - cx).abs() < 0.95 * rx) & ((y[0] - cy).abs() < 0.95 * ry)
        outside = ((x[0] - cx).abs() > 1.05 * rx) | ((y[0] - cy).abs() > 1.05 * ry)
        torch.testing.assert_close(back[inner], (3 * x + y)[0][inner])
        assert back[outside].abs().max() == 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.05, 0.95), min_size=2, max_size=2), st.lists(st.floats(0.003, 1), min_size=2, max_size=2))
def test_a_constant_correction_stays_constant_inside_of_any_region(centre, size):
    region = regions(torch.tensor([[centre + size]]), GRID)
    cells = torch.arange(HEIGHT * WIDTH)[None]
    change = paste(torch.full((1, 1, CROP, CROP), 0.7), region, cells, GRID)[0, 0]
    x, y = cell_centres(cells, GRID)
    inside = ((x[0] - centre[0]).abs() < 0.9 * region[0, 0, 2]) & ((y[0] - centre[1]).abs() < 0.9 * region[0, 0, 3])
    assert change[inside].tolist() == pytest.approx([0.7] * int(inside.sum()))
    assert change.min() >= 0
    assert change.max() <= 0.7 + 1e-6


def test_silog_by_hand():
    target = torch.tensor([[1.0, 2.0, math.nan], [3.0, math.nan, math.nan]])
    assert silog_loss(target.nan_to_num(7.0), target).item() == pytest.approx(1e-4)
    assert silog_loss(target.nan_to_num(7.0) + 0.4, target).item() == pytest.approx(0.4 * math.sqrt(0.15), rel=1e-5)
    # Errors 0.2 and -0.2 of one object, 0.4 of the other: mean 0.2, mean square (0.04 + 0.16) / 2.
    prediction = torch.tensor([[1.2, 1.8, 9.0], [3.4, 9.0, 9.0]], requires_grad=True)
    loss = silog_loss(prediction, target)
    assert loss.item() == pytest.approx(math.sqrt(0.1 - 0.85 * 0.04), rel=1e-5)
    loss.backward()
    assert prediction.grad[torch.isnan(target)].abs().sum() == 0
    assert silog_loss(torch.zeros(0, 5), torch.zeros(0, 5)).item() == pytest.approx(1e-4)


def test_guidance_starts_without_influence_and_gains_it_by_training():
    head, dense, (tokens, boxes) = make_head("guided_depth"), make_dense(), make_tokens()
    farther = dense._replace(log_depth=dense.log_depth + 1)
    with torch.no_grad():
        assert torch.equal(head(tokens, boxes, dense).log_depth, head(tokens, boxes, farther).log_depth)
    parts, _ = head.losses(tokens, boxes, dense, MATCHED, make_targets(), WEIGHTS)
    parts["guided_depth"].backward()
    assert head.guidance.weight.grad.flatten(2).abs().sum((0, 2)).min() > 0
    with torch.no_grad():
        head.guidance.weight -= head.guidance.weight.grad
        assert not torch.equal(head(tokens, boxes, dense).log_depth, head(tokens, boxes, farther).log_depth)


def test_only_the_most_hidden_are_refined_and_only_in_depth():
    head, dense, (tokens, boxes) = make_head("guided_depth"), make_dense(), make_tokens(24)
    with torch.no_grad():
        first, maps = head.first(tokens, boxes, dense), head(tokens, boxes, dense)
        chosen = most(hidden_area(InstanceMaps(*(values.flatten(2) for values in first))))[0]
    assert torch.equal(first.visible, maps.visible)
    assert torch.equal(first.amodal, maps.amodal)
    changed = (first.log_depth != maps.log_depth).flatten(2).any(2)[0]
    assert sorted(chosen.tolist()) == torch.nonzero(changed).flatten().tolist()
    assert len(chosen) == 16


def test_the_first_stage_learns_as_it_does_alone():
    head, dense, (tokens, boxes) = make_head("guided_depth"), make_dense(), make_tokens()
    torch.nn.init.normal_(head.guidance.weight)
    parts, _ = head.losses(tokens, boxes, dense, MATCHED, make_targets(), WEIGHTS)
    parts["guided_depth"].backward()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in head.first.parameters())


def test_the_second_stage_learns_a_hidden_depth_that_the_first_cannot_know():
    """With a first stage that does not learn, the refiner alone brings the depth of the hidden object to the truth."""
    head, dense, targets, (tokens, boxes) = make_head("guided_depth"), make_dense(), make_targets(), make_tokens()
    optimizer = torch.optim.Adam([p for n, p in head.named_parameters() if not n.startswith("first")], 0.003)
    hidden = (targets.amodal[0, 1] - targets.visible[0, 1]) > 0

    def hidden_error():
        with torch.no_grad():
            return (head(tokens, boxes, dense).log_depth[0, 1].flatten() - DEPTHS[1])[hidden].abs().mean().item()

    assert hidden_error() > 0.25
    for _ in range(60):
        optimizer.zero_grad()
        head.losses(tokens, boxes, dense, MATCHED, targets, WEIGHTS)[0]["guided_depth"].backward()
        optimizer.step()
    assert hidden_error() < 0.1


# In the network


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", HEADS)
def test_the_whole_network_trains_with_the_head_at_either_precision(name, precision):
    torch.manual_seed(0)
    network = AmodalNetwork(NetworkConfig(**{**vars(SMALL), "instance_head": name})).train()
    targets = make_targets()
    heat = torch.zeros(1, HEIGHT // 2, WIDTH // 2)
    seed_object = torch.full((1, HEIGHT // 2, WIDTH // 2), -1)
    for row, (x, y) in enumerate(((2, 3), (8, 2), (10, 6))):
        heat[0, y, x], seed_object[0, y, x] = 1, row
    targets = targets._replace(
        heat=heat, heat_weight=torch.ones_like(heat), seed_object=seed_object, forced=heat[:, None].clone()
    )
    targets = Targets(*(torch.cat([value, value]) for value in targets))
    image, guidance = torch.rand(2, 3, 32, 64), torch.rand(2, 2, 32, 64)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        parts = training_losses(network, image, guidance, targets, WEIGHTS, field_tokens=6)
    assert all(torch.isfinite(value) for value in parts.values()), parts
    sum(parts.values()).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []
