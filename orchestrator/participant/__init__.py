"""What runs in a service's worker: actions, undos, the barrier."""
