"""OpenAI's API in front of one engine: HTTP on an event loop, the model on a thread beside it."""
