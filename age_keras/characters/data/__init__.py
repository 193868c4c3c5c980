"""Sets of characters: reading them, splitting them, warping them, corrupting them."""
