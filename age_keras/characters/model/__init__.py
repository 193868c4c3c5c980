"""The network, its calibrated last layer, and test-time augmentation."""
