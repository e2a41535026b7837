"""Break, score, fix, measure again: probes, policies and the gate."""
