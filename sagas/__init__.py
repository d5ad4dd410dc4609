"""The sagas that ship with the project, ready to run and to copy."""
