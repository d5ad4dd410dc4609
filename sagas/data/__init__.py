"""What the sagas that ship are launched with, and the program that writes it."""
