"""The ray-casting renderer shows the same world as OpenGL does, and takes over where there is none."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

from amodal_perception_ros.simulation import SequenceConfig, simulate
from amodal_perception_ros.simulation.rendering.graphics import RendererError
from amodal_perception_ros.simulation.rendering.raycast_renderer import RaycastRenderer
from amodal_perception_ros.simulation.sequence import SequenceRunner

SCENES = (
    {"seed": 21, "weather": "day", "layout": "crossing"},
    {"seed": 22, "weather": "night", "layout": "curve", "bev": False},
)


def pair_of(scene):
    """A sequence and the samples of its first frame by both renderers."""
    settings = {"frames": 1, "rate_hz": 2.0, "width": 160, "height": 90, "supersample": 1, **scene}
    return [next(iter(simulate(SequenceConfig(**settings, renderer=name)))) for name in ("opengl", "raycast")]


@pytest.fixture(scope="module")
def crossing():
    return pair_of(SCENES[0])


@pytest.fixture(scope="module")
def curve():
    return pair_of(SCENES[1])


@pytest.fixture(params=("crossing", "curve"))
def pair(request):
    return request.getfixturevalue(request.param)


def test_ids_and_depth_agree(pair):
    pixels = wrong = 0
    for name, first in pair[0].truth.cameras.items():
        second = pair[1].truth.cameras[name]
        same = first.labels == second.labels
        pixels, wrong = pixels + same.size, wrong + np.count_nonzero(~same)
        known = same & np.isfinite(first.depth)
        np.testing.assert_array_equal(np.isnan(first.depth)[same], np.isnan(second.depth)[same])
        off = np.abs(first.depth[known] / second.depth[known] - 1)
        assert np.quantile(off, 0.999) < 1e-4
    assert wrong / pixels < 5e-4, "edges only"


def test_whole_things_agree(pair):
    for name, first in pair[0].truth.cameras.items():
        second = {i.instance_id: i for i in pair[1].truth.cameras[name].instances}
        for instance in first.instances:
            if instance.amodal_mask.area > 150:
                other = second[instance.instance_id]
                assert instance.amodal_mask.iou(other.amodal_mask) > 0.97
                assert other.amodal_depth == pytest.approx(instance.amodal_depth, rel=0.01)


def test_flow_agrees(pair):
    for name, first in pair[0].flow.items():
        second = pair[1].flow[name]
        known, also_known = np.isfinite(first).all(-1), np.isfinite(second).all(-1)
        both = known & also_known
        same = pair[0].truth.cameras[name].labels == pair[1].truth.cameras[name].labels
        assert (known == also_known)[same].mean() > 0.999
        assert both[same].mean() > 0.9  # what gets behind the camera is unknown
        off = np.abs(first - second).max(-1)[both & same]
        assert np.quantile(off, 0.99) < 0.1


def test_the_view_from_above_agrees(crossing):
    first, second = crossing
    assert (first.bev.semantic != second.bev.semantic).mean() < 2e-3
    assert (first.bev.amodal != second.bev.amodal).mean() < 2e-3
    assert (first.bev_labels != second.bev_labels).mean() < 2e-3
    assert second.bev_image.shape == first.bev_image.shape


def test_pictures_resemble_those_of_opengl(pair):
    """Plainer, but of like brightness, and by day with the same light and dark places."""
    for name, first in pair[0].frame.images.items():
        second = pair[1].frame.images[name]
        assert second.std() > 5
        a, b = (picture.mean(-1).ravel() for picture in (first, second))
        assert a.mean() < 60 or np.corrcoef(a, b)[0, 1] > 0.4
        assert 0.3 < (b.mean() + 5) / (a.mean() + 5) < 3


def test_the_same_settings_give_the_same_pictures():
    config = SequenceConfig(5, 1, width=96, height=54, layout="curve", traffic=0.3, bev=False, renderer="raycast")
    first, second = (next(iter(simulate(config))) for _ in range(2))
    for name in first.frame.images:
        np.testing.assert_array_equal(first.frame.images[name], second.frame.images[name])
        np.testing.assert_array_equal(first.flow[name], second.flow[name])


NO_OPENGL = """
import sys, warnings
import moderngl
def refuse(*args, **kwargs):
    raise OSError("libEGL.so.1: cannot open shared object file")
moderngl.create_context = refuse
from amodal_perception_ros.simulation import SequenceConfig
from amodal_perception_ros.simulation.sequence import SequenceRunner
runner = SequenceRunner(SequenceConfig(1, 1, width=64, height=36, layout="straight", traffic=0, renderer=sys.argv[1]))
print(type(runner.renderer).__name__)
"""


def without_opengl(renderer):
    return subprocess.run([sys.executable, "-c", NO_OPENGL, renderer], capture_output=True, text=True, timeout=300)


def test_ray_casting_takes_over_where_there_is_no_opengl_and_says_so():
    done = without_opengl("auto")
    assert done.stdout.strip() == "RaycastRenderer"
    assert "libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri" in done.stderr
    assert "ray cast, with plainer looks" in done.stderr


def test_opengl_that_is_asked_for_and_missing_is_an_error():
    done = without_opengl("opengl")
    assert done.returncode == 1
    assert RendererError.__name__ in done.stderr
    assert "install libegl1" in done.stderr


def test_ray_casting_that_is_asked_for_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runner = SequenceRunner(
            SequenceConfig(1, 1, width=64, height=36, layout="straight", traffic=0, renderer="raycast")
        )
    assert isinstance(runner.renderer, RaycastRenderer)
    runner.release()
