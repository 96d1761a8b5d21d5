"""Readers of KINS, COCOA, COCOA-cls and D2SA, which annotate objects of single images in files like COCO's."""
