"""Instance heads that generate an MLP per mask: ours and the mask baselines."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from network_scene import ALL_CELLS, BOTH, DEPTH, GRID, SIDE, batch_of, make_targets, perfect_maps

from amodal_perception_ros.network import AmodalNetwork, NetworkConfig
from amodal_perception_ros.network.config import INSTANCE_HEAD_NAMES
from amodal_perception_ros.network.heads import DenseMaps
from amodal_perception_ros.network.instance_heads import INSTANCE_HEADS, InstanceMaps, Matched
from amodal_perception_ros.network.instance_heads.generated_mlp import GeneratedMLP, object_log_depth
from amodal_perception_ros.network.instance_heads.head import hidden_loss, map_losses
from amodal_perception_ros.network.instance_heads.occluder_layers import Layers, layer_coverage, layer_losses
from amodal_perception_ros.network.instance_heads.visible import visible_losses
from amodal_perception_ros.network.losses import training_losses
from amodal_perception_ros.network.targets import LossWeights

torch.set_num_threads(1)
HEADS = ("fields", "visible", "independent", "orcnn", "occluder_layers")
SMALL = NetworkConfig(
    stem_channels=8, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), channels=16, mask_channels=6, tokens=9
)
WEIGHTS = LossWeights()
NOBODY = Matched(torch.tensor([[-1, -1]]), torch.tensor([[False, False]]))


def make_head(name, seed=0):
    torch.manual_seed(seed)
    return INSTANCE_HEADS[name](SMALL)


def make_dense(features):
    return DenseMaps(features, features, features, features[:, 0], features)


def random_input(seed, batch=1, tokens=2, dtype=torch.float32):
    """Return tokens, boxes and dense maps on the grid of the scene; the first two boxes are those of its objects."""
    generator = torch.Generator().manual_seed(seed)
    embedding = torch.randn(batch, tokens, SMALL.channels, generator=generator, dtype=dtype)
    boxes = torch.rand(batch, tokens, 4, generator=generator, dtype=dtype) * 0.5 + 0.1
    boxes[:, :2] = make_targets().boxes[:, :2]
    features = torch.randn(batch, SMALL.mask_channels, SIDE, SIDE, generator=generator, dtype=dtype)
    return embedding, boxes, make_dense(features)


def test_the_names_that_a_configuration_accepts_are_those_of_the_heads():
    assert tuple(INSTANCE_HEADS) == INSTANCE_HEAD_NAMES


def test_parameters_of_our_head_keep_names_order_and_shapes():
    """Weights files know the names, checkpoints of the optimizer the order."""
    network = AmodalNetwork(NetworkConfig())
    numbers = 8 * 32 + 8 + 8 * 4 + 3 * 8 + 3
    found = [(name, tuple(p.shape)) for name, p in network.named_parameters() if name.startswith("instances.")]
    assert found == [
        ("instances.generate.0.weight", (80, 80)),
        ("instances.generate.0.bias", (80,)),
        ("instances.generate.2.weight", (numbers, 80)),
        ("instances.generate.2.bias", (numbers,)),
        ("instances.base_depth.0.weight", (80, 80)),
        ("instances.base_depth.0.bias", (80,)),
        ("instances.base_depth.2.weight", (1, 80)),
        ("instances.base_depth.2.bias", (1,)),
    ]


# Generated MLPs


@pytest.mark.parametrize(("masks", "others"), [(2, 1), (1, 0), (0, 1)])
def test_generated_mlps_equal_a_naive_loop_over_tokens_and_cells(masks, others):
    torch.manual_seed(1)
    generated, outputs = GeneratedMLP(SMALL, masks, others).double(), masks + others
    tokens = torch.randn(2, 3, 16, dtype=torch.float64)
    features = torch.randn(2, 6, 4, 5, dtype=torch.float64)
    boxes = torch.rand(2, 3, 4, dtype=torch.float64) * 0.5 + 0.1
    with torch.no_grad():
        got = generated.everywhere(generated(tokens), boxes, features).numpy()
        numbers = generated(tokens).numpy()
    hidden, channels = SMALL.field_hidden, SMALL.mask_channels
    ends = np.cumsum([hidden * channels, hidden, hidden * 4, outputs * hidden])
    for b, m in np.ndindex(2, 3):
        w1, b1, a, w2, b2 = np.split(numbers[b, m], ends)
        w1, a, w2 = w1.reshape(hidden, channels), a.reshape(hidden, 4), w2.reshape(outputs, hidden)
        cx, cy, width, height = boxes[b, m].numpy()
        for y, x in np.ndindex(4, 5):
            u = np.clip(2 * ((x + 0.5) / 5 - cx) / width, -4, 4)
            v = np.clip(2 * ((y + 0.5) / 4 - cy) / height, -4, 4)
            cell = w1 @ features[b, :, y, x].numpy() / np.sqrt(channels)
            expected = w2 @ np.maximum(cell + b1 + a @ [u, u * u, v, v * v], 0) + b2
            np.testing.assert_allclose(got[b, m, :, y, x], expected, rtol=1e-9, atol=1e-9)


def test_mask_outputs_start_low_and_others_do_not():
    torch.manual_seed(0)
    plain = GeneratedMLP(SMALL, masks=0, others=3)[2].bias.detach()
    torch.manual_seed(0)
    torch.testing.assert_close(
        GeneratedMLP(SMALL, masks=2, others=1)[2].bias[-3:] - plain[-3:], torch.tensor([-2.0, -2, 0])
    )


def test_depth_within_an_object_changes_round_the_depth_of_the_whole():
    residual = torch.tensor([[[[0.0, 2.0]], [[4.0, -2.0]]]])
    depth = object_log_depth(torch.tensor([[[1.0], [0.0]]]), residual)
    torch.testing.assert_close(depth, torch.tensor([[[[3.3, 4.3]], [[4.3, 1.3]]]]))


# All heads


@pytest.mark.parametrize("name", HEADS)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=5, deadline=None)
def test_maps_at_some_cells_are_those_of_the_whole_map(name, seed):
    head = make_head(name).double()
    tokens, boxes, dense = random_input(seed, batch=2, tokens=3, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    cells = torch.stack([torch.randperm(SIDE * SIDE, generator=generator)[:50] for _ in range(2)])
    with torch.no_grad():
        whole, some = head(tokens, boxes, dense), head.at(tokens, boxes, dense, cells)
    for everywhere, at in zip(whole, some):
        assert everywhere.shape == (2, 3, SIDE, SIDE)
        expected = torch.gather(everywhere.flatten(2), 2, cells[:, None].expand(2, 3, 50))
        torch.testing.assert_close(at, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", HEADS)
def test_learns_a_toy_scene(name):
    head, targets = make_head(name), make_targets()
    tokens, boxes, dense = random_input(1)
    features = dense.mask_features.requires_grad_()
    optimizer = torch.optim.Adam([*head.parameters(), features], 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        parts, _ = head.losses(tokens, boxes, make_dense(features), BOTH, targets, WEIGHTS)
        sum(parts.values()).backward()
        optimizer.step()
    with torch.no_grad():
        maps = head.at(tokens, boxes, make_dense(features), ALL_CELLS)
    whole = targets.visible if name == "visible" else targets.amodal
    for number in range(2):
        assert iou(maps.visible[0, number], targets.visible[0, number]) > 0.95
        assert iou(maps.amodal[0, number], whole[0, number]) > 0.95
        error = (maps.log_depth[0, number] - DEPTH[number])[whole[0, number] > 0].abs()
        assert error.mean() < 0.15


def iou(logits, truth):
    found, real = logits > 0, truth > 0.5
    return ((found & real).sum() / (found | real).sum()).item()


@pytest.mark.parametrize("name", HEADS)
def test_losses_reach_every_parameter_and_come_with_the_maps(name):
    head, targets = make_head(name), make_targets(ALL_CELLS[:, ::3])
    tokens, boxes, dense = random_input(2)
    parts, maps = head.losses(tokens, boxes, dense, BOTH, targets, WEIGHTS)
    assert all(torch.isfinite(value) and value > 0 for value in parts.values())
    for got, expected in zip(maps, head.at(tokens, boxes, dense, targets.cells)):
        assert torch.equal(got, expected)
    sum(parts.values()).backward()
    assert [n for n, p in head.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", HEADS)
def test_losses_without_objects_are_zero_and_leave_no_parameter_out(name):
    """Training in several processes waits for the gradient of every parameter."""
    head = make_head(name)
    parts, _ = head.losses(*random_input(3), NOBODY, make_targets(), WEIGHTS)
    assert [value.item() for value in parts.values()] == [0] * len(parts)
    sum(parts.values()).backward()
    assert [n for n, p in head.named_parameters() if p.grad is None or p.grad.any()] == []


@pytest.mark.parametrize("name", HEADS)
def test_losses_in_half_precision_are_nearly_those_in_full(name):
    head, inputs, targets = make_head(name), random_input(2), make_targets()
    exact, _ = head.losses(*inputs, BOTH, targets, WEIGHTS)
    with torch.autocast("cpu", torch.bfloat16):
        parts, maps = head.losses(*inputs, BOTH, targets, WEIGHTS)
    assert {values.dtype for values in maps} == {value.dtype for value in parts.values()} == {torch.float32}
    for part, value in parts.items():
        torch.testing.assert_close(value, exact[part], rtol=0.05, atol=0.02)


@pytest.mark.parametrize("name", INSTANCE_HEAD_NAMES)
def test_every_head_trains_with_the_whole_network(name):
    torch.manual_seed(0)
    network = AmodalNetwork(NetworkConfig(**{**vars(SMALL), "instance_head": name})).train()
    targets = batch_of(make_targets(ALL_CELLS[:, ::2]), 2)
    image, guidance = torch.rand(2, 3, 32, 32), torch.rand(2, 2, 32, 32)
    optimizer = torch.optim.Adam(network.parameters(), 0.003)
    totals = []
    for _ in range(12):
        optimizer.zero_grad()
        total = sum(training_losses(network, image, guidance, targets, WEIGHTS, 4).values())
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert [n for n, p in network.named_parameters() if p.grad is None] == []
    assert totals[-1] < 0.7 * totals[0]


# Amodal = visible


def test_the_amodal_mask_of_the_naive_head_is_its_visible_mask():
    maps = make_head("visible")(*random_input(4))
    assert torch.equal(maps.amodal, maps.visible)


def test_the_naive_head_knows_nothing_of_hidden_parts():
    targets = make_targets()
    hidden = (targets.amodal[0, 1] - targets.visible[0, 1]) > 0
    maps = perfect_maps(targets)
    maps.log_depth[0, 1][hidden] += 5
    losses = visible_losses(maps, BOTH.instance, targets, GRID, WEIGHTS)
    assert {name: round(value.item(), 4) for name, value in losses.items()} == {"visible": 0, "object_depth": 0}
    maps.log_depth[0, 1][targets.visible[0, 1] > 0] += 0.5
    assert visible_losses(maps, BOTH.instance, targets, GRID, WEIGHTS)["object_depth"].item() == pytest.approx(0.5)


# Independent masks and ORCNN


@pytest.mark.parametrize(("part", "others"), [("visible", ("amodal", "depth")), ("amodal", ("visible", "depth"))])
def test_what_one_independent_mask_learns_changes_no_other(part, others):
    head = make_head("independent")
    parts, _ = head.losses(*random_input(5), BOTH, make_targets(), WEIGHTS)
    assert sorted(parts) == ["amodal", "object_depth", "visible"]
    parts[part].backward()
    assert all(p.grad.any() for p in getattr(head, part).parameters())
    assert not any(p.grad is not None and p.grad.any() for other in others for p in getattr(head, other).parameters())


def test_orcnn_is_independent_masks_and_one_more_loss_of_equal_weight():
    inputs, targets = random_input(6), make_targets()
    linked, independent = make_head("orcnn"), make_head("independent")
    assert list(linked.state_dict()) == list(independent.state_dict())
    with torch.no_grad():
        for head in (linked, independent):
            head.visible[2].bias[-1] += 4
    parts, maps = linked.losses(*inputs, BOTH, targets, WEIGHTS)
    expected, _ = independent.losses(*inputs, BOTH, targets, WEIGHTS)
    hidden = parts.pop("hidden")
    assert parts == expected
    torch.testing.assert_close(
        hidden, hidden_loss(maps, BOTH.instance, targets, GRID, WEIGHTS.mask_dice, WEIGHTS.mask_bce)
    )
    hidden.backward()  # Visible logits above zero take part in it; the bias makes them.
    assert all(p.grad.any() for part in (linked.visible, linked.amodal) for p in part.parameters())


def test_our_head_weighs_the_hidden_part_by_weights_of_its_own():
    inputs, targets = random_input(6), make_targets()
    parts, maps = make_head("fields").losses(*inputs, BOTH, targets, WEIGHTS)
    hidden = hidden_loss(maps, BOTH.instance, targets, GRID, WEIGHTS.hidden_dice, WEIGHTS.hidden_bce)
    assert parts == map_losses(maps, BOTH.instance, targets, GRID, WEIGHTS) | {"hidden": hidden}


# Occluder layers


def test_layers_of_the_scene_by_hand():
    targets = make_targets()
    layers = layer_coverage(targets)
    first, second = targets.amodal[0, 0], targets.amodal[0, 1]
    assert layers.occluder[0, 0].sum() == 0
    assert torch.equal(layers.occluded[0, 0], second)
    assert torch.equal(layers.occluder[0, 1], first)
    assert layers.occluded[0, 1].sum() == 0
    assert torch.equal(layers.amodal, targets.amodal)
    assert all(layer[0, 2].sum() == 0 for layer in layers)


def test_what_is_no_object_occludes_too():
    targets = make_targets()
    pole = torch.nonzero(targets.visible[0, 1])[:8]
    targets.visible[0, 1, pole] = 0
    layers = layer_coverage(targets)
    assert torch.equal(layers.occluder[0, 1], (targets.amodal[0, 0] + pole_mask(pole)).clamp(max=1))


def pole_mask(cells):
    mask = torch.zeros(SIDE * SIDE)
    mask[cells] = 1
    return mask


def test_objects_that_hide_one_another_occlude_where_they_are_in_front():
    targets = make_targets()
    both = torch.nonzero((targets.amodal[0, 0] > 0) & (targets.amodal[0, 1] > 0)).flatten()
    targets.visible[0, 0, both[:6]], targets.visible[0, 1, both[:6]] = 0, 1
    targets.occludes[0, 1, 0] = True
    layers = layer_coverage(targets)
    for mine, other in ((0, 1), (1, 0)):
        assert torch.equal(
            layers.occluder[0, mine] > 0, (targets.amodal[0, other] > 0) & (targets.visible[0, mine] == 0)
        )


def test_two_occluders_cover_no_cell_twice():
    targets = make_targets()
    targets.amodal[0, 2] = targets.amodal[0, 0]
    targets.occludes[0, 2, 1] = targets.occludes[0, 0, 2] = True
    layers = layer_coverage(targets)
    assert layers.occluder[0, 1].max() == 1
    assert layers.occluded[0, 0].max() == 1


def test_perfect_layers_cost_nothing_and_each_counts():
    targets = make_targets()
    perfect = Layers(*(40 * layer[:, :2] - 20 for layer in layer_coverage(targets)))
    depth = perfect_maps(targets).log_depth
    best = layer_losses(perfect, depth, BOTH.instance, targets, GRID, WEIGHTS)
    assert sorted(best) == ["amodal", "object_depth", "occluded_layer", "occluder_layer"]
    assert sum(value.item() for value in best.values()) == pytest.approx(0, abs=1e-4)
    for layer, name in zip(Layers._fields, ("occluder_layer", "amodal", "occluded_layer")):
        wrong = perfect._replace(**{layer: getattr(perfect, layer).flip(1)})
        losses = layer_losses(wrong, depth, BOTH.instance, targets, GRID, WEIGHTS)
        assert losses.pop(name) > 1
        assert sum(value.item() for value in losses.values()) == pytest.approx(0, abs=1e-4)


def test_an_object_is_visible_where_it_is_and_no_occluder():
    head = make_head("occluder_layers")
    amodal, occluder = torch.tensor([[[3.0, 3, -3, -3]]]), torch.tensor([[[-2.0, 2, -2, 2]]])
    maps = head.maps(torch.zeros(1, 1, 1), (occluder, amodal, torch.zeros(1, 1, 4)))
    assert maps.visible[0, 0].tolist() == [2, -2, -3, -3]
    assert torch.equal(maps.amodal, amodal)
    assert isinstance(maps, InstanceMaps)
