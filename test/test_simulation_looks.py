"""Camera effects, weather and light of the simulator's pictures, each against an answer worked out by hand."""

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_perception_ros.scene import Camera
from amodal_perception_ros.simulation.assets.meshes import Kind, Material, MeshBuilder, box, ellipsoid, quad
from amodal_perception_ros.simulation.config import WEATHERS, SequenceConfig
from amodal_perception_ros.simulation.rendering import lamp_grid
from amodal_perception_ros.simulation.rendering.camera_effects import Film, add_noise, scattered, tone_curve
from amodal_perception_ros.simulation.rendering.camera_look import CameraLook, draw_camera_look
from amodal_perception_ros.simulation.rendering.drawing import Item
from amodal_perception_ros.simulation.rendering.renderer import Renderer
from amodal_perception_ros.simulation.rendering.view import View, camera_pose
from amodal_perception_ros.simulation.traffic.contacts import contacts_of_outlines
from amodal_perception_ros.simulation.traffic.lights import lamps_around
from amodal_perception_ros.simulation.weather import draw_weather, sunlight

W, H = 200, 120
DAY = draw_weather(SequenceConfig(1, weather="day"))
NIGHT = replace(draw_weather(SequenceConfig(1, weather="night")), wet=False, rain=0.0)
GREY = np.full((H, W, 3), 0.2, np.float32)


def developed(light, weather=DAY, seed=0, camera="front", **look):
    height, width = light.shape[:2]
    return Film(width, height, CameraLook(**look), weather).develop(light, seed, camera)


def spot(x, y):
    """A round spot of standard deviation 2 px at a position in pixels."""
    columns, rows = np.arange(W) + 0.5 - x, np.arange(H)[:, None] + 0.5 - y
    return np.repeat(0.5 * np.exp(-(columns**2 + rows**2) / 8)[..., None], 3, 2).astype(np.float32)


def centre_of(plane):
    weight = plane.astype(float) ** 2
    columns, rows = np.arange(W) + 0.5, np.arange(H)[:, None] + 0.5
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


# Camera ------------------------------------------------------------------------------------------------------


def test_vignetting_darkens_the_corner_by_the_stated_share_and_leaves_the_middle():
    dark = developed(GREY, vignetting=0.4)
    share = ((W / 2 - 0.5) ** 2 + (H / 2 - 0.5) ** 2) / ((W / 2) ** 2 + (H / 2) ** 2)
    assert (dark[0, 0] == developed(GREY * np.float32(1 - 0.4 * share))[0, 0]).all()
    assert np.abs(dark[H // 2, W // 2].astype(int) - developed(GREY)[H // 2, W // 2]).max() <= 1
    assert (dark[0, 0] < developed(GREY)[0, 0] - 10).all()


@pytest.mark.parametrize("distortion", [0.01, -0.01])
def test_distortion_moves_a_feature_by_the_stated_pixels(distortion):
    """At 0.8 of the way to the corner the shift is 0.8^3 of that in the corner, which is 0.01 * 200 = 2 px."""
    outward = np.array([W, H]) / np.hypot(W, H)
    middle = np.array([W / 2, H / 2])
    place = middle + 0.8 * np.hypot(W, H) / 2 * outward
    seen = centre_of(developed(spot(*place), distortion=distortion)[..., 1])
    shift = (seen - place) @ outward
    assert shift == pytest.approx(-np.sign(distortion) * 2 * 0.8**3, abs=0.1)


def test_colour_fringe_moves_red_and_blue_apart_and_leaves_green():
    outward = np.array([W, H]) / np.hypot(W, H)
    place = np.array([W / 2, H / 2]) + 0.8 * np.hypot(W, H) / 2 * outward
    picture = developed(spot(*place), colour_fringe=0.005)
    red, green, blue = ((centre_of(picture[..., k]) - place) @ outward for k in range(3))
    assert green == pytest.approx(0, abs=0.03)
    assert red == pytest.approx(-(0.8**3), abs=0.1)
    assert blue == pytest.approx(0.8**3, abs=0.1)


def test_the_middle_of_a_clean_picture_is_that_of_the_pinhole_camera():
    assert centre_of(developed(spot(70, 40))[..., 1]) == pytest.approx([70, 40], abs=0.01)


def test_noise_variance_grows_with_the_signal():
    rng = np.random.default_rng(0)
    for signal in (0.0, 0.25, 1.0):
        noisy = add_noise(np.full((300, 300), signal, np.float32), 0.1, 0.02, rng)
        assert noisy.mean() == pytest.approx(signal, abs=0.002)
        assert noisy.var() == pytest.approx(0.01 * signal + 0.0004, rel=0.03)


def test_the_same_grey_is_noisier_at_night():
    def spread(weather):
        bright = replace(weather, exposure=1.0)
        return developed(GREY, bright, shot_noise=0.01, read_noise=0.001).astype(float).std()

    assert spread(NIGHT) > 1.5 * spread(DAY)


def test_overexposure_never_wraps():
    ramp = np.repeat(np.linspace(0, 60, W * H).reshape(H, W, 1), 3, 2).astype(np.float32)
    picture = developed(ramp, exposure=1.4, headroom=1.5, contrast=0.6, saturation=1.15).astype(int)
    assert (np.diff(picture.reshape(-1, 3), axis=0) >= 0).all()
    assert (picture[-1] == 255).all()
    assert picture[0, 0].max() == 0
    hard = developed(np.full((H, W, 3), 1e6, np.float32), shot_noise=0.01, sharpening=0.7, white_balance=(1.2, 1, 0.8))
    assert hard[..., :2].min() == 255


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, -5.0])
def test_a_pixel_without_light_that_makes_sense_does_not_spread(wrong):
    light, look = GREY.copy(), {"glare": 0.05, "metering": 1.0, "shot_noise": 0.01, "white_balance": (1.1, 1, 0.9)}
    light[40, 60] = wrong
    picture = developed(light, **look)
    far = np.hypot(np.arange(H)[:, None] - 40, np.arange(W) - 60) > 60
    dark = light.copy()
    dark[40, 60] = 1e6 if wrong > 0 else 0.0
    assert (picture == developed(dark, **look)).all()
    if not wrong > 0:
        assert np.abs(picture.astype(int) - developed(GREY, **look))[far].max() <= 1


