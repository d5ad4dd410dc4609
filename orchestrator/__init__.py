"""Sagas and distributed transactions for Python, on Celery and SQLAlchemy."""
