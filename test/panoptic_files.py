"""Small `_ampano.png` + `_ampano.json` files for tests, in the published form."""

import json

import cv2
import numpy as np

# A car (26001) behind a person (24001) on a road (7) below the sky (23); 4 rows, 6 columns.
PIXELS = [
    [23, 23, 23, 23, 23, 23],
    [23, 26001, 26001, 24001, 26001, 23],
    [7, 26001, 26001, 24001, 26001, 7],
    [7, 7, 7, 24001, 7, 7],
]
# Column by column, zeros first: column 3, rows 1 and 2 are what the person hides of the car.
HIDDEN = {"size": [4, 6], "counts": [13, 2, 9]}
CAR = {"size": [4, 6], "counts": [5, 2, 2, 2, 2, 2, 2, 2, 5]}
PERSON = {"size": [4, 6], "counts": [13, 3, 8]}
ENTRIES = {
    "26001": {"occluded": True, "occlusion_mask": HIDDEN, "amodal_mask": CAR, "category_id": 26, "track_id": 4},
    "24001": {"occluded": False, "occlusion_mask": [], "amodal_mask": [], "category_id": 24, "track_id": 9},
}


def write_png(path, pixels, dtype=np.uint16):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.array(pixels, dtype))


def write(root, image, pixels=PIXELS, entries=ENTRIES):
    write_png(root / f"{image}_ampano.png", pixels)
    (root / f"{image}_ampano.json").write_text(json.dumps(entries))


def changed(**entries):
    """The entries with some keys replaced (None removes an entry), written as `_26001={...}`."""
    result = {key: dict(entry) for key, entry in ENTRIES.items()}
    for key, change in entries.items():
        if change is None:
            del result[key[1:]]
        else:
            result.setdefault(key[1:], {}).update(change)
    return result


def painted(**pixels):
    """The pixels with values replaced, written as `_26001=21001`."""
    image = np.array(PIXELS)
    for old, new in pixels.items():
        image[image == int(old[1:])] = new
    return image
