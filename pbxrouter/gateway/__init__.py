"""What is put together into one service."""
