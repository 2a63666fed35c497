"""Real images: found and read, the people in them detected, and depth read at their joints."""
