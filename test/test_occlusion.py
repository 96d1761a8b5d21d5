import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from amodal_perception_ros.occlusion import break_cycles, occlusion_levels


def graph(count, *edges):
    out = np.zeros((count, count), bool)
    for i, j in edges:
        out[i, j] = True
    return out


def test_levels_are_longest_paths():
    """0 hides 1, 1 hides 2, 0 hides 2; 3 is alone."""
    assert occlusion_levels(graph(4, (0, 1), (1, 2), (0, 2))).tolist() == [0, 1, 2, 0]


def test_levels_are_capped():
    chain = graph(12, *((i, i + 1) for i in range(11)))
    assert occlusion_levels(chain).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 7]


def test_a_cycle_is_broken_by_depth_and_flagged():
    """Rider 1 and bike 2 hide each other; the bike is nearer. Edges outside the cycle stay."""
    acyclic, decided = break_cycles(graph(4, (0, 1), (1, 2), (2, 1), (2, 3)), np.array([1.0, 3.0, 2.0, 5.0]))
    assert (acyclic == graph(4, (0, 1), (2, 1), (2, 3))).all()
    assert (decided == graph(4, (2, 1))).all()


def test_no_objects():
    acyclic, decided = break_cycles(np.zeros((0, 0), bool), np.zeros(0))
    assert acyclic.shape == decided.shape == (0, 0)
    assert occlusion_levels(acyclic).shape == (0,)


@given(arrays(bool, (6, 6)), arrays(np.float64, 6, elements=st.floats(1, 50)))
def test_the_result_is_acyclic_and_levels_satisfy_their_definition(occludes, depth):
    np.fill_diagonal(occludes, False)
    acyclic, _ = break_cycles(occludes, depth)
    reach = acyclic.astype(int)
    for _ in range(6):
        reach = ((reach + reach @ reach) > 0).astype(int)
    assert not reach.diagonal().any()
    assert ((acyclic | acyclic.T) == (occludes | occludes.T)).all()
    level = occlusion_levels(acyclic)
    for j in range(6):
        occluders = level[acyclic[:, j]]
        assert level[j] == (0 if occluders.size == 0 else occluders.max() + 1)
