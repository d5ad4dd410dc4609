"""What the Celery transport needs of a message broker, for Redis and for RabbitMQ."""
