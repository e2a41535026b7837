"""Ways of attacking, one small file each: what is said to a target, and what its answers change."""
