"""The Celery app, and the participants of the sagas that ship with the project."""
