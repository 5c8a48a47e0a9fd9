"""Programs that run on the board and print what it is doing; they import nothing of multidnn."""
