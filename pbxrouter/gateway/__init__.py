"""What is put together into one service."""

__all__ = [
    "service",
]
