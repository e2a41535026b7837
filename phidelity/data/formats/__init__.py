"""A file a family of formats: bytes in, texts with what the format says of them out. `table.py` names them all."""
