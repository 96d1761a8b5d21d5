"""The metrics, one module each; all are `metric.Metric`, whose memory is sums that add up."""
