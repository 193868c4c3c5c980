"""What every training loop decides at the end of an epoch: the best epoch, when to stop, the next learning rate."""
