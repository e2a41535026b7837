"""Text to ids and back, and chats to ids with their loss mask."""
