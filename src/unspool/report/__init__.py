"""What a task shows of itself: pictures of numbers."""
