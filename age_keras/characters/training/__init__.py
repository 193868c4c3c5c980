"""Training a recogniser, plain or against an adversary, and the stage from digits to their writer."""
