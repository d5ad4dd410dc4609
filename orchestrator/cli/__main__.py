"""``python -m orchestrator.cli``: the command ``saga`` where the script isn't on the path."""

from orchestrator.cli.app import main

if __name__ == "__main__":
    main()
