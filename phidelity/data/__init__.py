"""Documents in, batches out: sources, extraction, filters, deduplication, shards, loading."""
