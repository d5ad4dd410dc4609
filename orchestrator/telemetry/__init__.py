"""What is told to the outside: metrics, traces and logs. Nothing here changes what happens to a run."""
