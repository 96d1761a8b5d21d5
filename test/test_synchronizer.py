"""The synchronizer's rule on hand-made timings, each fault by itself, and its invariants on arbitrary traffic."""

import itertools
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_perception_ros.synchronizer import CAUSES, LatestSet, SyncConfig, Synchronizer

MS = 1_000_000
CAMERAS = ("front", "right", "back", "left")
TICK = (*CAMERAS, "lidar", "odometry")


def drive(sync, ticks, start_ms=1000, arrival_ms=0, sensors=TICK, period_ms=100):
    """Deliver whole ticks in which every sensor has the same stamp; sensors may be a function of the tick."""
    sets = []
    for k in range(ticks):
        for i, sensor in enumerate(sensors(k) if callable(sensors) else sensors):
            stamp = (start_ms + k * period_ms) * MS
            sets += sync.add(sensor, stamp, (sensor, k), (arrival_ms + k * period_ms + i) * MS)
    return sets


def conserved(sync, sets):
    delivered = sum(len(one.payloads) for one in sets)
    return sum(sync.received.values()) == delivered + sum(sync.drops.values()) + sync.held


def test_equal_stamps_give_complete_sets_with_the_lidar_stamp():
    sync = Synchronizer(SyncConfig())
    sets = drive(sync, 80)
    assert [one.stamp_ns for one in sets] == [(1000 + 100 * k) * MS for k in range(80)]
    assert all(one.complete and one.reference == "lidar" and one.epoch == 0 for one in sets)
    assert sets[3].payloads["back"] == (1300 * MS, ("back", 3))
    assert not sync.drops
    assert sync.held == 0


def test_a_set_leaves_with_the_message_that_completes_it():
    sync = Synchronizer(SyncConfig())
    for sensor in TICK[:-1]:
        assert sync.add(sensor, 5 * MS, sensor, 0) == []
    assert len(sync.add("odometry", 5 * MS, "odometry", 1)) == 1


def test_stamp_zero_is_legal():
    sets = drive(Synchronizer(SyncConfig()), 2, start_ms=0)
    assert [one.stamp_ns for one in sets] == [0, 100 * MS]
    assert all(one.complete for one in sets)


def test_nearest_message_inside_the_window_is_chosen():
    config = SyncConfig(cameras=("front",), odometry=None, window_ns=20 * MS)
    sync = Synchronizer(config)
    for stamp in (75, 85, 97, 112, 130):
        sync.add("front", stamp * MS, stamp, stamp * MS)
    (one,) = sync.add("lidar", 100 * MS, None, 131 * MS)
    assert one.payloads["front"] == (97 * MS, 97)
    assert sync.drops == {"unmatched": 2}
    assert sync.held == 2


def test_message_nearer_to_the_next_reference_waits_for_it():
    sync = Synchronizer(SyncConfig(cameras=("front",), odometry=None, window_ns=30 * MS))
    sync.add("lidar", 0, "A", 0)
    sync.add("lidar", 40 * MS, "B", 0)
    assert sync.add("front", 25 * MS, "image", 0) == []
    (one,) = sync.poll(200 * MS)
    assert one.payloads == {"lidar": (40 * MS, "B"), "front": (25 * MS, "image")}
    assert sync.dropped == {("lidar", "incomplete"): 1}


def test_a_nearer_message_is_awaited_when_the_period_promises_one():
    sync = Synchronizer(SyncConfig(cameras=("front",), odometry=None, window_ns=40 * MS))
    for stamp in (30, 70):
        sync.add("front", stamp * MS, stamp, stamp * MS)
    assert sync.add("lidar", 100 * MS, None, 100 * MS) == []
    (one,) = sync.add("front", 110 * MS, 110, 110 * MS)
    assert one.payloads["front"] == (110 * MS, 110)


@pytest.mark.parametrize(("offset", "complete"), [(20, True), (21, False)])
def test_the_window_includes_its_edge(offset, complete):
    sync = Synchronizer(SyncConfig(cameras=("front", "left"), odometry=None, window_ns=20 * MS))
    sync.add("front", 100 * MS, None, 0)
    sync.add("left", (100 + offset) * MS, None, 0)
    (one,) = sync.add("lidar", 100 * MS, None, 1)
    assert one.complete is complete
    assert one.missing == (() if complete else ("left",))