def test_the_tone_curve_rises_from_the_black_level_to_one():
    for look in (CameraLook(), CameraLook(contrast=0.6, black_level=0.04), CameraLook(contrast=-0.2, headroom=1.5)):
        curve = tone_curve(look)
        assert curve[0] == pytest.approx(look.black_level)
        assert curve[-1] == pytest.approx(1.0)
        assert (np.diff(curve) > 0).all()


def test_automatic_exposure_evens_out_the_stated_share():
    film = Film(W, H, CameraLook(metering=0.5), replace(DAY, exposure=1.0, key=0.2))
    assert film.exposure(GREY) == pytest.approx(1.0)
    assert film.exposure(GREY / 2) == pytest.approx(2**0.5)
    assert film.exposure(GREY * 2) == pytest.approx(0.5**0.5)
    assert film.exposure(GREY * 0) == 2.0
    assert film.exposure(GREY * 50) == 0.5


def test_glare_spreads_light_and_keeps_its_sum():
    light = np.zeros((H, W, 3), np.float32)
    light[50:54, 90:94] = 60
    linear = replace(DAY, exposure=1.0)
    around = developed(light, linear, glare=0.05)[40, 80]
    assert around.min() > developed(light, linear)[40, 80].max()
    assert scattered(light).sum() == pytest.approx(light.sum(), rel=0.01)


