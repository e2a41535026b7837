"""Whether an answer is right: extraction, equality, execution, judges."""