def test_constant_offset_is_subtracted_and_the_raw_stamp_kept():
    sync = Synchronizer(SyncConfig(cameras=("front",), odometry=None, window_ns=MS, offsets_ns={"front": 30 * MS}))
    sync.add("front", 130 * MS, "image", 0)
    (one,) = sync.add("lidar", 100 * MS, "cloud", 0)
    assert one.stamp_ns == 100 * MS
    assert one.payloads == {"front": (130 * MS, "image"), "lidar": (100 * MS, "cloud")}


def test_dead_camera_costs_one_time_out_per_tick_until_it_is_known_dead():
    config = SyncConfig(timeout_ns=60 * MS, alive_ns=500 * MS)
    sync = Synchronizer(config)
    drive(sync, 10)
    alive = [name for name in TICK if name != "left"]
    for k in range(10, 30):
        arrival = 100 * k * MS
        sets = [one for name in alive for one in sync.add(name, (1000 + 100 * k) * MS, k, arrival)]
        if not sets:
            assert sync.is_alive("left")
            assert sync.poll(arrival + 59 * MS) == []
            sets = sync.poll(arrival + 60 * MS)
        assert [one.missing for one in sets] == [("left",)]
    assert not sync.is_alive("left")
    assert not sync.drops


ARRIVALS_MS = {
    "all within 4 ms": dict(zip(TICK, (0.0, 0.8, 1.6, 2.4, 3.2, 4.0))),
    "staggered": dict(zip(TICK, (0, 16, 32, 48, 64, 80))),
    "always 1 ms after a poll": dict.fromkeys(TICK, 1),
}


def timeline(dies, polls_ms, arrivals_ms, dies_at=10, ticks=100):
    """(time [ms], None for a poll or (sensor, tick)) of sensors at 10 Hz, one of which dies; a poll goes first."""
    messages = [(100 * k + arrivals_ms[n], (n, k)) for k in range(ticks) for n in TICK if n != dies or k < dies_at]
    polls = [(time, None) for time in range(0, 100 * ticks, polls_ms)] if polls_ms else []
    return sorted(polls + messages, key=lambda event: event[0])


def play(sync, events):
    """Return (time of leaving [ms], set) of all sets."""
    out = []
    for time, message in events:
        now = round(time * MS)
        stamp = message and (1000 + 100 * message[1]) * MS
        sets = sync.poll(now) if message is None else sync.add(message[0], stamp, message, now)
        out += [(time, one) for one in sets]
    return out


