"""One command from data to what the robot loads: all stages of a recipe, merged and exported."""
