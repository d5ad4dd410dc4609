"""``python -m workers.prepare``: make the databases of all services, once, before any worker starts.

A worker does it for itself too, which is enough where there is one; several at once would get in each other's way.
"""

from __future__ import annotations

from workers import inventory, mail, payments, shipping


def main() -> None:
    """Make what is missing."""
    for service in (inventory, mail, payments, shipping):
        service.prepare_database()


if __name__ == "__main__":
    main()