@pytest.mark.parametrize("arrivals", ARRIVALS_MS)
@pytest.mark.parametrize("polls_ms", [None, 1, 20, 50])
@pytest.mark.parametrize("timeout_ms", [0, 100])
def test_sets_go_on_soon_after_the_lidar_died_however_often_is_polled(arrivals, polls_ms, timeout_ms):
    sync = Synchronizer(SyncConfig(timeout_ns=timeout_ms * MS))
    sets = play(sync, timeline("lidar", polls_ms, ARRIVALS_MS[arrivals]))
    without = [(time, one) for time, one in sets if "lidar" in one.missing and one.reference == "front"]
    assert without[0][0] <= 1000 + 500 + 300, "alive_ns and three periods after its last tick"
    stamps = [one.stamp_ns // MS for _, one in without]
    assert stamps[-70:] == list(range(4000, 10_901, 100)), "then every tick gives a set"
    assert not sync.is_alive("lidar")


@pytest.mark.parametrize("arrivals", ARRIVALS_MS)
@pytest.mark.parametrize("polls_ms", [None, 1, 20, 50])
def test_a_dead_camera_costs_the_time_out_only_until_it_is_known_dead(arrivals, polls_ms):
    sync = Synchronizer(SyncConfig())
    last = max(time for name, time in ARRIVALS_MS[arrivals].items() if name != "left")
    sets = play(sync, timeline("left", polls_ms, ARRIVALS_MS[arrivals]))
    waits = {one.stamp_ns // MS: time - (one.stamp_ns // MS - 1000) for time, one in sets}
    assert sorted(waits) == list(range(1000, 10_901, 100))
    assert all(waits[stamp] <= last for stamp in waits if stamp >= 2000 + 500 + 300)


def test_a_camera_that_returns_is_in_the_sets_again():
    sync = Synchronizer(SyncConfig())
    sets = drive(sync, 60, sensors=lambda k: TICK if not 10 <= k < 40 else [n for n in TICK if n != "right"])
    missing_later = [one.missing for one in sets if one.stamp_ns >= (1000 + 4100) * MS]
    assert missing_later == [()] * 19
    assert len(sets) >= 59
    assert conserved(sync, sets)


def test_lidar_dies_and_returns():
    sync = Synchronizer(SyncConfig())
    cameras = (*CAMERAS, "odometry")
    sets = drive(sync, 60, sensors=lambda k: TICK if not 10 <= k < 40 else cameras)
    by_stamp = {one.stamp_ns // MS: one for one in sets}
    assert by_stamp[3000].missing == ("lidar",)
    assert by_stamp[3000].reference == "front"
    assert by_stamp[6900].complete
    assert by_stamp[6900].reference == "lidar"
    assert conserved(sync, sets)
    assert len(sets) >= 58


def test_first_camera_and_lidar_dead_leave_the_second_camera_as_reference():
    sync = Synchronizer(SyncConfig())
    sets = drive(sync, 40, sensors=("right", "back", "left", "odometry"))
    assert sets[-1].reference == "right"
    assert sets[-1].missing == ("front", "lidar")
    assert len(sets) >= 30


def test_bag_loop_emits_the_whole_new_loop_after_a_dropout():
    sync = Synchronizer(SyncConfig())
    first = drive(sync, 80, sensors=lambda k: [n for n in TICK if not (k == 79 and n == "left")])
    again = drive(sync, 80, arrival_ms=8000)
    assert len(first) == 79
    assert [one.stamp_ns for one in again] == [(1000 + 100 * k) * MS for k in range(80)]
    assert all(one.complete and one.epoch == 1 for one in again)
    assert sync.resets == 1
    assert sync.last_jump_ns == (8900 * MS, 1000 * MS)
    assert sync.drops == {"reset": 5}
    assert conserved(sync, first + again)


def test_topics_that_cross_the_loop_at_different_times_lose_nothing_new():
    sync = Synchronizer(SyncConfig())
    drive(sync, 30, sensors=lambda k: TICK if k < 29 else CAMERAS)
    sets = []
    for sensor in ("front", "right", "back"):
        sets += sync.add(sensor, 1000 * MS, "new", 3000 * MS)
    sets += sync.add("lidar", 3900 * MS, "old", 3001 * MS)
    sets += sync.add("odometry", 3900 * MS, "old", 3001 * MS)
    for sensor in ("left", "lidar", "odometry"):
        sets += sync.add(sensor, 1000 * MS, "new", 3002 * MS)
    fresh = [one for one in sets if one.epoch == 1]
    assert len(fresh) == 1
    assert fresh[0].complete
    assert {payload for _, payload in fresh[0].payloads.values()} == {"new"}
    assert sync.resets == 1


def test_short_loop_below_the_jump_threshold_recovers():
    sync = Synchronizer(SyncConfig(jump_ns=1000 * MS, behind_limit=5))
    sets = []
    for loop in range(8):
        sets += drive(sync, 8, arrival_ms=800 * loop)
    assert sync.resets >= 3
    assert len(sets) >= 4 * 8
    assert conserved(sync, sets)


def test_single_straggler_is_late_and_no_reset():
    sync = Synchronizer(SyncConfig())
    drive(sync, 30)
    assert sync.add("front", 1500 * MS, None, 3000 * MS) == []
    sets = drive(sync, 5, start_ms=4000, arrival_ms=3001)
    assert len(sets) == 5
    assert sync.resets == 0
    assert sync.drops == {"late": 1}


def test_message_behind_the_last_set_is_late():
    sync = Synchronizer(SyncConfig())
    drive(sync, 5)
    sync.add("front", 1399 * MS, None, 600 * MS)
    assert sync.dropped == {("front", "late"): 1}


def test_message_of_a_set_that_has_left_is_late():
    sync = Synchronizer(SyncConfig())
    drive(sync, 1, sensors=[name for name in TICK if name != "left"])
    assert [one.missing for one in sync.poll(200 * MS)] == [("left",)]
    sync.add("left", 1000 * MS, None, 201 * MS)
    assert sync.dropped == {("left", "late"): 1}
    assert sync.held == 0


def test_single_future_stamp_is_dropped_and_disturbs_nothing():
    sync = Synchronizer(SyncConfig())
    drive(sync, 10)
    sync.add("lidar", 900_000 * MS, None, 1000 * MS)
    sets = drive(sync, 10, start_ms=2000, arrival_ms=1001)
    assert len(sets) == 10
    assert all(one.complete for one in sets)
    assert sync.drops == {"future": 1}
    assert sync.resets == 0


def test_forward_jump_of_everything_is_no_reset():
    sync = Synchronizer(SyncConfig())
    sets = drive(sync, 10) + drive(sync, 10, start_ms=500_000, arrival_ms=1000)
    assert len(sets) == 20
    assert all(one.complete for one in sets)
    assert sync.resets == 0
    assert not sync.drops


def test_slow_streams_beyond_the_jump_threshold_still_flow():
    sync = Synchronizer(SyncConfig(cameras=("front",), lidar=None, odometry=None))
    sets = [one for k in range(10) for one in sync.add("front", 5000 * k * MS, k, 5000 * k * MS)]
    sets += sync.flush()
    assert [one.stamp_ns for one in sets] == [5000 * k * MS for k in range(10)]
    assert not sync.drops


def test_stuck_stamp_is_counted_and_the_sensor_becomes_dead():
    sync = Synchronizer(SyncConfig())
    others = [name for name in TICK if name != "lidar"]
    sets = []
    for k in range(30):
        sets += sync.add("lidar", 0, None, 100 * k * MS)
        sets += [one for name in others for one in sync.add(name, (1000 + 100 * k) * MS, k, 100 * k * MS)]
    assert sync.dropped["lidar", "duplicate"] == 29
    assert sets[-1].reference == "front"
    assert sets[-1].missing == ("lidar",)
    assert len(sets) >= 29


@pytest.mark.parametrize("shift_ms", [-500_000, 500_000])
def test_lidar_with_a_foreign_clock_does_not_stop_the_cameras(shift_ms):
    sync = Synchronizer(SyncConfig())
    sets = []
    for k in range(50):
        stamp = 1_000_000 + 100 * k
        sets += sync.add("lidar", (stamp + shift_ms) * MS, None, 100 * k * MS)
        for name in (*CAMERAS, "odometry"):
            sets += sync.add(name, stamp * MS, None, (100 * k + 1) * MS)
    assert not sync.agrees_in_time("lidar")
    assert len(sets) >= 48
    assert all(one.missing == ("lidar",) for one in sets)


def test_camera_slower_than_the_time_out_is_late_and_named_missing():
    sync = Synchronizer(SyncConfig(timeout_ns=100 * MS))
    sets = []
    for k in range(40):
        sets += sync.poll(100 * k * MS)
        if k >= 3:
            sets += sync.add("left", (1000 + 100 * (k - 3)) * MS, None, 100 * k * MS)
        for name in TICK:
            if name != "left":
                sets += sync.add(name, (1000 + 100 * k) * MS, None, (100 * k + 1) * MS)
    assert all(one.missing == ("left",) for one in sets)
    assert len(sets) >= 38
    assert sync.dropped["left", "late"] == sync.received["left"]


def test_pause_of_everything_makes_nobody_dead():
    sync = Synchronizer(SyncConfig())
    drive(sync, 10)
    sets = drive(sync, 10, start_ms=2000, arrival_ms=60_000)
    assert [one.complete for one in sets] == [True] * 10


def test_fast_odometry_is_decimated_to_the_nearest():
    sync = Synchronizer(SyncConfig(cameras=("front",)))
    sets = []
    for t in range(0, 1000, 10):
        sets += sync.add("odometry", (t + 3) * MS, t, (t + 3) * MS)
        if t % 100 == 0:
            sets += sync.add("front", t * MS, None, (t + 4) * MS)
            sets += sync.add("lidar", t * MS, None, (t + 5) * MS)
    sets += sync.flush()
    assert [one.payloads["odometry"][0] // MS for one in sets] == [100 * k + 3 for k in range(10)]
    assert sync.drops == {"decimated": 90}


def test_min_cameras_drops_the_set_as_incomplete():
    sync = Synchronizer(SyncConfig(min_cameras=3))
    sets = drive(sync, 20, sensors=("front", "right", "lidar", "odometry"))
    assert sets == []
    assert sync.dropped["lidar", "incomplete"] > 5
    assert sync.dropped["front", "incomplete"] > 5


def test_queues_are_bounded_while_no_set_forms():
    sync = Synchronizer(SyncConfig(queue_depth=4, odometry_depth=7, alive_ns=10**12))
    for k in range(500):
        sync.add("left", k * MS, None, k * MS)
        sync.add("odometry", k * MS, None, k * MS)
    assert sync.held == 11
    assert sync.dropped == {("left", "overflow"): 496, ("odometry", "decimated"): 493}


def test_flush_emits_the_last_tick_without_its_late_sensors():
    sync = Synchronizer(SyncConfig())
    drive(sync, 1, sensors=("front", "lidar"))
    (one,) = sync.flush()
    assert one.missing == ("right", "back", "left", "odometry")
    assert sync.held == 0


def test_unknown_sensor_is_named():
    with pytest.raises(ValueError, match=r"unknown sensor 'rear'; configured sensors: \['front'"):
        Synchronizer(SyncConfig()).add("rear", 0, None, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cameras": ("front", "front")},
        {"min_cameras": 0},
        {"min_cameras": 5},
        {"reference": "odometry"},
        {"offsets_ns": {"rear": 1}},
        {"window_ns": -1},
        {"queue_depth": 0},
    ],
)
def test_wrong_configuration_is_refused(wrong):
    with pytest.raises(ValueError, match=r".+"):
        SyncConfig(**wrong)


SENSORS = ("front", "left", "lidar", "odometry")
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(SENSORS),
        st.one_of(st.integers(0, 40), st.integers(0, 4000)),
        st.integers(0, 300),
        st.booleans(),
    ),
    max_size=120,
)


@settings(max_examples=300, deadline=None)
@given(EVENTS, st.integers(1, 2), st.sampled_from([20, 1000]))
def test_invariants_on_arbitrary_traffic(events, min_cameras, window_ms):
    config = SyncConfig(
        cameras=("front", "left"), min_cameras=min_cameras, window_ns=window_ms * MS, queue_depth=5, odometry_depth=8
    )
    sync = Synchronizer(config)
    sets, now = [], 0
    for number, (sensor, stamp, wait, poll) in enumerate(events):
        now += wait
        sets += sync.add(sensor, stamp * 10 * MS, (sensor, number), now * MS)
        if poll:
            sets += sync.poll((now + 50) * MS)
        assert sync.held <= 3 * 5 + 8 + len(SENSORS)
        assert conserved(sync, sets)
    sets += sync.flush()
    assert conserved(sync, sets)
    assert sync.held == 0
    check_sets(sets, config)
    assert set(sync.drops) <= set(CAUSES)
    assert sync.emitted == len(sets)


def check_sets(sets, config):
    used = [payload for one in sets for _, payload in one.payloads.values()]
    assert len(used) == len(set(used))
    for one in sets:
        assert set(one.payloads) | set(one.missing) == set(config.sensors)
        assert not set(one.payloads) & set(one.missing)
        assert sum(name in one.payloads for name in config.cameras) >= config.min_cameras
        assert all(abs(stamp - one.stamp_ns) <= config.window_ns for stamp, _ in one.payloads.values())
        assert all(name == payload[0] for name, (_, payload) in one.payloads.items())
    for before, after in itertools.pairwise(sets):
        assert before.epoch <= after.epoch
        assert before.epoch < after.epoch or before.stamp_ns < after.stamp_ns
        if before.epoch == after.epoch:
            shared = set(before.payloads) & set(after.payloads)
            assert all(before.payloads[name][0] < after.payloads[name][0] for name in shared)


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 40))
def test_any_order_inside_a_tick_gives_every_set_complete(random, phase_ms):
    """Sensors out of phase by up to 40 ms, delivered in any order with up to 50 ms of transport, lose nothing."""
    phases = {name: random.randint(-phase_ms, phase_ms) for name in TICK if name != "lidar"} | {"lidar": 0}
    events = [
        (1000 + 100 * k + phases[name] + random.randint(0, 50), name, 1000 + 100 * k + phases[name])
        for k in range(12)
        for name in TICK
    ]
    sync = Synchronizer(SyncConfig())
    sets = [one for arrival, name, stamp in sorted(events) for one in sync.add(name, stamp * MS, None, arrival * MS)]
    sets += sync.flush()
    assert [one.missing for one in sets] == [()] * 12
    assert not sync.drops


def test_same_events_give_the_same_sets():
    def run():
        sync = Synchronizer(SyncConfig())
        sets = drive(sync, 30, sensors=lambda k: TICK[k % 3 :])
        return [(one.stamp_ns, one.missing, one.payloads) for one in sets], sync.dropped

    assert run() == run()


def test_mailbox_newest_wins_and_counts():
    box = LatestSet()
    assert box.get(timeout_s=0) is None
    assert box.put("a") is None
    assert box.put("b") == "a"
    assert box.superseded == 1
    assert box.get(timeout_s=0) == "b"
    assert box.get(timeout_s=0) is None


def test_mailbox_wakes_the_worker_and_closes():
    box, taken = LatestSet(), []

    def work():
        while (item := box.get()) is not None:
            taken.append(item)

    worker = threading.Thread(target=work)
    worker.start()
    box.put(1)
    box.close()
    worker.join(timeout=10)
    assert not worker.is_alive()
    assert taken == [1]
    assert box.closed
    assert box.put(2) == 2
    assert box.superseded == 1