def test_softness_blurs_and_sharpening_overshoots():
    light = GREY.copy()
    light[:, W // 2 :] = 0.5
    row = {name: developed(light, **{name: 0.7})[H // 2, :, 1].astype(int) for name in ("softness", "sharpening")}
    clean = developed(light)[H // 2, :, 1].astype(int)
    edge = W // 2
    assert clean[edge - 2] < row["softness"][edge - 1] < row["softness"][edge] < clean[edge + 1]
    assert row["sharpening"][edge - 1] < clean[edge - 1]
    assert row["sharpening"][edge] > clean[edge]


def test_white_balance_and_saturation():
    warm = developed(GREY, white_balance=(1.2, 1.0, 0.9))[0, 0].astype(int)
    assert warm[0] > warm[1] > warm[2]
    coloured = GREY * np.array([1.5, 1.0, 0.5], np.float32)
    assert np.ptp(developed(coloured, saturation=0.0)[0, 0].astype(int)) <= 1
    weak, full = (np.ptp(developed(coloured, saturation=s)[0, 0].astype(int)) for s in (0.5, 1.0))
    assert weak == pytest.approx(full / 2, abs=1)


def test_streaks_only_add_light_and_drops_stay_on_their_lens():
    rain = replace(draw_weather(SequenceConfig(1, weather="rain")), rain=1.0)
    streaks = developed(GREY, rain).astype(int) - developed(GREY, replace(rain, rain=0.0))
    assert streaks.min() >= 0
    assert 0.01 < (streaks > 2).mean() < 0.5
    light = np.random.default_rng(0).random((H, W, 3)).astype(np.float32)
    clear, drops = replace(rain, rain=1e-9), {"lens_drops": 9}
    front = developed(light, clear, 0, "front", **drops)
    assert (front == developed(light, clear, 5, "front", **drops)).all()
    assert (front != developed(light, clear, 0, "left", **drops)).any()
    assert 0 < (front != developed(light, clear)).any(-1).mean() < 0.2
    assert (front != developed(light, clear, 0, "front", **drops, drops_seed=1)).any()


def test_equal_seeds_give_equal_pictures_and_others_do_not():
    rain = draw_weather(SequenceConfig(1, weather="rain"))
    look = vars(draw_camera_look(SequenceConfig(1)))
    first = developed(GREY, rain, 3, **look)
    assert (first == developed(GREY, rain, 3, **look)).all()
    assert (first != developed(GREY, rain, 4, **look)).any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_drawn_looks_keep_the_truth_within_a_pixel(seed):
    """The truth is that of the pinhole camera: what is left of the distortion stays below 0.15 % of the width."""
    look = draw_camera_look(SequenceConfig(seed))
    assert abs(look.distortion) <= 0.0015
    assert abs(look.colour_fringe) <= 0.0006
    assert 1 <= look.jpeg_quality <= 100
    assert 0 <= look.metering <= 1
    assert look.headroom >= 1


def test_every_setting_of_a_look_is_drawn():
    looks = [draw_camera_look(SequenceConfig(seed)) for seed in range(6)]
    assert draw_camera_look(SequenceConfig(3)) == looks[3]
    for field in fields(CameraLook):
        assert len({getattr(look, field.name) for look in looks}) > 1, field.name
    fixed = SequenceConfig(3, overrides={"camera": {"jpeg_quality": 77, "vignetting": 0.25}})
    assert (draw_camera_look(fixed).jpeg_quality, draw_camera_look(fixed).vignetting) == (77, 0.25)


# Weather -----------------------------------------------------------------------------------------------------


def test_sunlight_is_weaker_and_redder_through_more_air():
    """Straight up the air mass is 1 and the optical depth that of the docstring; at 10 degrees it is 5.6."""
    assert sunlight(90, 0.0) == pytest.approx(np.exp(-np.array([0.05, 0.1, 0.21])), rel=1e-3)
    assert np.log(sunlight(10, 0.0)) / np.log(sunlight(90, 0.0)) == pytest.approx([5.586] * 3, rel=1e-3)
    red, green, blue = sunlight(5, 0.1) / sunlight(60, 0.1)
    assert blue < green < red < 1


@pytest.mark.parametrize("name", WEATHERS)
def test_no_two_sequences_have_the_same_weather(name):
    drawn = [draw_weather(SequenceConfig(seed, weather=name)) for seed in range(8)]
    assert drawn[2] == draw_weather(SequenceConfig(2, weather=name))
    for key in ("sun", "ambient", "fog", "wear", "cloud_place", "horizon"):
        assert len({getattr(weather, key) for weather in drawn}) == 8, key
    assert all((w.rain > 0) == (name == "rain") for w in drawn) or name == "night"
    assert all(w.wet for w in drawn if w.rain > 0)
    assert all(w.lamps == (name in ("dusk", "night")) for w in drawn)


# Lamps -------------------------------------------------------------------------------------------------------


def cell_of(cells, x, y):
    low = lamp_grid.low_corner(np.zeros(3))
    column, row = int((x - low[0]) / lamp_grid.CELL), int((y - low[1]) / lamp_grid.CELL)
    slots = np.concatenate([cells[row, column], cells[row, column + lamp_grid.CELLS]])
    return [int(k) for k in slots if k >= 0]


def test_cells_know_the_lamps_that_reach_them():
    """A street lamp of power 34 reaches sqrt(16 * 34) = 23 m; a headlight shines ahead only."""
    street = [(x, 0.0, 6.0, 34.0, 0, 0, -1.0, 0.25) for x in (0.0, 18.0, 60.0)]
    beam = (0.0, 30.0, 0.7, 100.0, 1.0, 0.0, 0.0, 0.85)
    cells = lamp_grid.lamp_cells(np.array([*street, beam]), np.zeros(3))
    assert cells.shape == (lamp_grid.CELLS, 2 * lamp_grid.CELLS, 4)
    assert cell_of(cells, 1, 1) == [0, 1]
    assert cell_of(cells, 17, 1) == [1, 0]
    assert cell_of(cells, 60, 1) == [2]
    assert cell_of(cells, 1, -60) == []
    assert 3 in cell_of(cells, 15, 30)
    assert 3 not in cell_of(cells, -15, 30)


def test_more_lamps_than_slots_leave_the_strongest():
    lamps = np.array([(0.0, 0.2 * k, 6.0, 10.0 + k, 0, 0, -1.0, 0.25) for k in range(12)])
    assert cell_of(lamp_grid.lamp_cells(lamps, np.zeros(3)), 1, 1) == list(range(11, 3, -1))


# Light -------------------------------------------------------------------------------------------------------


def surface(part, kind=Kind.PLAIN, color=(0.5, 0.5, 0.5), roughness=0.9, slot=0, look=0.0):
    model = MeshBuilder().add(part, Material(color, roughness, kind, slot)).bake()
    return Item(model, np.eye(4), np.full((4, 3), 0.5), look=look)


def light_of(weather, items, lamps=(), contacts=(), height=1.5):
    """Radiance of a camera at the origin that looks along x, 160 x 120 px, focal length 100 px."""
    camera = Camera(
        "front", 160, 120, np.array([[100.0, 0, 80], [0, 100.0, 60], [0, 0, 1]]),
        camera_pose(np.array([0, 0, height]), 0.0),
    )  # fmt: skip
    renderer = Renderer(160, 120, 1, weather, [])
    try:
        contacts, lamps = np.array(contacts, float).reshape(-1, 7), np.array(lamps, float).reshape(-1, 8)
        renderer.begin(np.zeros(3), items, contacts, lamps)
        return renderer.light(View(camera, camera.base_from_camera))
    finally:
        renderer.release()


def road():
    return surface(quad([(-40, -40, 0), (40, -40, 0), (40, 40, 0), (-40, 40, 0)]), Kind.ASPHALT, (0.1, 0.1, 0.1))


@pytest.mark.parametrize("kind", [Kind.PLAIN, Kind.FACADE, Kind.LEAF])
def test_where_normals_cancel_there_is_light_nevertheless(kind):
    item = surface(box((6, 0, 1.5), (1, 8, 8)), kind)
    item.model.vertices["normal"] = 0
    for weather in (DAY, NIGHT):
        light = light_of(weather, [item], [(3, 0, 3, 30.0, 1, 0, 0, -1.0)])
        assert np.isfinite(light).all()
        assert 0 < light[H // 2, W // 2].min() <= light.max() < 20


def test_a_wet_road_mirrors_a_lamp_where_its_mirror_image_is():
    """The lamp at (12, 0, 3) is at row 60 - 100 * 1.5 / 12 = 47.5, its mirror image at 60 + 100 * 4.5 / 12 = 97.5."""
    lamp = surface(ellipsoid((12, 0, 3), (0.5, 0.5, 0.5)), Kind.LAMP, (1.0, 0.9, 0.8))
    rows = {}
    for wet in (False, True):
        weather = replace(NIGHT, wet=wet, puddles=2.0, fog=0.0)
        column = light_of(weather, [road(), lamp])[:, 78:82].mean((1, 2))
        assert abs(np.argmax(column) - 47.5) < 5
        rows[wet] = column[62:]
    shine = rows[True] - rows[False]
    assert abs(62 + np.argmax(shine) - 97.5) < 6
    assert shine.max() > 0.02
    assert shine.max() > 3 * rows[False].max()


def test_headlights_brighten_the_road_ahead_and_nothing_behind():
    dark, lit = (
        light_of(replace(NIGHT, fog=0.0), [road()], lamps)
        for lamps in ([], lamps_around(np.zeros((0, 3)), NIGHT, [], np.zeros(4), 0))
    )
    ahead = slice(72, 76)
    assert lit[ahead, 70:90].mean() > 3 * dark[ahead, 70:90].mean()
    behind = lamps_around(np.zeros((0, 3)), NIGHT, [], np.array([0, 0, 0, np.pi]), 0)
    turned = light_of(replace(NIGHT, fog=0.0), [road()], behind)
    assert turned[ahead, 70:90] == pytest.approx(dark[ahead, 70:90], rel=0.02)


def test_only_lit_weather_has_lamps():
    assert lamps_around(np.zeros((3, 3)), DAY, [], np.zeros(4), 0).shape == (0, 8)
    lamps = lamps_around(np.array([(5.0, 0, 6), (500.0, 0, 6)]), NIGHT, [], np.zeros(4), 0)
    assert lamps.shape == (3, 8)
    assert lamps[0, :3].tolist() == [5, 0, 6]


def test_lamps_of_vehicles_glow_when_they_are_on():
    lamp = surface(box((10, 0, 1.5), (1, 2, 2)), Kind.LAMP, (0.9, 0.9, 0.9), slot=1)
    off = light_of(replace(NIGHT, fog=0.0), [lamp])[60, 80]
    lamp.lights = True
    on = light_of(replace(NIGHT, fog=0.0), [lamp])[60, 80]
    assert on.min() == pytest.approx(0.9 * NIGHT.vehicle_lights, rel=0.1)
    assert off.max() < 0.1


def test_fog_fades_a_wall_into_its_own_colour():
    """At 10 m and 0.05 per metre exp(-0.5) of the wall's light is left; the fog adds the rest."""
    wall = surface(box((10.05, 0, 1.5), (0.1, 20, 20)))
    still = replace(DAY, sun_color=(0.0, 0.0, 0.0), fog=0.0)
    clear = light_of(still, [wall])[60, 80]
    foggy = light_of(replace(still, fog=0.05), [wall])[60, 80]
    left = np.exp(-0.5)
    assert foggy == pytest.approx(clear * left + np.array(DAY.fog_color) * (1 - left), rel=0.01)


@pytest.mark.parametrize("kind", [Kind.GLASS, Kind.PAINT, Kind.CLOTH])
def test_things_of_one_material_differ(kind):
    pictures = []
    for look in (0.11, 0.37, 0.73):
        ball = surface(ellipsoid((8, 0, 1.5), (2, 2, 2)), kind, (0.05, 0.05, 0.05), 0.3, look=look)
        pictures.append(light_of(replace(DAY, wear=1.0), [ball])[40:80, 60:100])
    assert all(np.abs(a / b - 1).mean() > 0.01 for a, b in pairwise(pictures))


def test_clouds_change_the_sky_and_overcast_hides_the_sun():
    sun = replace(DAY, sun=(0.6, 0.0, 0.8), clouds=0.0)
    up = light_of(sun, [])
    assert up.max() < 60
    other = light_of(replace(sun, clouds=0.7, cloud_place=(5.0, 9.0)), [])
    assert np.abs(up - other)[:40].mean() > 0.02


def test_an_outline_shades_the_ground_along_its_edges_only():
    """Four edges of a square of 4 m at (8, 0): the ground is darker at its front edge than 3 m before it."""
    square = np.array([(6.0, -2.0), (10, -2), (10, 2), (6, 2)])
    contacts = contacts_of_outlines([square])
    assert contacts[:, :2].tolist() == [[8, -2], [10, 0], [8, 2], [6, 0]]
    assert contacts[:, 4].tolist() == [2, 2, 2, 2]
    assert contacts_of_outlines([]).shape == (0, 7)
    overcast = replace(DAY, sun_color=(0.0, 0.0, 0.0), fog=0.0, wear=0.0)
    share = light_of(overcast, [road()], contacts=contacts) / light_of(overcast, [road()])
    assert share[60 + 25, 75:85].max() < 0.8
    assert share[60 + 50, 75:85] == pytest.approx(1.0, abs=0.01)
