"""What every headline figure means, in one line each; the whole rules are in docs/metrics.md."""

from __future__ import annotations

DEFINITIONS: dict[str, str] = {
    "panoptic.strict.APQ": "Amodal panoptic quality: mean over classes of IoU summed over matches, by all true and "
    "predicted segments; visible and hidden parts of things count, and so does every unmatched object.",
    "panoptic.strict.APQ_S": "APQ of the stuff classes alone.",
    "panoptic.strict.APQ_T": "APQ of the thing classes alone, visible and hidden parts together.",
    "panoptic.strict.APQ_T_V": "Quality of the visible parts of things.",
    "panoptic.strict.APQ_T_O": "Quality of the hidden (occluded) parts of things.",
    "panoptic.strict.APC": "Amodal parsing coverage: IoU of the best prediction of every true segment, weighted by "
    "its area, mean over classes.",
    "panoptic.reference.APQ": "APQ as the public AmodalSynthDrive script computes it, which misses many errors; only "
    "for comparison with published figures.",
    "panoptic.reference.APQ_T_O": "Quality of hidden parts as that script computes it.",
    "panoptic.reference.APC": "APC as that script computes it.",
    "instance.AP_A": "COCO average precision of amodal masks, mean over IoU 0.50 to 0.95.",
    "instance.AP_V": "COCO average precision of visible masks, mean over IoU 0.50 to 0.95.",
    "instance.AP_AV": "Average precision where amodal and visible IoU must both reach the threshold.",
    "instance.AP_IV50": "Average precision of the hidden masks of occluded objects at IoU 0.5.",
    "masks.AIoU": "Mean IoU of amodal masks over all scored objects; a missed object counts 0.",
    "masks.VIoU": "Mean IoU of visible masks over all scored objects; a missed object counts 0.",
    "masks.OIoU": "Mean IoU of hidden masks over all occluded objects; a missed object counts 0.",
    "masks.AIoU_matched": "Mean IoU of amodal masks over the matched objects only.",
    "masks.OIoU_matched": "Mean IoU of hidden masks over the matched occluded objects only.",
    "masks.occluded_recall": "Share of all truly hidden pixels of objects that their matched prediction covers.",
    "masks.occluded_precision": "Share of all pixels predicted as hidden that are hidden parts of the matched object.",
    "masks.recall": "Share of the scored objects that have a matched prediction.",
    "semantic.mIoU": "Mean IoU over classes of the visible surface.",
    "semantic.mIoU_total": "Mean IoU over classes of the visible surface and the hidden parts of things together.",
    "order.accuracy": "Share of the true pairs 'A hides B' with both objects matched that are predicted so.",
    "order.recall": "Share of all true pairs 'A hides B' that are predicted so; a pair with a missed object counts 0.",
    "order.pairs": "Number of true pairs whose two objects are matched.",
    "order.level_accuracy": "Share of the matched objects on the right occlusion level.",
    "depth.ADErr": "Amodal depth error: geometric mean over the occlusion levels of the RMSE of each level's depth.",
    "depth.ADErr_weighted": "The same RMSEs, averaged with their numbers of pixels as weights.",
    "depth.RMSE_vis": "Root mean square depth error of visible surfaces.",
    "depth.RMSE_hidden": "Root mean square depth error of the hidden parts of objects; where an object is missed, the "
    "predicted visible surface answers.",
    "adiw.raw.RMSE": "Root mean square depth error of an object's hidden part, mean over objects (as Amodal Depth In "
    "the Wild does, here in metres).",
    "adiw.raw.delta_1.25": "Share of an object's hidden pixels whose depth is right within a factor of 1.25, mean "
    "over objects.",
    "adiw.aligned.RMSE": "The same RMSE after scale and shift are fitted to the true depth of the object's visible "
    "part.",
    "shape.simplicity": "Mean sqrt(4 pi area) / perimeter of the predicted amodal masks of matched objects: 1 is a "
    "disc, less is more ragged; best where it equals the truth's.",
    "shape.simplicity_truth": "The same of the true masks of these objects.",
    "shape.convexity": "Mean area of the predicted amodal masks of matched objects over that of their convex hulls; "
    "best where it equals the truth's.",
    "shape.convexity_truth": "The same of the true masks of these objects.",
    "occupancy.hidden_recall": "Share of the hidden cells under things that are predicted occupied; unknown counts as "
    "missed.",
    "occupancy.hidden_precision": "Share of the hidden cells predicted occupied that are occupied.",
    "occupancy.hidden_ece": "Expected calibration error of hidden cells: mean distance of the curve below from the "
    "diagonal, weighted by cells.",
    "occupancy.hidden_brier": "Mean square of predicted probability minus occupancy (0 or 1) over hidden cells.",
    "tracking.hidden_recall": "Share of the objects that no camera sees any more for which a box is still kept within "
    "2 m, frame by frame.",
    "tracking.id_switches": "How often an object is found under another identity than the last time.",
    "invariants.violations": "Contradictions within the predictions, such as a visible part outside its amodal mask.",
}
"""Path in `Evaluator.results()` (`table.ROWS`) -> meaning."""
